// Package store says what is kept of a job: how far its run came, so that an interrupted one can resume.
//
// Two stores implement it. store/bolt keeps a file per job in a folder. store/marks keeps everything in the sink's own
// transactions, for exactly-once delivery.
//
// Invariants:
//   - a job has one store, and one process at a time owns it;
//   - a checkpoint is kept only after the sink confirmed everything before it; it may lag behind, never lead;
//   - what is kept of a collection carries a fingerprint of the rule that made it, the collection's identity, and that of the
//     place where its events went: where one of them has changed, it has lost its meaning and the collection is read from its
//     start;
//   - a run that is complete is never resumed.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/tally"
)

// Store keeps the state of one job. It is open, and this process owns it until Close. All methods but Close are safe for
// concurrent use.
type Store interface {
	Checkpoints

	// Info returns what is known of the run that is kept; its RunID is empty before the first.
	Info() Info
	// Handled is how many documents the kept run had handled when the store was opened.
	Handled() int64
	// Begin makes the state that of a new run, and forgets what was there, but for streams: see StreamOf.
	Begin(ctx context.Context, run Info) error
	// Resume makes the state that of this process, which resumes the kept run.
	Resume(ctx context.Context) error
	// Close keeps how the run ended and releases the store.
	Close(ctx context.Context, end End) error
}

// Checkpoints is what the engine needs of a store. What it is told of a split is never ahead of what the sink confirmed; it
// may be behind, and then the documents between are looked at again.
type Checkpoints interface {
	// Recall returns what was kept of a collection by the run that is resumed, or nil.
	Recall(collection string) *Collection
	// Collection keeps the state of a collection, but for its splits; with begin it forgets those that were kept.
	Collection(ctx context.Context, name string, s Collection, begin bool) error
	// Split keeps the state of a split. It returns only when a crash can't undo it, if durable, nor what came before it, of
	// whatever split or collection; else soon after is enough. A split's states come one after another.
	Split(ctx context.Context, collection string, s Split, durable bool) error
}

// Committer is what the engine needs of a store whose checkpoints are part of the sink's transactions.
type Committer interface {
	Checkpoints
	// Commit makes the changes durable together with the state of the split behind them: both, or neither. Its errors are those
	// of syncd.SinkAbilities.Commit.
	Commit(ctx context.Context, changes []syncd.Change, collection string, s Split) error
}

// Info is what is kept about a run.
type Info struct {
	Job       string        `json:"job"` // its name
	RunID     string        `json:"run_id"`
	Config    string        `json:"config"` // the configuration's file
	Scope     Scope         `json:"scope"`
	Outcome   tally.Outcome `json:"outcome"`
	Resumable bool          `json:"resumable"` // the next run of the job may resume this one
	Started   time.Time     `json:"started"`
	Updated   time.Time     `json:"updated"`
	Resumes   int           `json:"resumes"`           // how often it was resumed
	Follows   bool          `json:"follows,omitempty"` // it follows changes once it has looked at all documents
	PID       int           `json:"pid"`
	Host      string        `json:"host"`
}

// Enter makes the run that of this process. Until it ends it may be resumed: whoever finds it Running, and nobody working on it,
// knows that the process is gone.
func (i *Info) Enter() {
	i.PID, i.Host, i.Outcome, i.Resumable = os.Getpid(), Host(), tally.Running, true
}

// Scope is what a run works on. Positions that were kept under one scope mean nothing under another.
type Scope struct {
	Source      string   `json:"source"`          // plugin and place
	Index       string   `json:"index,omitempty"` // plugin and place; empty if nothing is asked
	Sink        string   `json:"sink"`            // plugin and place
	Mode        string   `json:"mode"`
	Collections []string `json:"collections"`
	Settings    string   `json:"settings"` // fingerprint of all else that gives positions their meaning
}

// End is how a run left its state.
type End struct {
	Outcome   tally.Outcome
	Resumable bool
}

// Collection is how far a run came with a collection.
type Collection struct {
	Rule     string  `json:"rule"`           // fingerprint of the collection's rule
	Identity string  `json:"identity"`       // of the collection when its splits were made, as syncd.SourceAbilities.Identity gives it
	Sunk     string  `json:"sunk,omitempty"` // identity of where its events went, as syncd.SinkAbilities.Identity gives it
	Found    bool    `json:"found"`
	Before   int64   `json:"before"`   // documents before the read; -1 if the source can't count
	Planned  bool    `json:"planned"`  // all splits are known
	Complete bool    `json:"complete"` // read to its end, and proved
	Splits   []Split `json:"splits,omitempty"`
}

// Split is how far a run came with a split: everything up to After was handled, as Counts says.
type Split struct {
	Index    int
	Lower    syncd.Key
	Upper    syncd.Key
	After    syncd.Offset // "" is before the first
	Done     bool
	Counts   tally.Counts
	Failures []tally.Failure // the first of them
	// Divided are the indexes of splits that took over what was behind Upper.
	Divided []int
}

// storedSplit is a split's state as it is kept: keys and offsets are bytes, not text.
type storedSplit struct {
	Index    int             `json:"index"`
	Lower    []byte          `json:"lower,omitempty"`
	Upper    []byte          `json:"upper,omitempty"`
	After    []byte          `json:"after,omitempty"`
	Done     bool            `json:"done,omitempty"`
	Counts   tally.Counts    `json:"counts"`
	Failures []tally.Failure `json:"failures,omitempty"`
	Divided  []int           `json:"divided,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (s Split) MarshalJSON() ([]byte, error) {
	return json.Marshal(storedSplit{
		Index: s.Index, Lower: []byte(s.Lower), Upper: []byte(s.Upper), After: []byte(s.After), Done: s.Done, Counts: s.Counts, Failures: s.Failures,
		Divided: s.Divided,
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Split) UnmarshalJSON(data []byte) error {
	var t storedSplit
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	*s = Split{
		Index: t.Index, Lower: syncd.Key(t.Lower), Upper: syncd.Key(t.Upper), After: syncd.Offset(t.After), Done: t.Done, Counts: t.Counts, Failures: t.Failures,
		Divided: t.Divided,
	}
	return nil
}

// ErrNotResumable says that a kept state contradicts itself.
var ErrNotResumable = errors.New("the state does not fit")

// Check refuses a state that can't be the product of a run, whatever happened to it.
func (s *Collection) Check(name string) error {
	begins := map[syncd.Key]int{} // splits by their lower bounds
	for i, p := range s.Splits {
		_, twice := begins[p.Lower]
		switch {
		case s.Complete && !p.Done:
			return fmt.Errorf("%w: collection %s is complete, but its split %d is not", ErrNotResumable, name, p.Index)
		case p.Index != i && p.Index < DividedFrom:
			return fmt.Errorf("%w: split %d of collection %s is not there", ErrNotResumable, i, name)
		case twice || i > 0 && p.Lower == "":
			return fmt.Errorf("%w: split %d of collection %s does not begin where the one before it ends", ErrNotResumable, p.Index, name)
		case p.Done && p.Counts.Problem() != "":
			return fmt.Errorf("%w: split %d of collection %s: %s", ErrNotResumable, p.Index, name, p.Counts.Problem())
		}
		begins[p.Lower] = i
	}
	for n, at := 1, 0; n < len(s.Splits); n++ {
		next, there := begins[s.Splits[at].Upper]
		if !there || s.Splits[at].Upper == "" {
			return fmt.Errorf("%w: no split of collection %s begins where its split %d ends", ErrNotResumable, name, s.Splits[at].Index)
		}
		at = next
	}
	return nil
}

// DividedFrom is the least index of a split that was made by dividing another one. Those that a source made count from 0.
const DividedFrom = 1 << 20

// Made returns how many splits the source has made, and where the last of them ends, be it divided since. Check must have found nothing.
func (s *Collection) Made() (n int, end syncd.Key) {
	ends := map[syncd.Key]syncd.Key{} // by lower bounds
	for _, p := range s.Splits {
		ends[p.Lower] = p.Upper
		if p.Index < DividedFrom {
			n++
		}
	}
	if n > 0 {
		end = s.Splits[0].Upper
		for range len(s.Splits) - 1 {
			end = ends[end]
		}
	}
	return n, end
}

// Entry is what a store holds about one job, for a look from outside.
type Entry struct {
	Name        string // the job's
	Path        string // of its file; empty where there is none
	Info        Info
	Handled     int64 // documents that its run had handled
	Collections map[string]*Collection
	Problem     error // why the rest is not known: a damaged file
}

// Handled is how many documents were handled of some collections; changes of streams do not count.
func Handled(collections map[string]*Collection) (n int64) {
	for name, c := range collections {
		if !IsStream(name) {
			n += c.Counts().Scanned
		}
	}
	return n
}

// Counts adds up the splits.
func (s *Collection) Counts() (n tally.Counts) {
	for i := range s.Splits {
		n.Add(s.Splits[i].Counts)
	}
	return n
}

// StreamOf names a stream among the collections of a store. No collection has such a name. What is kept under it outlives the
// run.
func StreamOf(stream string) string { return streamPrefix + stream }

// IsStream reports whether a name is that of a stream.
func IsStream(name string) bool { return strings.HasPrefix(name, streamPrefix) }

// StreamName returns the stream that StreamOf has named; ok is false if it has not.
func StreamName(name string) (stream string, ok bool) { return strings.CutPrefix(name, streamPrefix) }

const streamPrefix = "\x00stream\x00"

// DeletesOf names, among the collections of a store, the deletes of a collection's orphans. No collection has such a name.
func DeletesOf(collection string) string { return deletesPrefix + collection }

// IsDeletes reports whether a name is one that DeletesOf made.
func IsDeletes(name string) bool { return strings.HasPrefix(name, deletesPrefix) }

const deletesPrefix = "\x00deletes\x00"

// Host is the name of this machine, for whoever asks where a run is.
func Host() string {
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "this host"
}
