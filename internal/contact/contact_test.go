package contact

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// recorded returns a contact and what it has told by then, without the time.
func recorded(patience time.Duration) (*Contact, func() []string) {
	var mu sync.Mutex
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&locked{&mu, &b}, nil))
	c := New(Config{Log: log, Server: "Qdrant", Address: "q:6334", Verb: "asked", Trying: "each question again", Patience: patience})
	stamp := regexp.MustCompile(`(?m)^time=\S+ `)
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return strings.FieldsFunc(stamp.ReplaceAllString(b.String(), ""), func(r rune) bool { return r == '\n' })
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func wants(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			t.Errorf("line %d is %q, want %q", i, got[i], want[i])
		}
	}
}

// TestAnOutageOfManyWorkers lasts 70 s: it is told once, twice that it lasts, and once that it is over.
func TestAnOutageOfManyWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(time.Second)
		c.Answered()
		var workers sync.WaitGroup
		for w := range 8 {
			workers.Go(func() {
				for began := time.Now(); time.Since(began) < 70*time.Second; {
					c.Failed(fmt.Sprintf("refused %d", w), 0)
					time.Sleep(time.Duration(300+w) * time.Millisecond)
				}
				for range 30 {
					c.Answered()
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		workers.Wait()
		c.Close()
		wants(t, told(), `level=WARN msg="Qdrant can't be asked: trying again" reason="refused`, `level=WARN msg="Qdrant still can't be asked" reason=`,
			`for=1m1`, `level=INFO msg="Qdrant can be asked again" after=1m10`)
		if still := told()[1]; !strings.Contains(still, "address=q:6334 for=31") || !strings.Contains(still, `trying="each question again"`) || !regexp.MustCompile(`attempts=8\d\d `).MatchString(still) {
			t.Error(still)
		}
	})
}

func TestWhatPassesSoonIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(time.Second)
		for range 10 {
			c.Failed("refused", 0)
			time.Sleep(900 * time.Millisecond)
			c.Answered()
			time.Sleep(3 * time.Second)
			c.Answered()
		}
		c.Close()
		wants(t, told())
	})
}

// TestAnAnswerAmongFailuresEndsNothing: some of the questions of an overloaded server are answered.
func TestAnAnswerAmongFailuresEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(0)
		for range 50 {
			c.Failed("overloaded", 0)
			time.Sleep(200 * time.Millisecond)
			c.Answered()
			time.Sleep(200 * time.Millisecond)
		}
		wants(t, told(), "can't be asked: trying again")
		time.Sleep(3 * time.Second)
		c.Answered()
		c.Answered()
		wants(t, told(), "can't be asked: trying again", "can be asked again")
	})
}

// TestOneThatComesAndGoes tells no more than two lines in 30 s.
func TestOneThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(0)
		for range 20 {
			c.Failed("refused", 0)
			time.Sleep(3 * time.Second)
			c.Answered()
			time.Sleep(2 * time.Second)
		}
		if n := len(told()); n < 4 || n > 8 { // in 100 s
			t.Errorf("%d lines: %s", n, strings.Join(told(), "\n"))
		}
	})
}

// TestTheEndIsToldThoughNobodyAsksAnyMore: the last answer comes right behind the last failure, and the run ends.
func TestTheEndIsToldThoughNobodyAsksAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(0)
		c.Failed("refused", 0)
		time.Sleep(1500 * time.Millisecond)
		c.Answered()
		time.Sleep(time.Minute)
		c.Close()
		c.Close()
		wants(t, told(), "can't be asked: trying again", "can be asked again\" after=1.5s")

		c, told = recorded(0)
		c.Failed("refused", 0)
		c.Close() // it is not over
		wants(t, told(), "can't be asked: trying again")
	})
}

// TestAnotherOutage begins anew, though nobody had asked since the first was over.
func TestAnotherOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(0)
		c.Failed("first", 0)
		c.Answered()
		time.Sleep(time.Hour)
		c.Failed("second", 0)
		wants(t, told(), "reason=first", "can be asked again\" after=0s", "trying again\" reason=second")
	})
}

// TestALongPauseIsToldBeforeItBegins.
func TestALongPauseIsToldBeforeItBegins(t *testing.T) {
	c, told := recorded(time.Second)
	c.Failed("rate limited", 5*time.Second)
	wants(t, told(), "reason=\"rate limited\"")
}

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, told := recorded(0)
		c.Once = true
		for range 100 {
			c.Failed("refused", 0)
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		c.Answered()
		wants(t, told(), "trying again", "again\" after=1m4")
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pace
		if _, was := p.Over(); was {
			t.Error("there was nothing")
		}
		for round := range 2 {
			told := 0
			for range 7 { // of 10 s
				if lasted, due := p.Due(); due {
					told++
					if told == 2 && lasted != "30s" {
						t.Errorf("round %d: after %s", round, lasted)
					}
				}
				time.Sleep(10 * time.Second)
			}
			if lasted, was := p.Over(); !was || lasted != "1m10s" || told != 3 {
				t.Errorf("round %d: %s, told %d times", round, lasted, told)
			}
		}
	})
}

func BenchmarkAnswered(b *testing.B) {
	c, _ := recorded(0)
	b.ReportAllocs()
	for b.Loop() {
		c.Answered()
	}
}
