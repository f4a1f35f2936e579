package file

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"slices"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// source is a directory. It keeps no file open between calls.
type source struct {
	cfg     Config
	folder  string // with the collections: that of cfg, or the database's in it
	log     *slog.Logger
	packed  sync.Once // says what reading compressed files costs
	indexes *indexes

	splitBytes int64    // at least, of a split
	pinned     sync.Map // the path of a file to its fs.FileInfo when it was last divided or identified
}

var (
	_ syncd.Source        = (*source)(nil)
	_ syncd.DatabaseNamer = (*Config)(nil)
)

// Abilities are all but an estimate: a file does not say how many documents it holds.
func (s *source) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{
		Count:       s.Count,
		Find:        s.Find,
		FindAll:     s.FindAll,
		Identity:    s.Identity,
		Collections: s.Collections,
		Stream:      s.streaming(),
		Probe:       s.Probe,
	}
}

// errStopped ends a sequence that nobody reads any more. It never leaves this file.
var errStopped = errors.New("stopped")

// contextInterval is how many documents may be read between two looks at the context.
const contextInterval = 1024

// Read reads the file in its own order, and a stream line by line as it is written.
func (s *source) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		if req.Split.Stream != nil {
			if err := s.follow(ctx, req, yield); !errors.Is(err, errStopped) {
				yield(syncd.Batch{}, err)
			}
			return
		}
		if err := s.read(ctx, req, yield); err != nil && !errors.Is(err, errStopped) {
			yield(syncd.Batch{}, fmt.Errorf("reading collection %s: %w", req.Split.Collection.Name, err))
		}
	}
}

func (s *source) read(ctx context.Context, req syncd.ReadRequest, yield func(syncd.Batch, error) bool) error {
	f, err := s.open(ctx, req.Split.Collection)
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		// A collection that was deleted has no changes. Where the whole folder is missing, more likely nothing was deleted.
		_, err = os.Stat(s.folder)
		return cmp.Or(ctx.Err(), err)
	}
	if err != nil {
		return err
	}
	defer f.done()
	if req.Split.Lower != "" || req.Split.Upper != "" || req.After != "" {
		if err := s.checkPinned(f); err != nil {
			return err
		}
	}
	upper, err := f.begin(req)
	if err != nil {
		return err
	}
	var it item
	if f.from == nil && req.BatchBytes > 0 { // to fetch them would be to read all that stands before them once more
		req.Documents = true
	}
	batch := rows.New(req)
	batch.Whole, batch.Place = true, func() string { return f.place(it.position) }
	hand := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		for b := range syncd.KeyedBatches(batch.Take()) {
			if !yield(b, nil) {
				return errStopped
			}
		}
		return nil
	}
	var key []byte
	for n := 1; ; n++ {
		it, err = f.nextBefore(upper)
		if err != nil {
			// What was read before the end, or before the damage, is still good.
			if herr := hand(); herr != nil || errors.Is(err, io.EOF) {
				return herr
			}
			return err
		}
		key = it.appendKey(key[:0])
		if it.err != nil {
			batch.Fail(key, it.err)
		} else {
			id, _ := bsondoc.ID(it.doc)
			batch.Add(key, id, it.doc)
		}
		if batch.Full() {
			if err := hand(); err != nil {
				return err
			}
		}
		if n%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// Fetch reads each document at its position.
func (s *source) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		if err := s.fetch(ctx, c, keys, yield); err != nil && !errors.Is(err, errStopped) {
			yield(syncd.Fetched{}, fmt.Errorf("fetching documents of collection %s: %w", c.Name, err))
		}
	}
}

func (s *source) fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key, yield func(syncd.Fetched, error) bool) error {
	if len(keys) == 0 {
		return ctx.Err()
	}
	type wanted struct {
		position
		index int
	}
	list := make([]wanted, len(keys))
	for i, k := range keys {
		p, err := parseKey(k)
		if err != nil {
			return err
		}
		list[i] = wanted{p, i}
	}
	// In the order of the file, so that the disk is read forwards.
	slices.SortStableFunc(list, func(a, b wanted) int { return cmp.Compare(a.offset, b.offset) })
	f, err := s.open(ctx, c)
	if err != nil {
		return err
	}
	defer f.done()
	if err := s.checkPinned(f); err != nil {
		return err
	}
	var copies rows.Copies
	var doc bson.Raw
	for i, w := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i == 0 || w.offset != list[i-1].offset { // what was read need not be read again, and could not in a compressed file
			if doc, err = f.at(w.position); err != nil {
				return err
			}
		}
		if !yield(syncd.Fetched{Index: w.index, Document: copies.Document(doc)}, nil) {
			return errStopped
		}
	}
	return nil
}

// Count counts the documents, those included that can't be read.
func (s *source) Count(ctx context.Context, c syncd.Collection) (int64, error) {
	n, err := s.count(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("counting collection %s: %w", c.Name, err)
	}
	return n, nil
}

func (s *source) count(ctx context.Context, c syncd.Collection) (int64, error) {
	f, err := s.open(ctx, c)
	if err != nil {
		return 0, err
	}
	defer f.done()
	for n := int64(0); ; n++ {
		if n%contextInterval == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		switch err := f.skip(); {
		case errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return 0, err
		}
	}
}

// Collections lists the collections that have a file.
func (s *source) Collections(ctx context.Context) ([]string, error) {
	names, err := s.collections()
	if err = cmp.Or(ctx.Err(), err); err != nil {
		return nil, fmt.Errorf("listing collections: %w", err)
	}
	return names, nil
}

// Close has nothing to do.
func (s *source) Close() error { return nil }

// openFile is a collection's file while it is read.
type openFile struct {
	reader
	io.Closer
	*stream
	format format
	file   *os.File
	info   fs.FileInfo // when it was opened
}

// done closes a file that was only read: there is nothing to lose.
func (f *openFile) done() { _ = f.Close() }

func (s *source) open(ctx context.Context, c syncd.Collection) (*openFile, error) {
	if c.Filter != "" {
		return nil, errors.New("a file can't be filtered")
	}
	at, err := s.locate(c.Name)
	if err != nil {
		return nil, err
	}
	file, err := at.packing.open(at.path)
	if err != nil {
		return nil, err
	}
	info, err := file.file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	f := &openFile{Closer: file, format: at.format, file: file.file, info: info}
	if at.packing.ext != "" {
		s.packed.Do(func() {
			s.log.Info("compressed files are read from their beginning each time: to resume, and for each batch of a plan", "file", at.path,
				"hint", "unpack them if that takes too long")
		})
		f.stream = newPackedStream(at.path, file, info.Size(), ctx.Err)
	} else {
		f.stream = newStream(at.path, file.file, info.Size())
	}
	f.reader = newReader(f.stream, at.format)
	return f, nil
}

func newReader(s *stream, f format) reader {
	if f == formatBSON {
		return &bsonReader{stream: s}
	}
	return &ndjsonReader{stream: s, maxLine: maxLine}
}

// place says where a document stands, for a person.
func (f *openFile) place(p position) string {
	if f.format == formatBSON {
		return fmt.Sprintf("%s: document %d at byte %d", f.name, p.number, p.offset)
	}
	return fmt.Sprintf("%s:%d", f.name, p.number)
}

// begin goes to where the read starts, and returns the byte where it ends.
func (f *openFile) begin(req syncd.ReadRequest) (upper int64, err error) {
	upper = f.size
	if req.Split.Upper != "" {
		p, err := parseKey(req.Split.Upper)
		if err != nil {
			return 0, err
		}
		if upper = p.offset; upper > f.size {
			return 0, fmt.Errorf("%s: the file has changed: it has %d bytes, and had %d", f.name, f.size, upper)
		}
	}
	from := cmp.Or(syncd.Key(req.After), req.Split.Lower)
	if from == "" {
		return upper, nil
	}
	p, err := parseKey(from)
	if err != nil {
		return 0, err
	}
	if p.offset == f.size && req.After == "" { // behind the last document
		return upper, f.seek(p)
	}
	if err := f.goTo(p); err != nil {
		return 0, err
	}
	if req.After != "" {
		if err := f.skip(); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
	}
	return upper, nil
}

// goTo goes to the beginning of a document.
func (f *openFile) goTo(p position) error {
	changed := fmt.Errorf("%s: no document begins at byte %d: the file has changed", f.name, p.offset)
	if p.offset >= f.size {
		return changed
	}
	if p.offset == f.offset {
		f.position = p // right behind what was read last, or at the beginning
		return nil
	}
	at, begins := p.offset, true
	if f.format == formatNDJSON && p.offset > 0 {
		at-- // a line begins behind the end of another
	}
	err := f.seek(position{at, p.number})
	if err == nil && at < p.offset {
		var before byte
		before, err = f.buf.ReadByte()
		begins = before == '\n'
	}
	switch {
	case errors.Is(err, io.EOF) || err == nil && !begins:
		return changed
	case err != nil:
		return fmt.Errorf("%s: at byte %d: %w", f.name, p.offset, err)
	}
	f.position = p
	return nil
}

// at reads the document at a position.
func (f *openFile) at(p position) (bson.Raw, error) {
	if err := f.goTo(p); err != nil {
		return nil, err
	}
	it, err := f.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: no document begins at byte %d: the file has changed", f.name, p.offset)
	case err != nil:
		return nil, err
	case it.err != nil:
		return nil, it.err
	case it.offset != p.offset:
		return nil, fmt.Errorf("%s: no document begins at byte %d: the file has changed", f.name, p.offset)
	}
	return it.doc, nil
}
