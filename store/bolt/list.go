package bolt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd/internal/boltfile"
	"github.com/syncd-io/syncd/internal/jobfile"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// suffix ends the names of the files: see jobfile.
const suffix = ".db"

// pathOf is a job's file.
func pathOf(dir, job string) string { return jobfile.Path(dir, job, suffix) }

// files returns the paths of a folder's files. A folder that does not exist has none.
func files(dir string) (paths []string, err error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the states: %w", err)
	}
	for _, f := range all {
		if name := f.Name(); jobfile.Is(name, suffix) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}

// List returns what a folder keeps of its jobs, the one that was updated last first. A folder that does not exist has none.
func List(dir string) ([]store.Entry, error) {
	paths, err := files(dir)
	if err != nil {
		return nil, err
	}
	var out []store.Entry
	for _, path := range paths {
		e, err := read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		e.Problem = err
		out = append(out, e)
	}
	slices.SortStableFunc(out, func(a, b store.Entry) int { return b.Info.Updated.Compare(a.Info.Updated) })
	return out, nil
}

// Read returns what a folder keeps of a job; of one that a process has open, only whose it is. A job without state is fs.ErrNotExist.
func Read(dir, job string) (store.Entry, error) {
	e, err := read(pathOf(dir, job))
	if err == nil && e.Info.Job != "" && e.Info.Job != job { // to the file system, upper and lower case are the same
		return e, fmt.Errorf("reading the state: %w", fs.ErrNotExist)
	}
	return e, err
}

// read reads one file, and is fs.ErrNotExist where there is none. Of one that another process has open, only whose it is and since when is known.
func read(path string) (store.Entry, error) {
	e := store.Entry{Name: jobfile.Job(path, suffix), Path: path}
	if _, err := os.Stat(path); err != nil {
		return e, fmt.Errorf("reading the state: %w", err)
	}
	err := boltfile.Guarded(func() error {
		db, _, err := openDB(path, true)
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // it was only read
		return db.View(func(tx *bbolt.Tx) (err error) {
			e.Info, e.Collections, err = content(tx)
			return err
		})
	})
	switch {
	case boltfile.IsBusy(err):
		e.Info = readOwner(path)
		e.Info.Outcome, e.Info.Updated = tally.Running, e.Info.Started
	case err != nil:
		return e, explain(path, err)
	}
	if e.Info.Job != "" {
		e.Name = e.Info.Job
	}
	e.Handled = store.Handled(e.Collections)
	return e, nil
}

// keepFor is how long the state of a run is kept that nobody resumes.
const keepFor = 30 * 24 * time.Hour

// Tidy removes what runs left that ended long ago, so that a folder does not grow for ever. What can't be read is left alone.
func Tidy(dir string, now time.Time) error {
	paths, _ := files(dir) // Open says what is wrong with the folder
	for _, path := range paths {
		// A file that was not touched is not opened.
		if info, err := os.Stat(path); err != nil || now.Sub(info.ModTime()) < keepFor {
			continue
		}
		e, err := read(path)
		if err != nil || e.Info.Outcome == tally.Running || now.Sub(e.Info.Updated) < keepFor {
			continue
		}
		var busy *BusyError
		if err := Remove(path); err != nil && !errors.As(err, &busy) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Clear removes a job's file, unless a process has it open: then it is a *BusyError. A job without one is fs.ErrNotExist, and so is
// one whose file is another job's, to a file system that takes upper and lower case for the same.
func Clear(dir, job string) error {
	path := pathOf(dir, job)
	if e, err := read(path); err == nil && e.Info.Job != "" && e.Info.Job != job {
		return fmt.Errorf("clearing the state: %w", fs.ErrNotExist)
	}
	return Remove(path)
}

// Remove is Clear for the file of an Entry, of which a damaged one may not say whose it is.
func Remove(path string) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("clearing the state: %w", err)
	}
	err := boltfile.Guarded(func() error {
		db, _, err := openDB(path, false)
		if err != nil {
			return err
		}
		return errors.Join(os.Remove(path), db.Close())
	})
	if boltfile.IsBusy(err) {
		return busy(path)
	}
	if err != nil { // a damaged one goes as well
		err = os.Remove(path)
	}
	if oerr := os.Remove(ownerPath(path)); !errors.Is(oerr, fs.ErrNotExist) {
		err = errors.Join(err, oerr)
	}
	if err != nil {
		return fmt.Errorf("clearing the state: %w", err)
	}
	return nil
}
