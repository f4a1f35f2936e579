package sendlog

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// maxForget is how many entries are removed together.
	maxForget = 5000
	// maxLeft is how many of the documents that were left alone are named; all are counted.
	maxLeft = 20
	// keepDeletes is how long the entry of a delete is kept after it was last sent. A document whose point has gone is never
	// looked at again, so nothing else removes its entry. An orphan that is still there by then is deleted anew, as often as
	// Config.Max allows.
	keepDeletes = 90 * 24 * time.Hour
)

// Config says whose record is kept, and how.
type Config struct {
	Path     string // of the file; its folder is made if it is not there
	Index    string // names the index; a record that was made for another one is refused
	Max      int    // sends after which a document is left alone, at least 1
	Retry    bool   // leave no document alone
	ReadOnly bool   // for a run that sends nothing: change nothing, and do not make the file
}

// Left is a document that was left alone.
type Left struct {
	Rule     *mapping.Rule
	ID       string
	PointID  uuid.UUID
	Deleted  bool // what was sent is its delete, and its point is still there
	Attempts int
	Last     time.Time // when it was last sent
}

// Ledger is an open record. It implements engine.Ledger and is safe for concurrent use.
type Ledger struct {
	config Config
	db     *bbolt.DB // nil if ReadOnly and there is no file
	copied string    // the file that is read if ReadOnly

	mu     sync.Mutex
	forget []uuid.UUID // documents that the index shows, and whose entries are not removed yet
	left   []Left
}

// Judge implements engine.Ledger. A document that is present is forgotten. An orphan is left alone if its delete was sent often
// enough, any other document if it was sent often enough in the version that it has.
func (l *Ledger) Judge(rule *mapping.Rule, c *syncd.Change) (leave bool, err error) {
	if l.db == nil || c.Verdict == syncd.Unknown {
		return false, nil
	}
	e, ok, err := l.find(c.PointID)
	if err != nil || !ok {
		return false, err
	}
	if c.Verdict == syncd.Present {
		return false, l.seen(c.PointID)
	}
	if l.config.Retry || e.attempts < uint32(l.config.Max) || e.version != versionOf(rule, c) {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.left) < maxLeft {
		l.left = append(l.left, Left{
			Rule: rule, ID: c.ID, PointID: c.PointID, Deleted: isDelete(c), Attempts: int(e.attempts), Last: time.Unix(int64(e.last), 0),
		})
	}
	return true, nil
}

// find returns what is recorded of a document.
func (l *Ledger) find(id uuid.UUID) (e entry, ok bool, err error) {
	err = l.guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) (err error) {
			if value := tx.Bucket(bucketEntries).Get(id[:]); value != nil {
				ok = true
				e, err = decode(value)
			}
			return err
		})
	})
	return e, ok, err
}

// seen has the entry of a document that the index shows removed, together with others.
func (l *Ledger) seen(id uuid.UUID) error {
	if l.config.ReadOnly {
		return nil
	}
	l.mu.Lock()
	l.forget = append(l.forget, id)
	full := len(l.forget) >= maxForget
	l.mu.Unlock()
	if !full {
		return nil
	}
	return l.update(func(*bbolt.Bucket) error { return nil })
}

// update removes the entries of what the index has shown, and then changes others.
func (l *Ledger) update(change func(entries *bbolt.Bucket) error) error {
	l.mu.Lock()
	forget := l.forget
	l.forget = nil
	l.mu.Unlock()
	return l.guarded(func() error {
		return l.db.Update(func(tx *bbolt.Tx) error {
			entries := tx.Bucket(bucketEntries)
			for _, id := range forget {
				if err := entries.Delete(id[:]); err != nil {
					return err
				}
			}
			return change(entries)
		})
	})
}

// Sent implements engine.Ledger. It counts one more send of each document or of its delete, all in one transaction.
func (l *Ledger) Sent(rule *mapping.Rule, changes []syncd.Change) error {
	if len(changes) == 0 || l.config.ReadOnly {
		return nil
	}
	now := time.Now()
	return l.update(func(entries *bbolt.Bucket) error {
		for i := range changes {
			id := changes[i].PointID
			var e entry
			if value := entries.Get(id[:]); value != nil {
				var err error
				if e, err = decode(value); err != nil {
					return err
				}
			}
			if err := entries.Put(id[:], e.sent(versionOf(rule, &changes[i]), now).encode()); err != nil {
				return err
			}
		}
		return nil
	})
}

// Left returns the first documents that were left alone, by collection and id.
func (l *Ledger) Left() []Left {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.left, func(a, b Left) int {
		return cmp.Or(cmp.Compare(a.Rule.Collection.Name, b.Rule.Collection.Name), cmp.Compare(a.ID, b.ID))
	})
	return slices.Clone(l.left)
}

// Close removes what is left to remove, and closes the file.
func (l *Ledger) Close() (err error) {
	if l.db == nil {
		return nil
	}
	if len(l.forget) > 0 {
		err = l.update(func(*bbolt.Bucket) error { return nil })
	}
	if cerr := l.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("closing the record of attempts %s: %w", l.config.Path, cerr)
	}
	if l.copied != "" {
		err = errors.Join(err, os.Remove(l.copied))
	}
	return err
}
