package state

import (
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
	"github.com/syncd-io/syncd/pipeline"
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

// Status is how a run stands.
type Status string

// The statuses.
const (
	Running     Status = "running"
	Interrupted Status = "interrupted" // ended before it was done, by itself or not
	Complete    Status = "complete"
	Failed      Status = "failed" // it contradicts itself, and is not gone on with
)

// Info is what a file says about its run.
type Info struct {
	RunID       string    `json:"run_id"`
	Job         string    `json:"job"`         // what it works on, in words
	Fingerprint string    `json:"fingerprint"` // of the configuration
	Config      string    `json:"config"`      // the configuration's file
	Status      Status    `json:"status"`
	Started     time.Time `json:"started"`
	Updated     time.Time `json:"updated"`
	Resumes     int       `json:"resumes"` // how often it was gone on with
	PID         int       `json:"pid"`
	Host        string    `json:"host"`
}

// Run is the open file of a run. It implements pipeline.Journal and is safe for concurrent use.
type Run struct {
	path string
	db   *bbolt.DB
	now  func() time.Time

	mu          sync.Mutex
	info        Info
	collections map[string]*pipeline.CollectionState // what was found in the file; not kept up to date
	dirty       changes
	generation  int // of dirty

	writing sync.Mutex // held while changes are written
	broken  error      // why the file takes no more; what it holds stays as it is
	written int        // the last generation that is in the file
	last    time.Time  // when changes were last written
}

var _ pipeline.Journal = (*Run)(nil)

// changes are what the file does not have yet.
type changes struct {
	info        bool
	forget      bool                      // everything that was kept of earlier runs
	begun       map[string]bool           // collections whose splits are to be forgotten
	collections map[string][]byte         // states, as they are written
	splits      map[string]map[int][]byte // likewise, by collection
}

// Open opens the state of the job, and makes it if there is none. A file that another process uses is a *BusyError.
func Open(path string, job Info) (*Run, error) {
	r := &Run{path: path, now: time.Now, collections: map[string]*pipeline.CollectionState{}}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, syncd.Hint(fmt.Errorf("making the folder of the run's state: %w", err), placeHint)
	}
	_, before := os.Stat(path)
	if err := r.guarded(func() error { return r.open(job) }); err != nil {
		if r.db != nil {
			_ = r.db.Close()
		}
		// On a full disk half a file is left of a new one, which would be a damaged one ever after.
		if _, busy := errors.AsType[*BusyError](err); errors.Is(before, fs.ErrNotExist) && !busy {
			_ = os.Remove(path)
		}
		return nil, err
	}
	if err := writeOwner(path, Info{PID: os.Getpid(), Host: hostName(), Started: r.now()}); err != nil {
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
func (r *Run) open(job Info) error {
	db, err := lock(r.path)
	if err != nil {
		return err
	}
	r.db = db
	if err := db.Update(begin); err != nil {
		return err
	}
	if err := db.View(r.load); err != nil {
		return err
	}
	if r.info.RunID != "" && r.info.Fingerprint != job.Fingerprint {
		r.info, r.collections = Info{}, map[string]*pipeline.CollectionState{} // an old file of the same name
	}
	return nil
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
func (r *Run) load(tx *bbolt.Tx) error {
	info, collections, err := read(tx)
	if err == nil {
		r.info, r.collections = info, collections
	}
	return err
}

func read(tx *bbolt.Tx) (info Info, collections map[string]*pipeline.CollectionState, err error) {
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
	collections = map[string]*pipeline.CollectionState{}
	err = all.ForEachBucket(func(name []byte) error {
		b := all.Bucket(name)
		s := &pipeline.CollectionState{}
		if err := json.Unmarshal(b.Get(keyState), s); err != nil {
			return fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
		}
		collections[string(name)] = s
		return b.Bucket(bucketSplits).ForEach(func(_, text []byte) error {
			var p pipeline.SplitState
			if err := json.Unmarshal(text, &p); err != nil {
				return fmt.Errorf("%w: %w", boltfile.ErrDamaged, err)
			}
			s.Splits = append(s.Splits, p)
			return nil
		})
	})
	return info, collections, err
}

// Path is the file's.
func (r *Run) Path() string { return r.path }

// Info returns what is known of the run that the file is about; its RunID is empty before the first.
func (r *Run) Info() Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.info
}

// Handled is how many documents the run in the file has handled.
func (r *Run) Handled() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return handled(r.collections)
}

func handled(collections map[string]*pipeline.CollectionState) (n int64) {
	for _, c := range collections {
		for _, s := range c.Splits {
			n += s.Counts.Scanned
		}
	}
	return n
}

// Begin makes the file that of a new run, and forgets what was there.
func (r *Run) Begin(job Info) error {
	r.mu.Lock()
	r.collections = map[string]*pipeline.CollectionState{}
	r.dirty = changes{forget: true}
	r.info = job
	r.info.Started = r.now()
	r.enter()
	r.mu.Unlock()
	return r.sync()
}

// Resume makes the file that of the process that goes on with its run.
func (r *Run) Resume() error {
	r.mu.Lock()
	r.info.Resumes++
	r.enter()
	r.mu.Unlock()
	return r.sync()
}

// enter notes whose run it is now. The caller holds mu.
func (r *Run) enter() {
	r.info.PID, r.info.Host, r.info.Status = os.Getpid(), hostName(), Running
	r.dirty.info = true
	r.generation++
}

// Recall implements pipeline.Journal.
func (r *Run) Recall(collection string) *pipeline.CollectionState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.collections[collection]
}

// Collection implements pipeline.Journal.
func (r *Run) Collection(name string, s pipeline.CollectionState, begin bool) error {
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

// Split implements pipeline.Journal.
func (r *Run) Split(collection string, s pipeline.SplitState, durable bool) error {
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
func (r *Run) syncSoon() error {
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
func (r *Run) sync() error {
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
func (r *Run) write() error {
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

// Close keeps how the run ended and lets go of the file.
func (r *Run) Close(s Status) error {
	r.mu.Lock()
	if r.info.RunID != "" && r.info.Status == Running {
		r.info.Status = s
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
func (r *Run) guarded(f func() error) error { return r.explain(boltfile.Guarded(f)) }

func (r *Run) explain(err error) error { return explain(r.path, err) }

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
