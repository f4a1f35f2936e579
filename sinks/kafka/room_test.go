package kafka

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

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
	empty := func(when string) {
		t.Helper()
		if room.inside != 0 || room.used != 0 || len(room.waiting) != 0 {
			t.Fatalf("%s, the room has %d writes of %d bytes in it, and %d wait", when, room.inside, room.used, len(room.waiting))
		}
	}
	in := events("page", 10)
	size := int64(0)
	for _, e := range in {
		size += int64(len(e.Key) + len(e.Value))
	}

	leave, err := room.enter(t.Context(), roomToJoin-size+1)
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
	empty("when a write has given up")

	if leave, err = room.enter(t.Context(), roomToJoin-size); err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), p, in); err != nil || p.n != len(in) {
		t.Errorf("where it just fits: %v, %d events produced", err, p.n)
	}
	leave()
	empty("when a write is done")

	ctx, cancel = context.WithCancel(t.Context())
	if err := s.write(ctx, &canceling{producer: s.main, n: 5, cancel: cancel}, in); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	empty("when a write was cut off")
}

// TestWritesEnterInGroups follows writes of several sizes in and out of a room, of which W stands for a whole one.
func TestWritesEnterInGroups(t *testing.T) {
	const whole = roomOfPartition
	for _, c := range []struct {
		name  string
		bytes []int64 // of the writes, in their order
		want  []int   // how many are inside at first, and after each time that all of those inside have left
	}{
		{"a large one is alone", []int64{whole / 2, whole / 2}, []int{1, 1, 0}},
		{"what came meanwhile is one group", []int64{whole / 2, whole / 4, whole / 4, whole / 2}, []int{1, 3, 0}},
		{"a group ends with the room", []int64{1, whole - 1, 1, 1, whole}, []int{1, 2, 1, 1, 0}},
		{"what is larger than the room", []int64{1, 10 * whole, 1, 10 * whole}, []int{1, 1, 1, 1, 0}},
		{"small ones need no group", []int64{roomToJoin / 2, roomToJoin / 2, 1}, []int{2, 1, 0}},
		{"a small one joins no large one", []int64{whole / 2, 1}, []int{1, 1, 0}},
		{"a small one overtakes nobody", []int64{1, whole / 2, 1}, []int{1, 2, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRoom(1)
				in := make(chan func(), len(c.bytes))
				for _, bytes := range c.bytes {
					go func() {
						leave, err := r.enter(t.Context(), bytes)
						if err != nil {
							t.Error(err)
						}
						in <- leave
					}()
					synctest.Wait()
				}
				for step, want := range c.want {
					synctest.Wait()
					n := len(in)
					if n != want {
						t.Fatalf("step %d: %d are inside, not %d", step, n, want)
					}
					for range n {
						(<-in)()
					}
				}
				if r.inside != 0 || r.used != 0 || len(r.waiting) != 0 {
					t.Errorf("%+v is left", r)
				}
			})
		})
	}
}

// TestWhoGivesUpWaitingIsInNoGroup, and takes no room from those that wait behind.
func TestWhoGivesUpWaitingIsInNoGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(1)
		leave, err := r.enter(t.Context(), r.bytes)
		if err != nil {
			t.Fatal(err)
		}
		impatient, cancel := context.WithCancel(t.Context())
		gaveUp, entered := make(chan error, 1), make(chan func(), 1)
		go func() {
			_, err := r.enter(impatient, r.bytes)
			gaveUp <- err
		}()
		synctest.Wait()
		go func() {
			leave, err := r.enter(t.Context(), r.bytes)
			if err != nil {
				t.Error(err)
			}
			entered <- leave
		}()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		leave()
		(<-entered)()

		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 { // whichever of the two it notices first
			if leave, err := r.enter(cancelled, 1); err == nil {
				leave()
			}
		}
		if r.inside != 0 || r.used != 0 || len(r.waiting) != 0 {
			t.Errorf("%+v is left", r)
		}
	})
}

// TestATopicWithoutPartitionsHasNoRoom, so that nothing waits for it.
func TestATopicWithoutPartitionsHasNoRoom(t *testing.T) {
	r := newRoom(0)
	if r != nil {
		t.Fatalf("%+v", r)
	}
	for range 2 {
		if _, err := r.enter(t.Context(), 1<<40); err != nil {
			t.Error(err)
		}
	}
}
