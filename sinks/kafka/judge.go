package kafka

import (
	"sync/atomic"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// judge decides which delivery reports prove that their event arrived. All reports of a sink's clients pass through it, one after
// another, before the writes see them: only their order shows which events were one batch, and a batch may hold events of
// several writes.
//
// Success without an offset is what librdkafka concludes, in two cases: the broker took a later batch of the partition, which it
// does only in the order of sequence numbers, or it called the batch's sequence number a duplicate. Neither proves that the event
// arrived. A broker that holds no state of a producer (the producer is new to the partition, or was forgotten) takes whatever
// sequence number comes first (KIP-360). So a producer's first batch can be refused, by a leader that is not ready, while the
// second, sent right behind it, is taken: then the first is never sent again.
//
// Of a "duplicate" batch only the first event lacks its offset: librdkafka counts from the broker's -1, so the next ones are said to
// be at 0, 1, 2. And an offset that is not above those confirmed before, in the same partition to the same client, was given to
// another event: the batch is no more proved than one without an offset. A topic that was made anew, or lost its end, shows so.
//
// A broker may give a "duplicate" an offset of its own invention. Where something was confirmed before, that shows as above; the
// first confirmation in a lane counts once the partition's end is seen to be above it (see write.verify).
type judge struct {
	reports chan ck.Event // from the clients; closed when they are
	done    chan struct{} // closed when no report is left

	doubts atomic.Uint64 // batches without proof so far: an event that is produced later is in none of them

	// Only run uses these.
	proofs map[lane]*proof
}

// lane is a partition as one client fills it.
type lane struct {
	client *client
	place
}

// proof is what is known of a lane. seen is for the writes as well.
type proof struct {
	seen  atomic.Bool // the partition's end was seen above an offset that was confirmed
	end   int64       // above every offset that was confirmed
	doubt uint64      // the last batch without proof, by its number; 0 if others came after it
	next  int64       // where that batch's next event would be said to be
}

func newJudge() *judge {
	j := &judge{reports: make(chan ck.Event, 1000), done: make(chan struct{}), proofs: map[lane]*proof{}}
	go j.run()
	return j
}

// run passes all reports on. It waits for no write.
func (j *judge) run() {
	defer close(j.done)
	for r := range j.reports {
		m, ok := r.(*ck.Message)
		if !ok {
			continue // reports are messages
		}
		s := m.Opaque.(*slot)
		if s.entry != nil && !s.entry.reported.Load() {
			s.entry.reported.Store(true)
		}
		j.look(s, &m.TopicPartition)
		s.mail.put(m)
	}
}

// look takes the offset out of a report that is no proof.
func (j *judge) look(s *slot, at *ck.TopicPartition) {
	if at.Error != nil {
		return
	}
	l := lane{s.client, place{*s.topic, at.Partition}}
	p := j.proofs[l]
	if p == nil {
		p = &proof{}
		j.proofs[l] = p
	}
	s.proof = p
	offset := int64(at.Offset)
	more := s.doubts < p.doubt && offset == p.next
	if !more && offset >= p.end {
		p.end, p.doubt = offset+1, 0
		return
	}
	if !more {
		p.doubt = j.doubts.Add(1)
	}
	p.next = offset + 1
	at.Offset = ck.OffsetInvalid
}

// close ends the judge when no client is left to report.
func (j *judge) close() {
	close(j.reports)
	<-j.done
}
