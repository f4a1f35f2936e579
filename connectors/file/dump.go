package file

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // it is part of mongodump's file names
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
)

// mongodump writes DATABASE/COLLECTION.bson and DATABASE/COLLECTION.metadata.json. The name of a collection is escaped as in the
// query of a URL. One that is longer than 238 bytes then is cut and told from others by a digest; the metadata hold it whole.
const (
	maxEscaped = 238
	cutEscaped = 208
	cutMark    = "%24" // an escaped $, which no name of a user's collection has
)

// metadataExt ends the names of the files that mongodump writes beside those with documents.
const metadataExt = ".metadata.json"

// bucketsPrefix begins the names of the collections in which servers before 8.3 keep time series.
const bucketsPrefix = "system.buckets."

// dumpedName is the name, without extension, of the file into which mongodump writes a collection.
func dumpedName(collection string) string {
	escaped := url.QueryEscape(collection)
	if len(escaped) <= maxEscaped {
		return escaped
	}
	sum := sha1.Sum([]byte(collection)) //nolint:gosec // see the import
	return escaped[:cutEscaped] + cutMark + base64.RawURLEncoding.EncodeToString(sum[:])
}

// collectionOf is the name of the collection that is in a file of the given name without extension. It is not told by a name
// that was cut. The name of an NDJSON file is unescaped only where it has an escape: its exporter may or may not escape names.
func collectionOf(name string, f format) string {
	if f == formatNDJSON && !strings.Contains(name, "%") {
		return name
	}
	if collection, err := url.QueryUnescape(name); err == nil {
		return collection
	}
	return name
}

// isCut reports whether mongodump has cut a name.
func isCut(name string) bool {
	return len(name) == maxEscaped && name[cutEscaped:cutEscaped+len(cutMark)] == cutMark
}

// metadata is what mongodump writes beside a collection's documents, as far as it is of use here.
type metadata struct {
	Collection string `json:"collectionName"`
	Type       string `json:"type"` // collection, view, timeseries
	file       string
}

// maxMetadata bounds what is read of a file with metadata: a server has at most 64 indexes for a collection.
const maxMetadata = 4 << 20

// readMetadata reads what stands beside the documents in a file; path is that file's, without extension. The result is nil if there is nothing that
// can be read: it only tells what the name of the file does not.
func readMetadata(path string) *metadata {
	for _, method := range packings {
		m := metadata{file: path + metadataExt + method.ext}
		r, err := method.open(m.file)
		if err != nil {
			continue
		}
		err = json.NewDecoder(io.LimitReader(r, maxMetadata)).Decode(&m)
		_ = r.Close() // it was only read
		if err == nil {
			return &m
		}
	}
	return nil
}

// folderOf is the folder with the collections: the one that is given, or, where that one holds what mongodump wrote, the database's
// in it.
func folderOf(cfg Config) (string, error) {
	files, err := collectionFiles(cfg.Path, cfg.Format)
	if err != nil || len(files) > 0 {
		return cfg.Path, err
	}
	entries, err := os.ReadDir(cfg.Path)
	if err != nil {
		return "", err
	}
	var others []string
	var archive string
	for _, entry := range entries {
		path := filepath.Join(cfg.Path, entry.Name())
		switch {
		case entry.IsDir() && entry.Name() == cfg.Database && isDumped(path):
			return path, nil
		case entry.IsDir():
			if files, err := collectionFiles(path, cfg.Format); err == nil && len(files) > 0 {
				others = append(others, entry.Name())
			}
		case strings.Contains(entry.Name(), "archive") && isArchive(path):
			archive = path
		}
	}
	if archive != "" && len(others) == 0 {
		return "", archiveError(archive)
	}
	if len(others) > 0 {
		return "", syncd.Hint(fmt.Errorf("%s holds no collections, but its folders do: %s", cfg.Path, strings.Join(others, ", ")),
			"set source.file.database to the folder's name, which is the database's in what mongodump writes (it is %q), or source.file.path to the folder", cfg.Database)
	}
	return cfg.Path, nil
}

// isDumped reports whether a folder holds what mongodump writes or a collection, be it only what is refused later by its name.
func isDumped(folder string) bool {
	entries, err := os.ReadDir(folder)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		_, _, ok := parseFileName(e.Name())
		return !e.IsDir() && (ok || strings.Contains(e.Name(), metadataExt))
	})
}

// archiveMagic begins what mongodump --archive writes, and no document has such a length.
var archiveMagic = []byte{0x6d, 0xe2, 0x99, 0x81}

// isArchive reports whether a file is what mongodump --archive writes, compressed or not.
func isArchive(path string) bool {
	return slices.ContainsFunc(packings, func(p packing) bool {
		r, err := p.open(path)
		if err != nil {
			return false
		}
		defer r.Close() //nolint:errcheck // it was only read
		var head [4]byte
		_, err = io.ReadFull(r, head[:])
		return err == nil && bytes.Equal(head[:], archiveMagic)
	})
}

func archiveError(path string) error {
	return syncd.Hint(fmt.Errorf("%s is an archive of mongodump, which holds all collections in one file", path),
		"dump without --archive, into a folder; or restore the archive to a server and read from that")
}

// checkHead says what a file is whose first bytes are those of no document. It returns nil where they tell nothing.
func checkHead(path string, head []byte) error {
	if bytes.HasPrefix(head, archiveMagic) {
		return archiveError(path)
	}
	for _, p := range packings {
		if len(p.magic) > 0 && bytes.HasPrefix(head, p.magic) {
			return syncd.Hint(fmt.Errorf("%s is compressed, which its name does not say", path), "rename it to %s%s", filepath.Base(path), p.ext)
		}
	}
	return nil
}

// checkKind refuses what has a file and yet no documents of the collection in it.
func checkKind(collection string, at located) error {
	series := strings.HasPrefix(collection, bucketsPrefix)
	if !series && at.format == formatBSON {
		m := readMetadata(at.base())
		series = m != nil && m.Type == "timeseries"
	}
	if series {
		return seriesError(strings.TrimPrefix(collection, bucketsPrefix), at.path)
	}
	return nil
}

func seriesError(collection, path string) error {
	return syncd.Hint(fmt.Errorf("collection %q is a time series, of which mongodump writes buckets (%s) and not the documents", collection, path),
		"export it with mongoexport, which writes a document a line; or read it from the server, with source.mongo")
}

// explainMissing says why a dump has no documents of a collection of which it has something. It returns nil where it has nothing.
func (s *source) explainMissing(collection string) error {
	for _, name := range fileNames(bucketsPrefix + collection) {
		for _, p := range packings {
			path := filepath.Join(s.folder, name+".bson"+p.ext)
			if _, err := os.Stat(path); err == nil {
				return seriesError(collection, path)
			}
		}
	}
	for _, name := range fileNames(collection) {
		m := readMetadata(filepath.Join(s.folder, name))
		if m == nil {
			continue
		}
		err := fmt.Errorf("the dump has only the metadata of collection %q (%s), and not the documents", collection, m.file)
		if m.Type == "view" {
			return syncd.Hint(err, "it is a view: export it with mongoexport, or dump it with --viewsAsCollections")
		}
		return syncd.Hint(err, "dump it again: the dump was perhaps interrupted")
	}
	return nil
}
