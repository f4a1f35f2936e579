package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/wholefile"
	"github.com/syncd-io/syncd/spec"
)

// file is a YAML file that was found.
type file struct {
	path     string
	read     string // stamp of it, and of all that it extends, when it was read; empty before
	seen     string // stamp at the last look
	missed   int    // looks in a row in which it was not there
	result   config.Result
	revision string
}

// scan looks at the files and applies what has changed. A file is read when two looks in a row have found it the same, since who writes
// it may not be done; with force it is read at once.
func (h *Host) scan(force bool) {
	h.scans.Lock()
	defer h.scans.Unlock()
	paths, problem := find(h.o.Paths)
	h.mu.Lock()
	was := h.problem
	h.problem = problem
	h.mu.Unlock()
	switch problem {
	case was:
	case "":
		h.o.Logger.Info("jobs are looked for again everywhere")
	default:
		h.o.Logger.Warn("can't look for jobs", "error", problem, "hint", "those that were found go on; the folder is looked at again until it can be read")
	}
	for _, path := range paths {
		f := h.files[path]
		if f == nil {
			f = &file{path: path}
			h.files[path] = f
		}
		f.missed = 0
		stamp := f.stamp()
		if force || stamp != f.read && stamp == f.seen {
			f.load(h.o.Load, stamp)
		}
		f.seen = stamp
	}
	for path, f := range h.files {
		if f.missed++; !slices.Contains(paths, path) && problem == "" && (force || f.missed > 2) {
			delete(h.files, path)
		}
	}
	h.apply()
}

// find lists the files that may be jobs, in the order in which they were named. problem says which folder could not be read, and why:
// then files are missing from the list that are still there.
func find(paths []string) (found []string, problem string) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			found = append(found, filepath.Clean(path))
			continue
		}
		var entries []fs.DirEntry
		if err == nil {
			entries, err = os.ReadDir(path)
		}
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) || !isFile(path) {
				problem = err.Error()
			}
			continue
		}
		for _, e := range entries {
			name := filepath.Join(path, e.Name())
			if !isFile(name) || strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if info, err := os.Stat(name); err != nil || info.Mode().IsRegular() { // to read a pipe would wait for its writer
				found = append(found, name)
			}
		}
	}
	return found, problem
}

// isFile reports whether a path is named as a configuration is.
func isFile(path string) bool {
	ext := filepath.Ext(path)
	return ext == ".yaml" || ext == ".yml"
}

// stamp changes when the file is written, or one that it extends.
func (f *file) stamp() string {
	var b strings.Builder
	for _, path := range append([]string{f.path}, f.result.Files...) {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%d %d\n", info.ModTime().UnixNano(), info.Size())
		} else {
			b.WriteString("-\n")
		}
	}
	return b.String()
}

func (f *file) load(load func(string) config.Result, stamp string) {
	f.result = load(f.path)
	f.revision = revision(f.result.Files)
	f.read = stamp // from before: what is written meanwhile, and a file that it extends only now, has it read again
}

// revision sums up what files hold.
func revision(files []string) string {
	sum := sha256.New()
	for _, path := range files {
		text, _ := os.ReadFile(path) // that it is gone is a difference, too
		fmt.Fprintf(sum, "%d\n%s", len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// apply gives the keepers what their files say. A file that others extend is no job.
func (h *Host) apply() {
	extended := map[string]bool{}
	for _, f := range h.files {
		for _, path := range f.result.Files {
			if path = absolute(path); path != absolute(f.path) {
				extended[path] = true
			}
		}
	}
	var found []*file
	for _, f := range h.files {
		if f.read != "" && !extended[absolute(f.path)] {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	owners := h.owners()
	claimed := map[string]*file{} // by name
	// Who has a name keeps it; then whose file can be used.
	for _, f := range found {
		if c := f.result.Config; c != nil && owners[f.path] == c.Name {
			claimed[c.Name] = f
		}
	}
	double := map[string][]string{}
	for _, f := range found {
		c := f.result.Config
		if c == nil {
			continue
		}
		if first := claimed[c.Name]; first == nil {
			claimed[c.Name] = f
		} else if first != f {
			double[c.Name] = append(double[c.Name], f.path+" is not run: its job has the name of this one; give it another with name:")
		}
	}
	for _, f := range found {
		if f.result.Config != nil {
			continue
		}
		name := owners[f.path]
		if name == "" {
			name = strings.TrimSuffix(filepath.Base(f.path), filepath.Ext(f.path))
		}
		if claimed[name] == nil {
			claimed[name] = f
		}
	}
	for name, f := range claimed {
		h.keep(name).apply(f, append(problems(f.result.Diagnostics), double[name]...))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, k := range h.keepers {
		if claimed[name] == nil {
			k.remove()
		}
	}
}

// owners are the names of the jobs by their files.
func (h *Host) owners() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]string{}
	for name, k := range h.keepers {
		out[k.path()] = name
	}
	return out
}

// keep returns the keeper of a job, which is made where there is none.
func (h *Host) keep(name string) *keeper {
	h.mu.Lock()
	defer h.mu.Unlock()
	k := h.keepers[name]
	if k == nil {
		k = newKeeper(h, name)
		h.keepers[name] = k
	}
	k.mu.Lock()
	if k.deleted { // what was wanted of the one before was forgotten
		k.deleted, k.asked, k.wanted = false, nil, h.desired.of(name).Desired
	}
	k.mu.Unlock()
	return k
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// problems are the errors among diagnostics, a line each.
func problems(diags spec.Diagnostics) (lines []string) {
	for _, d := range diags {
		if d.Severity == spec.Error {
			lines = append(lines, d.String())
		}
	}
	return lines
}

// Folder is where files of new jobs are written: the first folder that was named; empty where there is none.
func (h *Host) Folder() string {
	for _, path := range h.o.Paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
	}
	return ""
}

// Write replaces the file of a job, or makes that of a new one, and has it applied. It does not look at what it writes: who calls it
// has validated it.
func (h *Host) Write(path string, text []byte, by string) error {
	if err := wholefile.Write(path, text, true); err != nil {
		return fmt.Errorf("writing the job's file: %w", err)
	}
	h.o.Logger.Info("the file of a job was written", "file", path, "by", by)
	h.scan(true)
	return nil
}

// Create makes the file of a new job, which there must not be yet (fs.ErrExist), with what is wanted of the job, and has it applied.
func (h *Host) Create(name, path string, text []byte, want Desired, by string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("making the job's file %s: %w", path, err)
	}
	if err := h.desired.set(name, want, by); err != nil {
		return err
	}
	if k, err := h.keeper(name); err == nil { // its file was gone
		k.want(want)
	}
	return h.Write(path, text, by)
}

// Delete removes the file of a job, and what was wanted of it, and waits for nothing. Its state stays, for a job of the same name.
func (h *Host) Delete(name, by string) error {
	k, err := h.keeper(name)
	if err != nil {
		return err
	}
	h.scans.Lock() // a look that has seen the file would bring the job back
	err = os.Remove(k.path())
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = nil
		k.forget()
	}
	h.scans.Unlock()
	if err != nil {
		return fmt.Errorf("removing the job's file: %w", err)
	}
	h.o.Logger.Info("a job was deleted", "job", name, "file", k.path(), "by", by)
	h.scan(true)
	return h.desired.forget(name)
}
