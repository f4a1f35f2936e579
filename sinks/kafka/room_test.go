package kafka

import (
	"context"
	"errors"
	"testing"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
)

// counting counts what is produced.
type counting struct {
	producer
	n int
}

func (c *counting) Produce(m *ck.Message, reports chan ck.Event) error {
	c.n++
	return c.producer.Produce(m, reports)
}

// TestAWriteWaitsForRoomInItsTopic, with nothing of it produced, and gives the room back however it ends.
func TestAWriteWaitsForRoomInItsTopic(t *testing.T) {
	c := cluster(t, "db.epic")
	if err := c.CreateTopic("db.page", 3, 1); err != nil {
		t.Fatal(err)
	}
	s := startClosing(t, c.BootstrapServers(), nil)
	page, epic := event("page", "", nil).Target, event("epic", "", nil).Target
	if s.router.route(page).room != nil {
		t.Error("a topic that nobody has looked at has a bound")
	}
	if err := s.prepare(t.Context(), syncd.Run{ID: "run", Targets: []syncd.Target{page, epic}}); err != nil {
		t.Fatal(err)
	}
	room := s.router.route(page).room
	if room == nil || room.bytes != 3*roomOfPartition {
		t.Fatalf("%+v", room)
	}
	whole := func(when string) {
		t.Helper()
		if !room.left.TryAcquire(room.bytes) {
			t.Fatalf("%s, some of the room is missing", when)
		}
		room.left.Release(room.bytes)
	}
	in := events("page", 10)
	size := int64(0)
	for _, e := range in {
		size += int64(len(e.Key) + len(e.Value))
	}

	leave, err := room.enter(t.Context(), room.bytes-size+1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p := &counting{producer: s.main}
	ended := make(chan error, 1)
	go func() { ended <- s.write(ctx, p, in) }()
	if err := s.write(t.Context(), s.main, events("epic", 10)); err != nil {
		t.Errorf("another topic: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || p.n != 0 {
		t.Errorf("%v, %d events produced", err, p.n)
	}
	leave()
	whole("when a write has given up")

	if leave, err = room.enter(t.Context(), room.bytes-size); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), p, in); err != nil || p.n != len(in) {
		t.Errorf("where it just fits: %v, %d events produced", err, p.n)
	}
	leave()
	whole("when a write is done")

	ctx, cancel = context.WithCancel(t.Context())
	if err := s.write(ctx, &canceling{producer: s.main, n: 5, cancel: cancel}, in); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	whole("when a write was cut off")
}

// TestWhatIsLargerThanTheRoomHasItAlone.
func TestWhatIsLargerThanTheRoomHasItAlone(t *testing.T) {
	r := newRoom(1)
	leave, err := r.enter(t.Context(), 10*r.bytes)
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.enter(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("there was room for more: %v", err)
	}
	leave()
	if leave, err = r.enter(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	leave()
	if newRoom(0) != nil {
		t.Error("a topic of which no partition is known has a bound")
	}
}
