package engine

import (
	"context"
	"iter"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
)

// collecting is how the changes of a stream are collected.
type collecting struct {
	wait    time.Duration // from the first change on
	changes int           // so many are read at most, about
	bytes   int64         // and so many are held, about
	held    func(bytes int64)
	merged  func(changes int64) // is told how many were left out for a later one
}

// read collects the changes of a stream and then yields them as one batch, in which of each document there is the last change only.
// Batches without changes pass at once where nothing is collected, and else with what is. Offsets are those of the stream, so nothing
// that is collected is passed over.
func (c collecting) read(ctx context.Context, read func(context.Context) iter.Seq2[syncd.Batch, error]) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		type answer struct {
			batch syncd.Batch
			err   error
		}
		answers := make(chan answer)
		defer func() {
			stop()
			for range answers { // until the reader below has ended
			}
		}()
		go func() {
			defer close(answers)
			err := panics.Caught(func() error {
				for b, err := range read(ctx) {
					select {
					case answers <- answer{b, err}:
					case <-ctx.Done():
						return nil
					}
					if err != nil {
						return nil // it was handed over
					}
				}
				return nil
			})()
			if err != nil {
				select {
				case answers <- answer{err: err}:
				case <-ctx.Done():
				}
			}
		}()
		var m merger
		var due <-chan time.Time
		flush := func() bool {
			due = nil
			if m.merged > 0 {
				c.merged(m.merged)
			}
			return yield(m.take(), nil)
		}
		for {
			select {
			case a, ok := <-answers:
				switch {
				case !ok:
					// The stream ended with its context: what is collected is read again.
					return
				case a.err != nil:
					if m.offset != "" && ctx.Err() == nil && !flush() {
						return
					}
					yield(syncd.Batch{}, a.err)
					return
				}
				m.add(a.batch)
				c.held(m.bytes)
				switch {
				case len(m.changes) == 0 || m.read >= c.changes || c.bytes > 0 && m.bytes >= c.bytes:
					if !flush() {
						return
					}
				case due == nil:
					due = time.After(c.wait)
				}
			case <-due:
				if !flush() {
					return
				}
			}
		}
	}
}

// merger holds changes of which each document has one, and what of a stream they stand for.
type merger struct {
	changes []syncd.Change
	last    map[mergeKey]int // of each document in changes
	offset  syncd.Offset
	read    int   // changes that were added
	bytes   int64 // of those that are there
	merged  int64
}

type mergeKey struct {
	collection string
	key        syncd.Key
}

// add takes the changes of a batch. One of a document that is there already takes its place at the end: it is the newer one, and
// touched what both did.
func (m *merger) add(b syncd.Batch) {
	m.offset = b.Offset
	m.read += len(b.Changes)
	for i := range b.Changes {
		c := &b.Changes[i]
		if c.Err != nil || c.Key == "" { // nothing tells which document it is of
			m.append(*c)
			continue
		}
		if m.last == nil {
			m.last = map[mergeKey]int{}
		}
		k := mergeKey{c.Streamed.Collection, c.Key}
		if at, there := m.last[k]; there {
			older := &m.changes[at]
			m.bytes -= weigh(older)
			merged := *c.Streamed // the source may still hold the other one
			merged.Whole = merged.Whole || older.Streamed.Whole || older.Operation == syncd.Delete
			merged.Touched = append(append([]string(nil), older.Streamed.Touched...), merged.Touched...)
			if merged.Before == nil {
				merged.Before = older.Streamed.Before
			}
			newer := *c
			newer.Streamed = &merged
			if older.Operation == syncd.Insert && newer.Operation != syncd.Delete {
				newer.Operation = syncd.Insert // nobody has seen the document yet
			}
			*older = syncd.Change{}
			m.merged++
			m.last[k] = len(m.changes)
			m.append(newer)
			continue
		}
		m.last[k] = len(m.changes)
		m.append(*c)
	}
}

func (m *merger) append(c syncd.Change) {
	m.bytes += weigh(&c)
	m.changes = append(m.changes, c)
}

// take returns what there is as one batch, and starts again.
func (m *merger) take() syncd.Batch {
	b := syncd.Batch{Changes: m.changes, Offset: m.offset}
	if m.merged > 0 { // those that were replaced are empty
		b.Changes = retain(b.Changes, func(c *syncd.Change) bool { return c.Streamed != nil })
	}
	*m = merger{}
	return b
}
