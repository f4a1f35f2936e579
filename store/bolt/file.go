package bolt

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	// lazily is how long a change that need not be kept at once may wait for others.
	lazily = time.Second
	// format is the version of the file's content.
	format = "1"
)

var (
	bucketMeta        = []byte("meta")
	bucketCollections = []byte("collections")
	bucketSplits      = []byte("splits")
	keyFormat         = []byte("format")
	keyInfo           = []byte("info")
	keyState          = []byte("state")
)

// Store is the open file of a job. It implements store.Store.
type Store struct {
	path string
	db   *bbolt.DB
	now  func() time.Time

	mu          sync.Mutex
	info        store.Info
	collections map[string]*store.Collection // what was found in the file; not kept up to date
	dirty       changes
	generation  int // of dirty

	writing sync.Mutex // held while changes are written
	broken  error      // why the file takes no more; what it holds stays as it is
	written int        // the last generation that is in the file
	last    time.Time  // when changes were last written
}

var _ store.Store = (*Store)(nil)

// changes are what the file does not have yet.
type changes struct {
	info        bool
	forget      bool                      // everything that was kept of earlier runs
	begun       map[string]bool           // collections whose splits are to be forgotten
	collections map[string][]byte         // states, as they are written
	splits      map[string]map[int][]byte // likewise, by collection
}

// Open opens the state of a job in a folder, and makes it if there is none. A file that another process uses is a *BusyError.
func Open(dir, job string) (*Store, error) {
	path := pathOf(dir, job)
	r := &Store{path: path, now: time.Now, collections: map[string]*store.Collection{}}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, syncd.Hint(fmt.Errorf("making the folder of the run's state: %w", err), placeHint)
	}
	_, before := os.Stat(path)
	if err := r.guarded(func() error { return r.open() }); err != nil {
		if r.db != nil {
			_ = r.db.Close()
		}
		// On a full disk half a file is left of a new one, which would be a damaged one ever after.
		if _, busy := errors.AsType[*BusyError](err); errors.Is(before, fs.ErrNotExist) && !busy {
			_ = os.Remove(path)
		}
		return nil, err
	}
	if err := writeOwner(path, store.Info{Job: job, PID: os.Getpid(), Host: store.Host(), Started: r.now()}); err != nil {
		_ = r.db.Close()
		return nil, r.explain(err)
	}
	return r, nil
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
		if cerr := db.Close(); cerr != nil {
			return nil, cerr
		}
		if err != nil {
			return nil, err
		}
		if terr != nil && !errors.Is(terr, fs.ErrNotExist) {
			return nil, terr
		}
	}
}

// open runs guarded.
func (r *Store) open() error {
	db, err := lock(r.path)
	if err != nil {
		return err
	}
	r.db = db
	if err := db.Update(begin); err != nil {
		return err
	}
	return db.View(r.load)
}

// begin makes what a new file lacks.
func begin(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	if _, err := tx.CreateBucketIfNotExists(bucketCollections); err != nil {
		return err
	}
	if meta.Get(keyFormat) != nil {
		return nil
	}
	return meta.Put(keyFormat, []byte(format))
}

// load reads the file.
func (r *Store) load(tx *bbolt.Tx) error {
	info, collections, err := content(tx)
	if err == nil {
		r.info, r.collections = info, collections
	}
	return err
}

// content reads what a file holds.
func content(tx *bbolt.Tx) (info store.Info, collections map[string]*store.Collection, err error) {
	meta, all := tx.Bucket(bucketMeta), tx.Bucket(bucketCollections)
	if meta == nil || all == nil {
		return info, nil, boltfile.ErrDamaged
	}
	if got := string(meta.Get(keyFormat)); got != format {
		return info, nil, &formatError{got}
	}
	if text := meta.Get(keyInfo); text != nil {
		if err := json.Unmarshal(text, &info); err != nil {
			return info, nil, fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
		}
	}
	collections = map[string]*store.Collection{}
	err = all.ForEachBucket(func(name []byte) error {
		b := all.Bucket(name)
		s := &store.Collection{}
		if err := json.Unmarshal(b.Get(keyState), s); err != nil {
			return fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
		}
		collections[string(name)] = s
		return b.Bucket(bucketSplits).ForEach(func(_, text []byte) error {
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

// Info implements store.Store.
func (r *Store) Info() store.Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.info
}

// Handled implements store.Store.
func (r *Store) Handled() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return store.Handled(r.collections)
}

// Begin implements store.Store.
func (r *Store) Begin(_ context.Context, run store.Info) error {
	r.mu.Lock()
	r.collections = map[string]*store.Collection{}
	r.dirty = changes{forget: true}
	r.info = run
	r.info.Started = r.now()
	r.enter()
	r.mu.Unlock()
	return r.sync()
}

// Resume implements store.Store.
func (r *Store) Resume(context.Context) error {
	r.mu.Lock()
	r.info.Resumes++
	r.enter()
	r.mu.Unlock()
	return r.sync()
}

// enter notes whose run it is now. The caller holds mu. Until the run ends the file says that it may be resumed: whoever reads
// that without a lock held knows that the process is gone.
func (r *Store) enter() {
	r.info.PID, r.info.Host, r.info.Outcome, r.info.Resumable = os.Getpid(), store.Host(), tally.Running, true
	r.dirty.info = true
	r.generation++
}

// Recall implements store.Checkpoints.
func (r *Store) Recall(collection string) *store.Collection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.collections[collection]
}

// Collection implements store.Checkpoints.
func (r *Store) Collection(_ context.Context, name string, s store.Collection, begin bool) error {
	s.Splits = nil
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the state of collection %s: %w", name, err)
	}
	r.mu.Lock()
	if r.dirty.collections == nil {
		r.dirty.collections = map[string][]byte{}
	}
	r.dirty.collections[name] = text
	if begin {
		if r.dirty.begun == nil {
			r.dirty.begun = map[string]bool{}
		}
		r.dirty.begun[name] = true
		delete(r.dirty.splits, name)
	}
	r.generation++
	r.mu.Unlock()
	return r.syncSoon()
}

// Split implements store.Checkpoints.
func (r *Store) Split(_ context.Context, collection string, s store.Split, durable bool) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("writing the state of a split of collection %s: %w", collection, err)
	}
	r.mu.Lock()
	if r.dirty.splits == nil {
		r.dirty.splits = map[string]map[int][]byte{}
	}
	of := r.dirty.splits[collection]
	if of == nil {
		of = map[int][]byte{}
		r.dirty.splits[collection] = of
	}
	of[s.Index] = text
	r.generation++
	r.mu.Unlock()
	if durable {
		return r.sync()
	}
	return r.syncSoon()
}

// syncSoon writes the changes if it is time, and nobody does already.
func (r *Store) syncSoon() error {
	if !r.writing.TryLock() {
		return nil
	}
	defer r.writing.Unlock()
	if r.now().Sub(r.last) < lazily {
		return nil
	}
	return r.write()
}

// sync writes all changes made so far. Callers that meet share one write.
func (r *Store) sync() error {
	r.mu.Lock()
	mine := r.generation
	r.mu.Unlock()
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.written >= mine {
		return nil
	}
	return r.write()
}

// write writes what is dirty. The caller holds writing.
func (r *Store) write() error {
	if r.broken != nil {
		return r.broken // what came before is not there, so what follows must not be
	}
	r.mu.Lock()
	todo, generation := r.dirty, r.generation
	r.dirty = changes{}
	r.info.Updated = r.now()
	info, err := json.Marshal(r.info)
	r.mu.Unlock()
	if err == nil {
		err = r.guarded(func() error {
			return r.db.Update(func(tx *bbolt.Tx) error { return todo.apply(tx, info) })
		})
	}
	if err != nil {
		r.broken = err
		return err
	}
	r.written, r.last = generation, r.now()
	return nil
}

// apply enters the changes into the file.
func (c *changes) apply(tx *bbolt.Tx, info []byte) error {
	if err := tx.Bucket(bucketMeta).Put(keyInfo, info); err != nil {
		return err
	}
	if c.forget {
		if err := tx.DeleteBucket(bucketCollections); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketCollections); err != nil {
			return err
		}
	}
	all := tx.Bucket(bucketCollections)
	for name := range c.begun {
		if all.Bucket([]byte(name)) != nil {
			if err := all.DeleteBucket([]byte(name)); err != nil {
				return err
			}
		}
	}
	for name, text := range c.collections {
		b, err := all.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			return err
		}
		if _, err := b.CreateBucketIfNotExists(bucketSplits); err != nil {
			return err
		}
		if err := b.Put(keyState, text); err != nil {
			return err
		}
	}
	for name, splits := range c.splits {
		b := all.Bucket([]byte(name))
		if b == nil {
			return boltfile.ErrDamaged
		}
		for index, text := range splits {
			if err := b.Bucket(bucketSplits).Put(binary.BigEndian.AppendUint32(nil, uint32(index)), text); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close implements store.Store.
func (r *Store) Close(_ context.Context, end store.End) error {
	r.mu.Lock()
	if r.info.RunID != "" && r.info.Outcome == tally.Running {
		r.info.Outcome, r.info.Resumable = end.Outcome, end.Resumable
		r.dirty.info = true
		r.generation++
	}
	r.mu.Unlock()
	err := r.sync()
	if rerr := os.Remove(ownerPath(r.path)); rerr != nil && err == nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = r.explain(rerr)
	}
	if cerr := r.db.Close(); err == nil && cerr != nil {
		err = r.explain(cerr)
	}
	return err
}

// formatError is a file of another version of syncd.
type formatError struct{ format string }

func (e *formatError) Error() string {
	return fmt.Sprintf("it is of format %q, which this version of syncd does not know", e.format)
}

// guarded runs f, which works on the file, and says of its error what it means.
func (r *Store) guarded(f func() error) error { return r.explain(boltfile.Guarded(f)) }

func (r *Store) explain(err error) error { return explain(r.path, err) }

func explain(path string, err error) error {
	var foreign *formatError
	switch {
	case err == nil:
		return nil
	case boltfile.IsBusy(err):
		return busy(path)
	case errors.As(err, &foreign):
		return syncd.Hint(fmt.Errorf("the run's state %s: %w", path, err), "delete it to begin anew, or use the version that made it")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EROFS):
		return syncd.Hint(fmt.Errorf("opening the run's state: %w", err), placeHint)
	case boltfile.IsDamaged(err):
		return syncd.Hint(fmt.Errorf("the run's state %s is damaged: %w", path, err), "--fresh begins anew; an incremental run does not send again what the index has by then")
	case isFull(err):
		return syncd.Hint(fmt.Errorf("the run's state %s: %w", path, err), "free some space there and run it again: it goes on where it stopped")
	}
	return syncd.Hint(fmt.Errorf("the run's state %s: %w", path, err), "if the disk is sound, the file is damaged: --fresh begins anew")
}

// isFull reports whether err means that the file can't grow. Of some of its errors bbolt gives only the text.
func isFull(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}, func(e error) bool {
		return errors.Is(err, e) || strings.Contains(err.Error(), e.Error())
	})
}
