package sendlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/boltfile"
)

// lockTimeout is how long to wait for another process to let go of the file.
const lockTimeout = 2 * time.Second

// format is the version of the file's content.
const format = "1"

var (
	bucketEntries = []byte("attempts")
	bucketMeta    = []byte("meta")
	keyFormat     = []byte("format")
	keyIndex      = []byte("index")
)

// Open opens the record, and makes it if there is none.
func Open(c Config) (*Ledger, error) {
	if c.Max < 1 {
		return nil, fmt.Errorf("opening the record of attempts %s: it must allow at least one", c.Path)
	}
	if c.loaded == 0 {
		c.loaded = maxLoaded
	}
	l := &Ledger{config: c}
	if c.ReadOnly {
		if info, err := os.Stat(c.Path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			return l, nil
		}
	} else if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
		return nil, syncd.Hint(fmt.Errorf("making the folder of the record of attempts: %w", err), placeHint)
	}
	if err := l.guarded(l.open); err != nil {
		if l.db != nil {
			_ = l.db.Close()
		}
		return nil, err
	}
	return l, nil
}

const placeHint = "set run.state_dir to a folder that can be written to and outlives the run, or run.attempts.file"

// open runs guarded.
func (l *Ledger) open() error {
	db, err := bbolt.Open(l.config.Path, 0o600, &bbolt.Options{
		Timeout: lockTimeout, ReadOnly: l.config.ReadOnly, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return err
	}
	l.db = db
	if !l.config.ReadOnly {
		if err := db.Update(l.begin); err != nil {
			return err
		}
		if err := db.View(l.check); err != nil {
			return err
		}
		if err := l.fold(all); err != nil { // what is left of a run that was killed, or large
			return err
		}
	}
	var expired []uuid.UUID
	if err := db.View(func(tx *bbolt.Tx) (err error) {
		if err := l.check(tx); err != nil {
			return err
		}
		expired, err = l.load(tx, time.Now())
		return err
	}); err != nil || len(expired) == 0 {
		return err
	}
	if err := l.put(seenRecord(expired)); err != nil {
		return err
	}
	return l.fold(all)
}

// begin makes what a new file lacks.
func (l *Ledger) begin(tx *bbolt.Tx) error {
	if tx.Bucket(bucketMeta) != nil {
		return nil
	}
	meta, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	if err := meta.Put(keyFormat, []byte(format)); err != nil {
		return err
	}
	if err := meta.Put(keyIndex, []byte(l.config.Index)); err != nil {
		return err
	}
	if _, err = tx.CreateBucket(bucketLog); err != nil {
		return err
	}
	_, err = tx.CreateBucket(bucketEntries)
	return err
}

// check finds out whether the file is what it should be.
func (l *Ledger) check(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || tx.Bucket(bucketEntries) == nil || tx.Bucket(bucketLog) == nil {
		return boltfile.ErrDamaged
	}
	if got := string(meta.Get(keyFormat)); got != format {
		return &foreignError{fmt.Sprintf("is of format %q, which this version of syncd does not know", got), "delete it, or use the version that made it"}
	}
	if got := string(meta.Get(keyIndex)); got != l.config.Index {
		return &foreignError{fmt.Sprintf("is about another index: %s, not %s", got, l.config.Index), "give each index a file of its own, in run.attempts.file"}
	}
	return nil
}

// load reads the entries, or makes the filter where there are too many. It touches every page that a run may read. A record that
// is only read may have a log, which is taken into account as long as everything fits into memory, and keeps its expired entries.
// Those of any other record are returned, and not loaded.
func (l *Ledger) load(tx *bbolt.Tx, now time.Time) (expired []uuid.UUID, err error) {
	entries := tx.Bucket(bucketEntries)
	loaded := map[uuid.UUID]entry{}
	var many *filter
	err = entries.ForEach(func(key, value []byte) error {
		id, err := uuid.FromBytes(key)
		if err != nil {
			return boltfile.ErrDamaged
		}
		e, err := decode(value)
		if err != nil {
			return err
		}
		if !l.config.ReadOnly && e.expired(now) {
			expired = append(expired, id)
			return nil
		}
		l.count++
		if many == nil && len(loaded) == l.config.loaded {
			many = newFilter(entries.Stats().KeyN)
			for id := range loaded {
				many.add(id)
			}
			loaded = nil
		}
		if many != nil {
			many.add(id)
			return nil
		}
		loaded[id] = e
		return nil
	})
	if err == nil && loaded != nil {
		err = walk(tx.Bucket(bucketLog), func(g logged) {
			if old, had := loaded[g.id]; had || len(loaded) < l.config.loaded {
				if e, ok := g.apply(old, had); ok {
					loaded[g.id] = e
				} else {
					delete(loaded, g.id)
				}
			}
		})
		l.count = len(loaded)
	}
	l.entries, l.filter = loaded, many
	return expired, err
}

// foreignError is a file that is whole, but not the one that is wanted.
type foreignError struct{ what, hint string }

func (e *foreignError) Error() string { return e.what }

// guarded runs f, which works on the file, and says of its error what it means.
func (l *Ledger) guarded(f func() error) error { return l.explain(boltfile.Guarded(f)) }

func (l *Ledger) explain(err error) error {
	var foreign *foreignError
	path := l.config.Path
	switch {
	case err == nil:
		return nil
	case errors.As(err, &foreign):
		return syncd.Hint(fmt.Errorf("the record of attempts %s %w", path, err), "%s", foreign.hint)
	case boltfile.IsBusy(err):
		return syncd.Hint(fmt.Errorf("opening the record of attempts %s: another process is using it", path),
			"let that run end first, or give each a file of its own in run.attempts.file")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return syncd.Hint(fmt.Errorf("opening the record of attempts: %w", err), placeHint)
	case boltfile.IsDamaged(err), errors.Is(err, errEntry):
		return syncd.Hint(fmt.Errorf("the record of attempts %s is damaged: %w", path, err),
			"%s", deleteHint)
	case errors.Is(err, syscall.ENOSPC):
		return syncd.Hint(fmt.Errorf("the record of attempts %s: %w", path, err), "free some space on that disk")
	}
	// A damaged file can also lead to a write at an offset that no file can have, which is an error of the system.
	return syncd.Hint(fmt.Errorf("the record of attempts %s: %w", path, err), "if the disk is sound, the file is damaged: %s", deleteHint)
}

const deleteHint = "delete it: it holds nothing but how often documents were sent, so those that are never indexed will be sent a few times more"
