package attempts

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
	"github.com/syncd-io/syncd/pipeline"
)

const (
	// maxLoaded is how many entries are held in memory, some 60 MB; of more only a filter is, and each that it may have is
	// looked up in the file.
	maxLoaded = 1 << 20
	// maxForget is how many entries that the index has caught up with are logged together.
	maxForget = 5000
	// maxLeft is how many of the documents that were left alone are named; all are counted.
	maxLeft = 20
)

// Config says whose record is kept, and how.
type Config struct {
	Path     string // of the file; its folder is made if need be
	Index    string // names the index; a record that was made for another one is refused
	Max      int    // sends after which a document is left alone, at least 1
	Retry    bool   // leave none alone
	ReadOnly bool   // for a run that sends nothing: change nothing, and do not make the file

	loaded int // maxLoaded, or less in tests
}

// Left is a document that was left alone.
type Left struct {
	Rule     *mapping.Rule
	ID       string
	PointID  uuid.UUID
	Attempts int
	Last     time.Time // when it was last sent
}

// Ledger is an open record. It implements pipeline.Ledger and is safe for concurrent use. A run sees what was recorded before
// it began: it looks at no document twice.
type Ledger struct {
	config Config
	db     *bbolt.DB // nil if ReadOnly and there is no file

	// What was recorded when the record was opened; never changed, so it is read without a lock. entries is nil where
	// there is too much to hold, and then only filter is here.
	count   int
	entries map[uuid.UUID]entry
	filter  *filter

	seeds sync.Pool // of *[]byte

	mu     sync.Mutex
	forget []uuid.UUID // that the index shows by now
	left   []Left
}

var _ pipeline.Ledger = (*Ledger)(nil)

// Judge implements pipeline.Ledger.
func (l *Ledger) Judge(rule *mapping.Rule, rec *syncd.Record, v syncd.Verdict) (bool, error) {
	if l.count == 0 || v == syncd.Unknown {
		return false, nil
	}
	seed, _ := l.seeds.Get().(*[]byte)
	if seed == nil {
		seed = new([]byte)
	}
	id, err := rule.PointID(seed, rec, 0)
	l.seeds.Put(seed)
	if err != nil {
		return false, err
	}
	e, ok, err := l.find(id)
	if err != nil || !ok {
		return false, err
	}
	if v == syncd.Present {
		return false, l.seen(id)
	}
	if l.config.Retry || e.attempts < uint32(l.config.Max) || e.version != hash(rule.DocumentVersion(rec)) {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.left) < maxLeft {
		l.left = append(l.left, Left{Rule: rule, ID: rec.ID, PointID: id, Attempts: int(e.attempts), Last: time.Unix(int64(e.last), 0)})
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
	return l.log(appendSeen(nil, full))
}

// Sent implements pipeline.Ledger: it counts one more send of each document, all in one transaction.
func (l *Ledger) Sent(sent []pipeline.Sent) error {
	if len(sent) == 0 || l.config.ReadOnly {
		return nil
	}
	return l.log(appendSent(nil, sent, time.Now()))
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

// Close enters what the run sent and saw, and lets go of the file.
func (l *Ledger) Close() error {
	if l.db == nil {
		return nil
	}
	var err error
	if !l.config.ReadOnly {
		if len(l.forget) > 0 {
			err = l.log(appendSeen(nil, l.forget))
		}
		if err == nil {
			// After a large run the next one does it, which need not end in time.
			err = l.guarded(func() error { return l.fold(maxFold) })
		}
	}
	if cerr := l.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("closing the record of attempts %s: %w", l.config.Path, cerr)
	}
	return err
}
