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

// suffix ends the names of the files.
const suffix = ".db"

// maxName bounds the length of a file's name, with what is put behind it.
const maxName = 200

// pathOf is a job's file. Every job has one of its own: what file systems don't take, or treat as equal, is escaped as % and
// two hexadecimal digits, and a long name ends in a hash.
func pathOf(dir, job string) string {
	var b strings.Builder
	for i := range len(job) {
		c := job[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
		} else if c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	name := b.String()
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(job))
		name = name[:maxName-18] + "%~" + hex.EncodeToString(sum[:8])
	}
	return filepath.Join(dir, "job-"+name+suffix)
}

// List returns the jobs that a folder keeps, the one that was updated last first. A folder that does not exist has none.
func List(dir string) ([]store.Entry, error) {
	paths, err := filepath.Glob(filepath.Join(escape(dir), "job-*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
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
	slices.SortFunc(out, func(a, b store.Entry) int { return b.Info.Updated.Compare(a.Info.Updated) })
	return out, nil
}

// escape keeps a folder's name from being read as a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Read returns the entry of one job. A job without one is fs.ErrNotExist.
func Read(dir, job string) (store.Entry, error) { return read(pathOf(dir, job)) }

// read reads one file. Of one that another process has open, only whose it is and since when is known; the run of a process that
// was killed counts as interrupted.
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
		e.Info, _ = readOwner(path)
		e.Info.Outcome, e.Info.Updated = tally.Running, e.Info.Started
	case err != nil:
		return e, explain(path, err)
	case e.Info.Outcome == tally.Running:
		e.Info.Outcome = tally.Interrupted // nobody holds the file
	}
	if e.Info.Job != "" {
		e.Name = e.Info.Job
	}
	e.Handled = store.Handled(e.Collections)
	return e, nil
}

// nameOf is the job of a file that does not say it.
func nameOf(path string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "job-"), suffix)
	if job, err := url.PathUnescape(name); err == nil {
		return job
	}
	return name
}

// keepFor is how long the state of a run is kept that is not gone on with.
const keepFor = 30 * 24 * time.Hour

// Tidy removes what runs left that ended long ago, so that a folder does not grow for ever. What can't be read is left alone.
func Tidy(dir string, now time.Time) error {
	paths, err := filepath.Glob(filepath.Join(escape(dir), "job-*"+suffix))
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
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
		if err := remove(path); err != nil && !errors.As(err, &busy) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Clear forgets a job, unless a process has its file open: then it is a *BusyError.
func Clear(dir, job string) error { return remove(pathOf(dir, job)) }

// remove removes a file, unless a process has it open.
func remove(path string) error {
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
	if oerr := os.Remove(ownerPath(path)); err == nil && oerr != nil && !errors.Is(oerr, fs.ErrNotExist) {
		err = oerr
	}
	if err != nil {
		return fmt.Errorf("clearing the state: %w", err)
	}
	return nil
}
