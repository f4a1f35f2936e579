package bolt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd/internal/boltfile"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// The names of files: prefix, the job's name, escaped and of at most maxName bytes, and suffix.
const (
	prefix  = "job-"
	suffix  = ".db"
	maxName = 200
)

// pathOf is a job's file. Every job has one of its own: a byte that is no letter, digit, hyphen or underscore is escaped as % and two
// hexadecimal digits, and a name that is too long ends in a hash, behind %~. What begins the names sets them apart from other files of
// the folder, and from names that mean something to an operating system.
func pathOf(dir, job string) string {
	var b strings.Builder
	for _, c := range []byte(job) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	name := b.String()
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(job))
		name = name[:maxName-34] + "%~" + hex.EncodeToString(sum[:16])
	}
	return filepath.Join(dir, prefix+name+suffix)
}

// nameOf is the job of a file, as far as its name says it.
func nameOf(path string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), prefix), suffix)
	if job, err := url.PathUnescape(name); err == nil {
		return job
	}
	return name
}

// files returns the paths of a folder's files. A folder that does not exist has none.
func files(dir string) (paths []string, err error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the states: %w", err)
	}
	for _, f := range all {
		if name := f.Name(); strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
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

// read reads one file, and is fs.ErrNotExist where there is none. Of one that another process has open, only whose it is and since when is known.
func read(path string) (store.Entry, error) {
	e := store.Entry{Name: nameOf(path), Path: path}
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
