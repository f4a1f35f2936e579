package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
)

// extensions of each format, without compression.
var extensions = []struct {
	ext    string
	format format
}{
	{".ndjson", formatNDJSON}, {".jsonl", formatNDJSON}, {".json", formatNDJSON}, {".bson", formatBSON},
}

const compressed = ".gz"

// metadataExt ends the names of files that mongodump writes beside those with documents.
const metadataExt = ".metadata.json"

// located is the file of a collection.
type located struct {
	path   string
	format format
}

// locate finds the one file of a collection.
func (s *source) locate(collection string) (located, error) {
	if collection == "" || collection == "." || collection == ".." || strings.ContainsAny(collection, "/\\\x00") {
		return located{}, fmt.Errorf("%w: %q can't be the name of a file", syncd.ErrCollectionNotFound, collection)
	}
	var found []located
	var packed string
	for _, e := range extensions {
		if s.cfg.Format != formatAuto && s.cfg.Format != e.format {
			continue
		}
		path := filepath.Join(s.cfg.Path, collection+e.ext)
		info, err := os.Stat(path)
		switch {
		case err == nil && info.Mode().IsRegular():
			found = append(found, located{path, e.format})
		case err == nil:
			return located{}, fmt.Errorf("%s is not a regular file", path)
		case !errors.Is(err, fs.ErrNotExist):
			return located{}, err
		}
		if _, err := os.Stat(path + compressed); err == nil {
			packed = path + compressed
		}
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
		return found[0], nil
	case packed != "":
		return located{}, syncd.Hint(fmt.Errorf("%s is compressed, and a compressed file can't be read from the middle", packed),
			"unpack it with gunzip")
	}
	return located{}, fmt.Errorf("%w: no file %s in %s", syncd.ErrCollectionNotFound, s.names(collection), s.cfg.Path)
}

// names lists the file names that a collection may have.
func (s *source) names(collection string) string {
	var names []string
	for _, e := range extensions {
		if s.cfg.Format == formatAuto || s.cfg.Format == e.format {
			names = append(names, collection+e.ext)
		}
	}
	return strings.Join(names, ", ")
}

// collections lists the collections that have a file.
func (s *source) collections() ([]string, error) {
	entries, err := os.ReadDir(s.cfg.Path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() || strings.HasSuffix(entry.Name(), metadataExt) {
			continue
		}
		for _, e := range extensions {
			name, ok := strings.CutSuffix(entry.Name(), e.ext)
			if ok && name != "" && (s.cfg.Format == formatAuto || s.cfg.Format == e.format) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
