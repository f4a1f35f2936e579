package sendlog

import (
	"bytes"
	"cmp"
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
const format = "2"

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
		if l.copied != "" {
			_ = os.Remove(l.copied)
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
	if l.config.ReadOnly {
		if err := db.View(l.check); err != nil {
			return err
		}
		return l.readCopy()
	}
	if err := db.Update(l.begin); err != nil {
		return err
	}
	for from := []byte{}; from != nil && err == nil; {
		err = db.Update(func(tx *bbolt.Tx) error {
			from, err = removeExpired(tx.Bucket(bucketEntries), from, time.Now())
			return err
		})
	}
	return err
}

// readCopy goes on with a copy of the file, so that a run may write to the file meanwhile.
func (l *Ledger) readCopy() error {
	f, err := os.CreateTemp("", "syncd-attempts-*.db")
	if err != nil {
		return err
	}
	l.copied = f.Name()
	err = l.db.View(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err = errors.Join(err, f.Close(), l.db.Close()); err == nil {
		l.db, err = bbolt.Open(l.copied, 0o600, &bbolt.Options{ReadOnly: true, FreelistType: bbolt.FreelistMapType})
	}
	if err != nil {
		l.db = nil // it is closed
	}
	return err
}

// begin makes what a new file lacks, and finds out whether another one is what it should be.
func (l *Ledger) begin(tx *bbolt.Tx) error {
	if tx.Bucket(bucketMeta) == nil {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		_, err = tx.CreateBucket(bucketEntries)
		if err := errors.Join(err, meta.Put(keyFormat, []byte(format)), meta.Put(keyIndex, []byte(l.config.Index))); err != nil {
			return err
		}
	}
	return l.check(tx)
}

// check finds out whether the file is what it should be.
func (l *Ledger) check(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil || tx.Bucket(bucketEntries) == nil {
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

// removeExpired removes some expired entries, and returns the id from which to continue, nil at the end. It reads every entry
// that it passes, so a damaged file is found out before the run.
func removeExpired(entries *bbolt.Bucket, from []byte, now time.Time) (next []byte, err error) {
	var expired [][]byte
	cursor := entries.Cursor()
	id, value := cursor.Seek(from)
	for ; id != nil && len(expired) < maxForget; id, value = cursor.Next() {
		e, err := decode(value)
		if err != nil || len(id) != len(uuid.UUID{}) {
			return nil, cmp.Or(err, boltfile.ErrDamaged)
		}
		if e.expired(now) {
			expired = append(expired, id)
		}
	}
	next = bytes.Clone(id) // bbolt's own only lives as long as the transaction
	for _, id := range expired {
		if err := entries.Delete(id); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// ErrBusy says that a run has the record open.
var ErrBusy = errors.New("another process is using it")

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
		return syncd.Hint(fmt.Errorf("opening the record of attempts %s: %w", path, ErrBusy),
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
