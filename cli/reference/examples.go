package reference

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// example is a configuration with a mistake and what is said about it.
type example struct {
	name, text string
	diags      spec.Diagnostics
}

// Examples shows how each code comes about.
type Examples map[spec.Code]example

// FindExamples loads every *.bad.yaml of the folders and keeps, for each code, the one that shows it best: the one with the
// fewest other problems, and of those the shortest. It works on copies, so that what is said about them is the same in a
// checkout, in an archive and in a file that is not committed yet.
func FindExamples(registry *syncd.Registry, dirs []string) (Examples, error) {
	best := Examples{}
	for _, dir := range dirs {
		if err := best.find(registry, dir); err != nil {
			return nil, fmt.Errorf("reading the examples of %s: %w", dir, err)
		}
	}
	return best, nil
}

func (best Examples) find(registry *syncd.Registry, dir string) (err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "syncd-examples-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	names := make([]string, len(files))
	texts := make([]string, len(files))
	for i, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		names[i], texts[i] = filepath.Base(file), withoutWants(string(b))
		if err := os.WriteFile(filepath.Join(tmp, names[i]), []byte(texts[i]), 0o600); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(tmp, ".git"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, ".git", "index"), gitIndex(names), 0o600); err != nil {
		return err
	}
	for i, name := range names {
		if !strings.HasSuffix(name, ".bad.yaml") || !utf8.ValidString(texts[i]) {
			continue
		}
		_, diags := config.Load(config.Input{Path: filepath.Join(tmp, name), Registry: registry})
		e := example{name: name, text: texts[i], diags: local(diags, tmp)}
		for _, d := range diags {
			if old, ok := best[d.Code]; !ok || compareExamples(d.Code, e, old) < 0 {
				best[d.Code] = e
			}
		}
	}
	return nil
}

// gitIndex is an index in which git tracks the names, since a warning depends on that. The format is git's
// Documentation/gitformat-index.adoc, version 2; times, sizes and hashes are left zero.
func gitIndex(names []string) []byte {
	const fixed = 62 // bytes of an entry before its name, the last two of which hold the name's length
	out := binary.BigEndian.AppendUint32([]byte("DIRC"), 2)
	out = binary.BigEndian.AppendUint32(out, uint32(len(names)))
	for _, name := range names {
		out = append(out, make([]byte, fixed-2)...)
		out = binary.BigEndian.AppendUint16(out, uint16(len(name)))
		out = append(out, name...)
		out = append(out, make([]byte, 8-(fixed+len(name))%8)...)
	}
	return append(out, make([]byte, 20)...)
}

func compareExamples(code spec.Code, a, b example) int {
	others := func(e example) (n int) {
		for _, d := range e.diags {
			if d.Code != code || d.Pos.Source != e.name {
				n++
			}
		}
		return n
	}
	return cmp.Or(
		cmp.Compare(others(a), others(b)), cmp.Compare(len(a.diags), len(b.diags)),
		cmp.Compare(len(a.text), len(b.text)), cmp.Compare(a.name, b.name),
	)
}

// withoutWants drops the comments by which the tests say what a file must be told.
func withoutWants(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "# want ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// local removes the folder from what is said about its files, so that a page is the same wherever it is made.
func local(diags spec.Diagnostics, dir string) spec.Diagnostics {
	out := slices.Clone(diags)
	prefix := filepath.Clean(dir) + string(filepath.Separator)
	for i := range out {
		d := &out[i]
		d.Pos.Source = strings.TrimPrefix(d.Pos.Source, prefix)
		d.Related.Source = strings.TrimPrefix(d.Related.Source, prefix)
		d.Message = strings.ReplaceAll(d.Message, prefix, "")
		d.Hint = strings.ReplaceAll(d.Hint, prefix, "")
	}
	return out
}
