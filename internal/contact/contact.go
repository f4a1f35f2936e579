// Package contact says in the log how things stand with a server that many workers ask: a line when it can't be asked any more, one
// every 30 s with how long that is and what is tried, and one when it can be asked again.
//
// Invariants:
//   - however many fail, and however often, there is one line at a time: of an outage that ends and begins again and again, there are
//     not more than two lines in 30 s;
//   - what passes within Config.Patience is not told;
//   - an answer among failures is no end of them: it ends them where nothing has failed for a while.
package contact

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	every = 30 * time.Second
	// quiet is how long nothing may have failed for an answer to be the end of an outage.
	quiet = 2 * time.Second
)

// Config says whose contact it is.
type Config struct {
	Log      *slog.Logger
	Server   string        // "Qdrant"
	Address  string        // where it is; it may be empty
	Verb     string        // what can't be done with it now: "asked"
	Trying   string        // what is tried, and for how long: "each question is asked again for up to 1m0s"
	Once     bool          // that it lasts is another's to tell
	Patience time.Duration // how long an outage must last, with the pause to come, before it is told
}

// Contact is how things stand with one server. It is safe for concurrent use. A nil Contact tells nothing.
type Contact struct {
	Config
	troubled atomic.Bool // something failed, and that is not over: what Answered looks at first

	mu       sync.Mutex
	since    time.Time // the first failure
	failed   time.Time // the last
	answered time.Time // the first answer behind it; zero where there was none
	told     bool      // that it is lost
	spoke    time.Time // when anything was told
	tries    int       // that failed since
}

// New returns a contact with a server about which nothing is wrong so far.
func New(c Config) *Contact { return &Contact{Config: c} }

// Failed notes an attempt that failed for a reason that may pass, and that is made again after a pause.
func (c *Contact) Failed(reason string, pause time.Duration) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.troubled.Load() && !c.answered.IsZero() && now.Sub(c.failed) >= quiet { // it was over, and nobody had asked
		c.over()
	}
	if !c.troubled.Load() {
		c.since, c.tries = now, 0
		c.troubled.Store(true)
	}
	c.failed, c.answered = now, time.Time{}
	c.tries++
	down := now.Sub(c.since)
	if down+pause < c.Patience || c.told && c.Once || !c.spoke.IsZero() && now.Sub(c.spoke) < every {
		return
	}
	args := []any{"reason", reason}
	if c.Address != "" {
		args = append(args, "address", c.Address)
	}
	if c.told {
		c.Log.Warn(c.Server+" still can't be "+c.Verb, append(args, "for", round(down), "attempts", c.tries, "trying", c.Trying)...)
	} else {
		c.Log.Warn(c.Server+" can't be "+c.Verb+": trying again", append(args, "trying", c.Trying)...)
	}
	c.told, c.spoke = true, now
}

// Answered notes an answer. It costs next to nothing where nothing had failed.
func (c *Contact) Answered() {
	if c == nil || !c.troubled.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.answered.IsZero() {
		c.answered = now
	}
	if c.troubled.Load() && now.Sub(c.failed) >= quiet {
		c.over()
	}
}

// Close says that the outage is over where the last that came was an answer: nobody may ask any more. Closing again does nothing.
func (c *Contact) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.troubled.Load() && !c.answered.IsZero() {
		c.over()
	}
}

// over ends what was wrong. The caller holds mu.
func (c *Contact) over() {
	if c.told {
		c.Log.Info(c.Server+" can be "+c.Verb+" again", "after", round(c.answered.Sub(c.since)))
	}
	c.told = false
	c.troubled.Store(false)
}

func round(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// Pace says when it is time to tell again of something that lasts. It is not safe for concurrent use.
type Pace struct{ since, spoke time.Time }

// Due reports whether to tell of it, and for how long it has lasted. The first time begins it.
func (p *Pace) Due() (lasted string, due bool) {
	now := time.Now()
	if p.since.IsZero() {
		p.since = now
	}
	if due = p.spoke.IsZero() || now.Sub(p.spoke) >= every; due {
		p.spoke = now
	}
	return round(now.Sub(p.since)), due
}

// Over ends it, and reports whether there was anything.
func (p *Pace) Over() (lasted string, was bool) {
	lasted, was = round(time.Since(p.since)), !p.since.IsZero()
	*p = Pace{}
	return lasted, was
}
