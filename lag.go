package syncd

import "context"

// LagReader is implemented by a sink that can tell how far a group of consumers has come with what was sent: an event that
// the group has not read yet is not in the index yet, and a run that sends it again sends it twice.
type LagReader interface {
	// Lag returns, for every partition that the targets' events can be in, how far the group has read. A target that does
	// not exist yet has no partitions. It only reads, and is not called while Write is.
	Lag(ctx context.Context, group string, targets []Target) ([]PartitionLag, error)
}

// PartitionLag is how far a group has come with one partition.
type PartitionLag struct {
	Place     string // the topic
	Partition int32
	Next      int64 // offset that the group reads next; the partition's first one if the group never confirmed any
	End       int64 // offset that the next event will have
	Confirmed bool  // the group has confirmed an offset here; where it has nowhere, there may be no such group
}
