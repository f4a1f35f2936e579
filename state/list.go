package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd/internal/boltfile"
	"github.com/syncd-io/syncd/pipeline"
)

// The names of state files.
const (
	prefix = "run-"
	suffix = ".db"
)

// FileName is the name of a job's file: what it is about, and enough of the fingerprint to tell it from all others.
func FileName(job, fingerprint string) string { return prefix + job + "-" + fingerprint + suffix }

// Entry is one file of a folder.
type Entry struct {
	Name        string // of the file, without its suffix
	Path        string
	Info        Info
	Handled     int64
	Collections map[string]*pipeline.CollectionState
	Problem     error // why the rest is not known: a damaged file
}

// List returns the runs that a folder keeps, the one that was updated last first. A folder that does not exist has none.
func List(dir string) ([]Entry, error) {
	paths, err := filepath.Glob(filepath.Join(escape(dir), prefix+"*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	var out []Entry
	for _, path := range paths {
		e, err := Read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		e.Problem = err
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return b.Info.Updated.Compare(a.Info.Updated) })
	return out, nil
}

// escape keeps a folder's name from being read as a pattern.
func escape(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// Read reads one file. Of one that another process has open, only whose it is and since when is known; of a process that was
// killed, the run counts as interrupted.
func Read(path string) (Entry, error) {
	e := Entry{Name: strings.TrimSuffix(filepath.Base(path), suffix), Path: path}
	err := boltfile.Guarded(func() error {
		db, _, err := openDB(path, true)
		if err != nil {
			return err
		}
		defer db.Close() //nolint:errcheck // it was only read
		return db.View(func(tx *bbolt.Tx) (err error) {
			e.Info, e.Collections, err = read(tx)
			return err
		})
	})
	switch {
	case boltfile.IsBusy(err):
		e.Info, _ = readOwner(path)
		e.Info.Status, e.Info.Updated = Running, e.Info.Started
		return e, nil
	case err != nil:
		return e, explain(path, err)
	}
	if e.Info.Status == Running {
		e.Info.Status = Interrupted // nobody holds the file
	}
	e.Handled = handled(e.Collections)
	return e, nil
}

// keepFor is how long the state of a run is kept that is not gone on with.
const keepFor = 30 * 24 * time.Hour

// Tidy removes what runs left that ended long ago, so that a folder does not grow for ever. What can't be read is left alone.
func Tidy(dir string, now time.Time) error {
	paths, err := filepath.Glob(filepath.Join(escape(dir), prefix+"*"+suffix))
	if err != nil {
		return fmt.Errorf("listing %s: %w", dir, err)
	}
	for _, path := range paths {
		// A file that was not touched is not opened.
		if info, err := os.Stat(path); err != nil || now.Sub(info.ModTime()) < keepFor {
			continue
		}
		e, err := Read(path)
		if err != nil || e.Info.Status == Running || now.Sub(e.Info.Updated) < keepFor {
			continue
		}
		var busy *BusyError
		if err := Clear(path); err != nil && !errors.As(err, &busy) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Clear removes a file, unless a process has it open: then it is a *BusyError.
func Clear(path string) error {
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
