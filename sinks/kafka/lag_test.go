package kafka

import (
	"errors"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
)

// commit has a group confirm everything before an offset.
func commit(t *testing.T, bootstrap, group, topic string, partition int32, offset ck.Offset) {
	t.Helper()
	c, err := ck.NewConsumer(&ck.ConfigMap{"bootstrap.servers": bootstrap, "group.id": group, "go.logs.channel.enable": true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := c.CommitOffsets([]ck.TopicPartition{{Topic: &topic, Partition: partition, Offset: offset}}); err != nil {
		t.Fatal(err)
	}
}

func targets(collections ...string) []syncd.Target {
	var out []syncd.Target
	for _, c := range collections {
		out = append(out, event(c, "", nil).Target)
	}
	return out
}

func TestLag(t *testing.T) {
	bootstrap := cluster(t, "db.page", "db.epic").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	in := events("page", 100)
	if err := s.write(t.Context(), s.main, in); err != nil {
		t.Fatal(err)
	}
	ends := map[int32]int64{}
	for _, e := range in {
		ends[e.Placement.Partition] = max(ends[e.Placement.Partition], e.Placement.Offset+1)
	}
	if ends[1] < 2 {
		t.Fatalf("the ends are %v", ends)
	}
	want := func(next map[int32]int64) []syncd.PartitionLag {
		var out []syncd.PartitionLag
		for p := range int32(3) {
			l := syncd.PartitionLag{Place: "db.page", Partition: p, End: ends[p]}
			l.Next, l.Confirmed = next[p], next[p] > 0
			out = append(out, l)
		}
		return out
	}
	got, err := s.lag(t.Context(), "indexer", targets("page", "page"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want(nil), got); diff != "" {
		t.Errorf("of a group that does not exist (-want +got):\n%s", diff)
	}
	commit(t, bootstrap, "indexer", "db.page", 1, 2)
	commit(t, bootstrap, "indexer", "db.page", 2, ck.Offset(ends[2]))
	if got, err = s.lag(t.Context(), "indexer", targets("page")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want(map[int32]int64{1: 2, 2: ends[2]}), got); diff != "" {
		t.Errorf("after commits (-want +got):\n%s", diff)
	}
	// An empty topic has partitions with nothing in them.
	got, err = s.lag(t.Context(), "indexer", targets("epic"))
	if err != nil || len(got) != 3 || got[0] != (syncd.PartitionLag{Place: "db.epic"}) {
		t.Errorf("of an empty topic: %+v, %v", got, err)
	}
	if got, err = s.lag(t.Context(), "indexer", targets("nowhere")); err != nil || len(got) != 0 {
		t.Errorf("of a topic that does not exist: %+v, %v", got, err)
	}
	if _, err := s.lag(t.Context(), "indexer", targets("no topic")); err == nil || !strings.Contains(err.Error(), `collection "no topic"`) {
		t.Errorf("of an illegal topic: %v", err)
	}
}

func TestLagOfBrokersThatAreGone(t *testing.T) {
	c, err := ck.NewMockCluster(1)
	if err != nil {
		t.Fatal(err)
	}
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.ConnectTimeout = time.Second })
	c.Close()
	if _, err := s.lag(t.Context(), "indexer", targets("page")); !errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

// What a leader does not say because it can't be reached is an outage, which can be waited out.
func TestOffsetsOfALeaderThatIsGone(t *testing.T) {
	c, err := ck.NewMockCluster(2)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.CreateTopic("page", 4, 1); err != nil {
		t.Fatal(err)
	}
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.ConnectTimeout = 2 * time.Second })
	asked := []place{{"page", 0}, {"page", 1}, {"page", 2}, {"page", 3}}
	if _, err := s.offsets(t.Context(), asked, ck.LatestOffsetSpec); err != nil {
		t.Fatal(err)
	}
	if err := c.SetBrokerDown(2); err != nil {
		t.Fatal(err)
	}
	_, err = s.offsets(t.Context(), asked, ck.LatestOffsetSpec)
	t.Log(err)
	if !errors.Is(err, syncd.ErrUnavailable) || syncd.HintOf(err) == "" {
		t.Errorf("%v with the hint %q", err, syncd.HintOf(err))
	}
}

// TestPositions compares what Write says of events with where they are.
func TestPositions(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, func(c *Config) { c.MaxMessageBytes = 2000 })
	in := events("page", 50)
	in[7].Value = make([]byte, 3000)
	if err := s.write(t.Context(), s.main, in); err == nil {
		t.Fatal("the large event was sent")
	}
	if in[7].Placement != (syncd.Placement{}) {
		t.Errorf("the event that was not sent is at %+v", in[7].Placement)
	}
	seen := map[syncd.Placement]bool{}
	records := read(t, bootstrap)
	for i, e := range in {
		if i == 7 {
			continue
		}
		r := byKey(records, string(e.Key))
		if len(r) != 1 || !e.Placement.Known || r[0].partition != e.Placement.Partition || seen[e.Placement] || e.Placement.Offset < 0 || e.Placement.Offset >= 50 {
			t.Errorf("event %d at %+v: %+v", i, e.Placement, r)
		}
		seen[e.Placement] = true
	}
}
