package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd/internal/boltfile"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// lazily is how long a change that need not be kept at once may wait for others.
const lazily = time.Second

// Store is the open file of a job. It implements store.Store.
type Store struct {
	job  string
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
	forget      bool // everything that was kept of earlier runs, but streams
	collections map[string]*change
}

// change is what the file does not have yet of a collection.
type change struct {
	begun  bool                // the splits in the file are to be forgotten
	state  *store.Collection   // nil is unchanged
	splits map[int]store.Split // states by index
}

// of returns the changes of a collection.
func (c *changes) of(collection string) *change {
	if c.collections == nil {
		c.collections = map[string]*change{}
	}
	if c.collections[collection] == nil {
		c.collections[collection] = &change{splits: map[int]store.Split{}}
	}
	return c.collections[collection]
}

// Info implements store.Store.
func (s *Store) Info() store.Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Handled implements store.Store.
func (s *Store) Handled() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Handled(s.collections)
}

// Begin implements store.Store.
func (s *Store) Begin(_ context.Context, run store.Info) error {
	s.mu.Lock()
	maps.DeleteFunc(s.collections, ofRun)
	maps.DeleteFunc(s.dirty.collections, func(name string, _ *change) bool { return !store.IsStream(name) })
	s.dirty.forget = true
	s.info = run
	s.info.Job, s.info.Started = s.job, s.now()
	s.enter()
	s.mu.Unlock()
	return s.sync()
}

// ofRun reports whether a collection is forgotten with its run.
func ofRun(name string, _ *store.Collection) bool { return !store.IsStream(name) }

// Resume implements store.Store.
func (s *Store) Resume(context.Context) error {
	s.mu.Lock()
	s.info.Resumes++
	s.enter()
	s.mu.Unlock()
	return s.sync()
}

// enter has the run be this process's. The caller holds mu.
func (s *Store) enter() {
	s.info.Enter()
	s.generation++
}

// Recall implements store.Checkpoints.
func (s *Store) Recall(collection string) *store.Collection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.collections[collection]
}

// Collection implements store.Checkpoints.
func (s *Store) Collection(_ context.Context, name string, c store.Collection, begin bool) error {
	c.Splits = nil
	s.mu.Lock()
	of := s.dirty.of(name)
	of.state = &c
	if begin {
		of.begun = true
		clear(of.splits)
	}
	s.generation++
	s.mu.Unlock()
	return s.syncSoon()
}

// Split implements store.Checkpoints.
func (s *Store) Split(_ context.Context, collection string, p store.Split, durable bool) error {
	s.mu.Lock()
	s.dirty.of(collection).splits[p.Index] = p
	s.generation++
	s.mu.Unlock()
	if durable {
		return s.sync()
	}
	return s.syncSoon()
}

// Entry is what the file holds now; what was told in the last second may not be in it yet. It fails when the store is closed.
func (s *Store) Entry() (store.Entry, error) {
	e := store.Entry{Name: s.job, Path: s.path}
	err := s.guarded(func() error {
		return s.db.View(func(tx *bbolt.Tx) (err error) {
			_, e.Collections, err = content(tx)
			return err
		})
	})
	e.Info, e.Handled = s.Info(), store.Handled(e.Collections)
	return e, err
}

// syncSoon writes the changes if it is time, and nobody does already.
func (s *Store) syncSoon() error {
	if !s.writing.TryLock() {
		return nil
	}
	defer s.writing.Unlock()
	if s.now().Sub(s.last) < lazily {
		return nil
	}
	return s.write()
}

// sync writes all changes made so far. Callers that meet share one write.
func (s *Store) sync() error {
	s.mu.Lock()
	mine := s.generation
	s.mu.Unlock()
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.written >= mine {
		return nil
	}
	return s.write()
}

// write writes what is dirty. The caller holds writing.
func (s *Store) write() error {
	if s.broken != nil {
		return s.broken // what came before is not there, so what follows must not be
	}
	s.mu.Lock()
	todo, generation := s.dirty, s.generation
	s.dirty = changes{}
	s.info.Updated = s.now()
	info, err := json.Marshal(s.info)
	s.mu.Unlock()
	if err == nil {
		err = s.guarded(func() error {
			return s.db.Update(func(tx *bbolt.Tx) error { return todo.apply(tx, info) })
		})
	}
	if s.broken = err; err == nil {
		s.written, s.last = generation, s.now()
	}
	return err
}

// apply enters the changes into the file.
func (c *changes) apply(tx *bbolt.Tx, info []byte) error {
	if err := tx.Bucket(bucketMeta).Put(keyInfo, info); err != nil {
		return err
	}
	if c.forget {
		if err := forgetRun(tx.Bucket(bucketCollections)); err != nil {
			return err
		}
	}
	all := tx.Bucket(bucketCollections)
	for name, of := range c.collections {
		if err := of.apply(all, []byte(name)); err != nil {
			return err
		}
	}
	return nil
}

// forgetRun deletes all collections but streams.
func forgetRun(all *bbolt.Bucket) error {
	var names [][]byte
	if err := all.ForEachBucket(func(name []byte) error {
		if !store.IsStream(string(name)) {
			names = append(names, bytes.Clone(name))
		}
		return nil
	}); err != nil {
		return err
	}
	for _, name := range names {
		if err := all.DeleteBucket(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) apply(all *bbolt.Bucket, name []byte) error {
	if c.begun && all.Bucket(name) != nil {
		if err := all.DeleteBucket(name); err != nil {
			return err
		}
	}
	if c.state == nil && all.Bucket(name) == nil {
		return boltfile.ErrDamaged // splits without their collection
	}
	b, err := all.CreateBucketIfNotExists(name)
	if err != nil {
		return err
	}
	splits, err := b.CreateBucketIfNotExists(bucketSplits)
	if err != nil {
		return err
	}
	if c.state != nil {
		if err := put(b, keyState, c.state); err != nil {
			return err
		}
	}
	for index, state := range c.splits {
		if err := put(splits, binary.BigEndian.AppendUint32(nil, uint32(index)), state); err != nil {
			return err
		}
	}
	return nil
}

// put encodes a state, which is done here and not when the store is told of it: most are replaced before they are written.
func put(b *bbolt.Bucket, key []byte, state any) error {
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("writing a state: %w", err)
	}
	return b.Put(key, text)
}

// Close implements store.Store. A run that this process neither began nor resumed is left as it is.
func (s *Store) Close(_ context.Context, end store.End) error {
	s.mu.Lock()
	if s.info.Outcome == tally.Running {
		s.info.Outcome, s.info.Resumable = end.Outcome, end.Resumable
		s.generation++
	}
	s.mu.Unlock()
	err := s.sync()
	if rerr := os.Remove(ownerPath(s.path)); !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, explain(s.path, rerr))
	}
	return errors.Join(err, explain(s.path, s.db.Close()))
}
