package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/syncd-io/syncd"
)

// extensions of each format, without compression.
var extensions = []struct {
	ext    string
	format format
}{
	{".ndjson", formatNDJSON}, {".jsonl", formatNDJSON}, {".json", formatNDJSON}, {".bson", formatBSON},
}

// located is a collection's file.
type located struct {
	path    string
	format  format
	packing packing
	ext     string // of the format, without that of the compression
}

// base is the path without extensions.
func (l *located) base() string { return strings.TrimSuffix(l.path, l.ext+l.packing.ext) }

// locate finds the one file of a collection.
func (s *source) locate(collection string) (located, error) {
	if collection == "" || strings.ContainsRune(collection, 0) {
		return located{}, fmt.Errorf("%w: %q can't be the name of a file", syncd.ErrCollectionNotFound, collection)
	}
	found, err := s.named(collection)
	if err == nil && len(found) == 0 {
		found, err = s.listed(collection)
	}
	if err != nil {
		return located{}, err
	}
	// Whoever unpacks a file may keep it as it was.
	if unpacked := slices.DeleteFunc(slices.Clone(found), func(l located) bool { return l.packing.ext != "" }); len(unpacked) > 0 {
		found = unpacked
	}
	switch {
	case len(found) > 1:
		names := make([]string, len(found))
		for i, f := range found {
			names[i] = f.path
		}
		return located{}, syncd.Hint(fmt.Errorf("more than one file could be the collection: %s", strings.Join(names, ", ")),
			"remove all but one, or set source.file.format")
	case len(found) == 1:
		return found[0], checkKind(collection, found[0])
	}
	if err := s.explainMissing(collection); err != nil {
		return located{}, err
	}
	return located{}, fmt.Errorf("%w: no file %s in %s", syncd.ErrCollectionNotFound, s.names(collection), s.folder)
}

// fileNames are the names, without extension, that a collection's file may have: mongodump's, and the collection's own.
func fileNames(collection string) []string {
	dumped := dumpedName(collection)
	if dumped == collection || strings.ContainsAny(collection, `/\`) { // its own name is no file's
		return []string{dumped}
	}
	return []string{dumped, collection}
}

// named looks for the files that a collection's name makes likely.
func (s *source) named(collection string) ([]located, error) {
	var found []located
	for _, name := range fileNames(collection) {
		for _, e := range extensions {
			means := collectionOf(name, e.format) == collection || isCut(name) || e.format == formatNDJSON && name == collection
			if !means || s.cfg.Format != formatAuto && s.cfg.Format != e.format {
				continue
			}
			for _, p := range packings {
				path := filepath.Join(s.folder, name+e.ext+p.ext)
				switch info, err := os.Stat(path); {
				case err == nil && info.Mode().IsRegular():
					found = append(found, located{path, e.format, p, e.ext})
				case err == nil:
					return nil, fmt.Errorf("%s is not a regular file", path)
				case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENAMETOOLONG):
					return nil, err
				}
			}
		}
	}
	return found, nil
}

// listed looks at the files that there are.
func (s *source) listed(collection string) ([]located, error) {
	files, err := collectionFiles(s.folder, s.cfg.Format)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // there are none
		}
		return nil, err
	}
	return files[collection], nil
}

// names lists the file names that a collection may have.
func (s *source) names(collection string) string {
	var names []string
	for _, e := range extensions {
		if s.cfg.Format == formatAuto || s.cfg.Format == e.format {
			name := collection
			if e.format == formatBSON {
				name = dumpedName(collection)
			}
			names = append(names, name+e.ext)
		}
	}
	return strings.Join(names, ", ")
}

// collectionFiles are the files of a folder that hold collections, by the collections' names. The server's own are not among them, nor what
// mongodump writes of the dump itself.
func collectionFiles(folder string, f format) (map[string][]located, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	files := map[string][]located{}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		at, name, ok := parseFileName(entry.Name())
		if !ok || f != formatAuto && f != at.format {
			continue
		}
		at.path = filepath.Join(folder, entry.Name())
		collection := collectionOf(name, at.format)
		if isCut(name) {
			m := readMetadata(at.base())
			if m == nil || m.Collection == "" {
				continue // locate finds it by the digest in its name
			}
			collection = m.Collection
		}
		if !strings.HasPrefix(collection, "system.") && !strings.HasPrefix(collection, "$") {
			files[collection] = append(files[collection], at)
		}
	}
	return files, nil
}

// parseFileName takes the extensions from the name of a file that may hold a collection.
func parseFileName(file string) (at located, name string, ok bool) {
	at.packing = packings[0]
	for _, p := range packings[1:] {
		if n, ok := strings.CutSuffix(file, p.ext); ok {
			file, at.packing = n, p
		}
	}
	if strings.HasSuffix(file, metadataExt) || file == "prelude.json" || file == "oplog.bson" {
		return at, "", false
	}
	for _, e := range extensions {
		if n, ok := strings.CutSuffix(file, e.ext); ok && n != "" {
			at.ext, at.format = e.ext, e.format
			return at, n, true
		}
	}
	return at, "", false
}

// collections lists the collections that have a file.
func (s *source) collections() ([]string, error) {
	files, err := collectionFiles(s.folder, s.cfg.Format)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
