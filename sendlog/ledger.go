package sendlog

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

const (
	// maxLoaded is how many entries are held in memory, some 60 MB; of more only a filter is, and each that it may have is
	// looked up in the file.
	maxLoaded = 1 << 20
	// maxForget is how many entries of documents that the index shows are logged together.
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

	loaded int // maxLoaded, or less in tests
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

// Ledger is an open record. It implements engine.Ledger and is safe for concurrent use. A run sees only what
// was recorded before it began.
type Ledger struct {
	config Config
	db     *bbolt.DB // nil if ReadOnly and there is no file

	// What was recorded when the record was opened. It never changes, so it is read without a lock. entries is nil where there are
	// more than maxLoaded; then filter is set.
	count   int
	entries map[uuid.UUID]entry
	filter  *filter

	mu     sync.Mutex
	forget []uuid.UUID // documents that the index shows, and that are not logged yet
	left   []Left
}

// Judge implements engine.Ledger. A document that is present is forgotten. An orphan is left alone if its delete was sent often
// enough, any other document if it was sent often enough in the version that it has.
func (l *Ledger) Judge(rule *mapping.Rule, c *syncd.Change) (leave bool, err error) {
	if l.count == 0 || c.Verdict == syncd.Unknown {
		return false, nil
	}
	e, ok, err := l.find(c.PointID)
	if err != nil || !ok {
		return false, err
	}
	if c.Verdict == syncd.Present {
		return false, l.seen(c.PointID)
	}
	if l.config.Retry || e.attempts < uint32(l.config.Max) || e.version != hash(versionOf(rule, c)) {
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

// find returns what was recorded of a document when the record was opened.
func (l *Ledger) find(id uuid.UUID) (e entry, ok bool, err error) {
	if l.entries != nil {
		e, ok = l.entries[id]
		return e, ok, nil
	}
	if !l.filter.mayHave(id) {
		return entry{}, false, nil
	}
	err = l.guarded(func() error {
		return l.db.View(func(tx *bbolt.Tx) error {
			value := tx.Bucket(bucketEntries).Get(id[:])
			if value == nil {
				return nil
			}
			ok = true
			e, err = decode(value)
			return err
		})
	})
	return e, ok, err
}

// seen has an entry removed when the record is closed.
func (l *Ledger) seen(id uuid.UUID) error {
	if l.config.ReadOnly {
		return nil
	}
	l.mu.Lock()
	l.forget = append(l.forget, id)
	var full []uuid.UUID
	if len(l.forget) >= maxForget {
		full, l.forget = l.forget, nil
	}
	l.mu.Unlock()
	if full == nil {
		return nil
	}
	return l.log(seenRecord(full))
}

// Sent implements engine.Ledger. It counts one more send of each document or of its delete, all in one transaction.
func (l *Ledger) Sent(rule *mapping.Rule, changes []syncd.Change) error {
	if len(changes) == 0 || l.config.ReadOnly {
		return nil
	}
	return l.log(appendSent(nil, rule, changes, time.Now()))
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

// Close enters what the run sent and saw, and closes the file.
func (l *Ledger) Close() error {
	if l.db == nil {
		return nil
	}
	var err error
	if !l.config.ReadOnly {
		if len(l.forget) > 0 {
			err = l.log(seenRecord(l.forget))
		}
		if err == nil {
			// After a large run the next opening does it, since a run that ends must not take long to close.
			err = l.guarded(func() error { return l.fold(maxFold) })
		}
	}
	if cerr := l.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("closing the record of attempts %s: %w", l.config.Path, cerr)
	}
	return err
}
