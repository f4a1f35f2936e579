package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/config"
)

// find turns the arguments into targets. What can't be read is a problem like any other, so that the rest is still checked.
func (v *validation) find(args []string) {
	for _, arg := range args {
		info, err := os.Stat(arg)
		switch {
		case arg == "-":
			data, err := readLimited(v.app.stdin)
			if err != nil {
				v.problem(stdinName, reason(err), "can't read standard input")
				continue
			}
			v.add(&target{name: stdinName, text: data})
		case err == nil && info.IsDir():
			v.folder(arg)
		case err != nil && strings.ContainsAny(arg, "*?["):
			v.pattern(arg)
		default:
			v.file(arg)
		}
	}
}

// add adds a target unless it is one already: patterns and folders may overlap.
func (v *validation) add(t *target) {
	if t.document || !slices.ContainsFunc(v.targets, func(o *target) bool { return o.name == t.name }) {
		v.targets = append(v.targets, t)
	}
}

// file adds a configuration, or the examples of a document.
func (v *validation) file(path string) {
	if !isDocument(path) {
		v.add(&target{name: path})
		return
	}
	if slices.ContainsFunc(v.targets, func(o *target) bool { return o.name == path }) {
		return
	}
	f, err := os.Open(path)
	if err != nil {
		v.problem(path, reason(err), "can't read the document %s", path)
		return
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := readLimited(f)
	if err != nil {
		v.problem(path, reason(err), "can't read the document %s", path)
		return
	}
	for _, e := range config.Examples(data) {
		v.add(&target{name: path, text: e.Text, scope: e.Scope, document: true})
	}
}

func isDocument(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".md" || ext == ".markdown"
}

func isYAML(path string) bool {
	ext := strings.ToLower(filepath.Ext(path))
	return ext == ".yaml" || ext == ".yml"
}

// folder adds what a folder holds, folders in it included, but for what is hidden.
func (v *validation) folder(root string) {
	found := false
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			v.problem(path, reason(err), "can't read %s", path)
			return nil
		case path != root && strings.HasPrefix(e.Name(), "."):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir() || !isYAML(path) && !isDocument(path):
			return nil
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() { // a link to a folder
			return nil
		}
		found = true
		v.file(path)
		return nil
	})
	switch {
	case err != nil:
		v.problem(root, reason(err), "can't read the folder %s", root)
	case !found:
		v.problem(root, "", "the folder %s holds no YAML file", root)
	}
}

// pattern adds the files that a pattern matches, for shells that leave it to the program.
func (v *validation) pattern(pattern string) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		v.problem(pattern, "a [ needs its ]", "%s is not a pattern", pattern)
		return
	}
	found := false
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.IsDir() || hidden(name) && !hidden(pattern) { // as in a shell
			continue
		}
		found = true
		v.file(name)
	}
	if !found {
		v.problem(pattern, "", "no file matches %s", pattern)
	}
}

func hidden(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }

// reason is why a file can't be read, without its name, which the message has.
func reason(err error) string {
	if perr := (*fs.PathError)(nil); errors.As(err, &perr) {
		err = perr.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file"
	}
	return err.Error()
}
