package kafka

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

var stress = flag.Duration("stress", time.Second, "how long TestWriteMiscountsNothing lasts")

// unreliable is a producer that does everything that librdkafka may do: it reports late and in any order, refuses, has a full
// queue, claims, and dies. What has arrived in truth is in its log.
type unreliable struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	log  map[string]bool // by value, which no two events share
	dead bool
	late *sync.WaitGroup
}

func (p *unreliable) die(dead bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = dead
}

func (p *unreliable) GetFatalError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return ck.NewError(ck.ErrFenced, "made up", true)
	}
	return nil
}

func (p *unreliable) ends(context.Context, []place) (map[place]int64, error) {
	return map[place]int64{{"db.page", ck.PartitionAny}: math.MaxInt64}, nil
}

func (p *unreliable) Produce(m *ck.Message, reports chan ck.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.rnd.IntN(200) {
	case 0, 1, 2, 3, 4, 5:
		return ck.NewError(ck.ErrQueueFull, "", false)
	case 6:
		return ck.NewError(ck.ErrMsgSizeTooLarge, "", false)
	}
	r := &ck.Message{TopicPartition: m.TopicPartition, Opaque: m.Opaque}
	arrives := false
	switch n := p.rnd.IntN(200); {
	case n < 1:
		r.TopicPartition.Error = ck.NewError(ck.ErrMsgTimedOut, "", false)
	case n < 2:
		r.TopicPartition.Error = ck.NewError(ck.ErrInvalidRecord, "", false) // it is sent again alone, by a real producer
	case n < 20: // it is said to have arrived, and may have
		r.TopicPartition.Offset = ck.OffsetInvalid
		arrives = n < 5
	default:
		arrives = true
		r.TopicPartition.Offset = ck.Offset(len(p.log))
	}
	value := string(m.Value)
	if p.rnd.IntN(3) == 0 {
		p.log[value] = p.log[value] || arrives
		reports <- r
		return nil
	}
	pause := time.Duration(p.rnd.IntN(1000)) * time.Microsecond
	if p.rnd.IntN(500) == 0 {
		pause = 20 * time.Millisecond // which the Write may not live to see
	}
	p.late.Go(func() {
		time.Sleep(pause)
		p.mu.Lock()
		p.log[value] = p.log[value] || arrives
		p.mu.Unlock()
		reports <- r
	})
	return nil
}

// TestWriteMiscountsNothing has writers that share a sink, and their write objects with it, and a producer that does what it
// likes: what a Write says has arrived must have, by then.
func TestWriteMiscountsNothing(t *testing.T) {
	for began, round := time.Now(), 0; round == 0 || time.Since(began) < *stress; round++ {
		t.Run(strconv.Itoa(round), stressRound)
	}
}

// stressRound lasts a second: the broker in process forgets early events in the end.
func stressRound(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	told, elsewhere := 0, map[string]bool{}
	var writers, late sync.WaitGroup
	ends := time.Now().Add(time.Second)
	for i := range uint64(4) {
		p := &unreliable{rnd: rand.New(rand.NewPCG(seed, i)), log: map[string]bool{}, late: &late}
		for k := range uint64(2) {
			rnd := rand.New(rand.NewPCG(seed, 100+10*i+k))
			writers.Go(func() {
				for n := 0; time.Now().Before(ends) && !t.Failed(); n++ {
					arrived, missing := writeOnce(t, s, p, rnd, fmt.Sprintf("%d-%d-%d", i, k, n))
					mu.Lock()
					told += arrived
					for _, value := range missing {
						elsewhere[value] = true
					}
					mu.Unlock()
				}
			})
		}
	}
	writers.Wait()
	late.Wait()
	t.Logf("%d events are said to have arrived, %d of them alone", told, len(elsewhere))
	for _, r := range read(t, bootstrap) {
		delete(elsewhere, string(r.Value))
	}
	for value := range elsewhere {
		t.Errorf("event %s was said to have arrived", value)
	}
}

// writeOnce is one Write, whose events' values begin with name. It returns how many are said to have arrived, and those of them
// that had not at p: they must have been sent alone.
func writeOnce(t *testing.T, s *Sink, p *unreliable, rnd *rand.Rand, name string) (told int, elsewhere []string) {
	in := make([]codec.Event, 1+rnd.IntN(40))
	for k := range in {
		in[k] = event("page", fmt.Sprintf("key-%d", rnd.IntN(20)), fmt.Appendf(nil, "%s-%d", name, k))
	}
	ctx := t.Context()
	if rnd.IntN(10) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(2000))*time.Microsecond)
		defer cancel()
	}
	if rnd.IntN(50) == 0 {
		p.die(true)
		defer p.die(false)
	}
	err := s.write(ctx, p, in)
	failed, partial := errors.AsType[*syncd.BatchError](err)
	if err != nil && !partial {
		if !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "made up") {
			t.Errorf("Write: %v", err)
		}
		return 0, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range in {
		if partial && failed.Of(k) != nil {
			continue
		}
		told++
		if !p.log[string(e.Value)] {
			elsewhere = append(elsewhere, string(e.Value))
		}
	}
	return told, elsewhere
}
