package bolt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/boltfile"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

const (
	// lockTimeout is how long to wait for another process to let go of the file.
	lockTimeout = time.Second
	// format is the version of the file's content.
	format = "2"
)

var (
	bucketMeta        = []byte("meta")
	bucketCollections = []byte("collections")
	bucketSplits      = []byte("splits")
	keyFormat         = []byte("format")
	keyInfo           = []byte("info")
	keyState          = []byte("state")
)

// Open opens the state of a job in a folder, and makes it if there is none. A file that another process uses is a *BusyError.
func Open(dir, job string) (*Store, error) {
	path := pathOf(dir, job)
	s := &Store{job: job, path: path, now: time.Now}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, syncd.Hint(fmt.Errorf("making the folder of the run's state: %w", err), placeHint)
	}
	_, before := os.Stat(path)
	if err := s.guarded(s.open); err != nil {
		if s.db != nil {
			_ = s.db.Close()
		}
		// On a full disk half a file is left of a new one, which would be a damaged one ever after.
		if _, busy := errors.AsType[*BusyError](err); errors.Is(before, fs.ErrNotExist) && !busy {
			_ = os.Remove(path)
		}
		return nil, err
	}
	if err := writeOwner(path, store.Info{Job: job, PID: os.Getpid(), Host: store.Host(), Started: s.now()}); err != nil {
		_ = s.db.Close()
		return nil, explain(path, err)
	}
	return s, nil
}

const placeHint = "set run.state_dir to a folder that can be written to and outlives the run, or run.resume: false"

// openFile is replaced by tests.
var openFile = os.OpenFile

// openDB opens the file and takes its lock. Both are let go even if a damaged file makes bbolt panic.
func openDB(path string, readOnly bool) (db *bbolt.DB, file *os.File, err error) {
	defer func() {
		if db == nil && file != nil {
			unlock(file)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		ReadOnly: readOnly, Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType,
		OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
			file, err = openFile(name, flag, mode)
			return file, err
		},
	})
	return db, file, err
}

// lock opens the file to work on it. Whoever held its lock may have removed the file meanwhile (Clear): then the lock is that
// of a file that nobody else will find, and a new one is made.
func lock(path string) (*bbolt.DB, error) {
	for {
		db, file, err := openDB(path, false)
		if err != nil {
			return nil, err
		}
		mine, err := file.Stat()
		there, terr := os.Stat(path)
		if err == nil && terr == nil && os.SameFile(mine, there) {
			return db, nil
		}
		if errors.Is(terr, fs.ErrNotExist) {
			terr = nil
		}
		if err := errors.Join(err, terr, db.Close()); err != nil {
			return nil, err
		}
	}
}

// open opens the file and reads it. It runs guarded.
func (s *Store) open() (err error) {
	if s.db, err = lock(s.path); err != nil {
		return err
	}
	if err := s.db.Update(func(tx *bbolt.Tx) (err error) {
		if err = begin(tx); err == nil {
			s.info, s.collections, err = content(tx)
		}
		return err
	}); err != nil {
		return err
	}
	if got := s.info.Job; got != "" && got != s.job { // to the file system, upper and lower case are the same
		return &foreignError{fmt.Sprintf("it is that of job %q", got), "give one of the jobs a name that differs in more than upper and lower case"}
	}
	return nil
}

// begin makes what a new file lacks.
func begin(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists(bucketCollections); err != nil {
		return err
	}
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err == nil && meta.Get(keyFormat) == nil {
		err = meta.Put(keyFormat, []byte(format))
	}
	return err
}

// content reads what a file holds. A run that did not end was interrupted: whoever reads has the lock.
func content(tx *bbolt.Tx) (info store.Info, collections map[string]*store.Collection, err error) {
	meta, all := tx.Bucket(bucketMeta), tx.Bucket(bucketCollections)
	if meta == nil || all == nil {
		return info, nil, boltfile.ErrDamaged
	}
	if got := string(meta.Get(keyFormat)); got != format {
		return info, nil, &foreignError{
			fmt.Sprintf("it is of format %q, which this version of syncd does not know", got), "delete it to begin anew, or use the version that made it",
		}
	}
	if text := meta.Get(keyInfo); text != nil {
		if err := json.Unmarshal(text, &info); err != nil {
			return info, nil, fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
		}
	}
	if info.Outcome == tally.Running {
		info.Outcome = tally.Interrupted
	}
	collections = map[string]*store.Collection{}
	err = all.ForEachBucket(func(name []byte) error {
		b := all.Bucket(name)
		s := &store.Collection{}
		if err := json.Unmarshal(b.Get(keyState), s); err != nil {
			return fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
		}
		collections[string(name)] = s
		splits := b.Bucket(bucketSplits)
		if splits == nil {
			return boltfile.ErrDamaged
		}
		return splits.ForEach(func(_, text []byte) error {
			var p store.Split
			if err := json.Unmarshal(text, &p); err != nil {
				return fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
			}
			s.Splits = append(s.Splits, p)
			return nil
		})
	})
	return info, collections, err
}

// foreignError is a file that is sound, but none to work with.
type foreignError struct{ problem, hint string }

func (e *foreignError) Error() string { return e.problem }

// guarded runs f, which works on the file, and says of its error what it means.
func (s *Store) guarded(f func() error) error { return explain(s.path, boltfile.Guarded(f)) }

func explain(path string, err error) error {
	var foreign *foreignError
	switch {
	case err == nil:
		return nil
	case boltfile.IsBusy(err):
		return busy(path)
	case errors.As(err, &foreign):
		return syncd.Hint(fmt.Errorf("the run's state %s: %w", path, err), "%s", foreign.hint)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EROFS):
		return syncd.Hint(fmt.Errorf("opening the run's state: %w", err), placeHint)
	case boltfile.IsDamaged(err):
		return syncd.Hint(fmt.Errorf("the run's state %s is damaged: %w", path, err), "--fresh starts from the beginning; an incremental run does not send again what the index has by then")
	case isFull(err):
		return syncd.Hint(fmt.Errorf("the run's state %s: %w", path, err), "free some space there and run it again: it resumes where it stopped")
	}
	return syncd.Hint(fmt.Errorf("the run's state %s: %w", path, err), "if the disk is sound, the file is damaged: --fresh starts from the beginning")
}

// isFull reports whether err means that the file can't grow. Of some of its errors bbolt gives only the text.
func isFull(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}, func(e error) bool {
		return errors.Is(err, e) || strings.Contains(err.Error(), e.Error())
	})
}
