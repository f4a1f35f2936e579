package file

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/internal/wait"
)

const (
	// pollInterval is how often a followed file is looked at.
	pollInterval = 200 * time.Millisecond
	// idleInterval is how often a stream says that there is nothing.
	idleInterval = time.Second
	// quietBefore is how long a file that has lost its name must be quiet before the new file is read: who writes to it may not have
	// noticed.
	quietBefore = 5 * time.Second
)

// streaming is the ability to follow files to which documents are appended, line by line.
func (s *source) streaming() *syncd.Streaming {
	return &syncd.Streaming{Streams: s.streams, Now: s.now}
}

// streams gives each collection a stream of its own.
func (s *source) streams(ctx context.Context, collections []syncd.Collection) ([]syncd.Stream, error) {
	streams := make([]syncd.Stream, len(collections))
	for i, c := range collections {
		if _, err := s.locateFollowed(ctx, c); err != nil && !errors.Is(err, syncd.ErrCollectionNotFound) {
			return nil, fmt.Errorf("following collection %s: %w", c.Name, err)
		}
		streams[i] = syncd.Stream{Name: c.Name, Collections: collections[i : i+1 : i+1]}
	}
	return streams, nil
}

// locateFollowed is locate for a file that is followed.
func (s *source) locateFollowed(ctx context.Context, c syncd.Collection) (path string, err error) {
	if c.Filter != "" {
		return "", errors.New("a file can't be filtered")
	}
	at, err := s.locate(c.Name)
	if err == nil && (at.format != formatNDJSON || at.packing.ext != "") {
		err = syncd.Hint(fmt.Errorf("%s is no file to which lines can be appended: only uncompressed Extended JSON is followed", at.path),
			"look at it again and again instead: --every 1h")
	}
	return at.path, cmp.Or(ctx.Err(), err)
}

// now returns the offset behind the last line of the file that has its end.
func (s *source) now(ctx context.Context, stream syncd.Stream) (syncd.Offset, error) {
	m, err := s.lastMark(ctx, stream)
	if err != nil {
		return "", fmt.Errorf("finding the end of collection %s: %w", stream.Name, err)
	}
	return m.offset(), nil
}

func (s *source) lastMark(ctx context.Context, stream syncd.Stream) (mark, error) {
	path, err := s.locateFollowed(ctx, stream.Collections[0])
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		return start, nil
	}
	if err != nil {
		return mark{}, err
	}
	file, err := os.Open(path)
	if err != nil {
		return mark{}, err
	}
	defer func() { _ = file.Close() }()
	p, err := lastLine(ctx, file)
	if err != nil {
		return mark{}, err
	}
	return markAt(file, p)
}

// follow yields the lines that are appended to a collection's file, as tail -F does.
func (s *source) follow(ctx context.Context, req syncd.ReadRequest, yield func(syncd.Batch, error) bool) error {
	f := &follower{source: s, collection: req.Split.Stream.Collections[0], req: req, yield: yield}
	defer f.close()
	var err error
	if f.mark, err = parseMark(req.After); err == nil {
		f.given = time.Now()
		for err == nil {
			err = f.step(ctx)
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errOtherFile):
		return fmt.Errorf("%s: %w: what stood behind byte %d is gone (%w)", f.path, err, f.mark.position.offset, syncd.ErrPositionLost)
	}
	return err
}

// follower follows one file by its name.
type follower struct {
	*source
	collection syncd.Collection
	req        syncd.ReadRequest
	yield      func(syncd.Batch, error) bool

	mark  mark      // of the last batch; of the file before until there is one of this file
	given time.Time // when the last batch was

	path     string
	file     *os.File // nil until there is one
	known    bool     // mark is of this file
	lines    *ndjsonReader
	size     int64     // of the file when it was last looked at
	grown    time.Time // when it was first seen to have this size
	next     *os.File  // that has its name now, held so that it is read even if it is renamed as well; nil while it has the name
	replaced time.Time // when next was first seen
	missing  bool      // no file has its name, which was said
}

func (f *follower) close() {
	for _, file := range []*os.File{f.file, f.next} {
		if file != nil {
			_ = file.Close() // it was only read
		}
	}
}

// step reads what there is, or waits.
func (f *follower) step(ctx context.Context) error {
	more, err := f.look(ctx)
	if err != nil || more {
		return err
	}
	if time.Since(f.given) >= idleInterval {
		if err := f.hand(nil); err != nil {
			return err
		}
	}
	return wait.Pause(ctx, pollInterval)
}

// look reads what there is, and reports whether there was something.
func (f *follower) look(ctx context.Context) (more bool, err error) {
	if f.file == nil {
		return false, f.find(ctx)
	}
	if more, err := f.read(ctx, false); more || err != nil {
		return more, err
	}
	return f.turn(ctx)
}

// find opens the file once there is one.
func (f *follower) find(ctx context.Context) error {
	path, err := f.locateFollowed(ctx, f.collection)
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		f.miss("there is no file to follow: waiting for one", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was there a moment ago
	}
	if err != nil {
		return err
	}
	f.path = path
	f.begin(file, f.mark.position)
	return nil
}

func (f *follower) miss(message, detail string) {
	if !f.missing {
		f.log.Warn(message, "collection", f.collection.Name, "detail", detail)
	}
	f.missing = true
}

// begin begins with a file at a position of it.
func (f *follower) begin(file *os.File, p position) {
	f.file, f.size, f.grown, f.missing = file, p.offset, time.Now(), false
	f.lines = &ndjsonReader{stream: newStream(f.path, file, p.offset), maxLine: maxLine}
	f.lines.position = p
	f.known = p == f.mark.position // which is proved before anything of the file is given out
}

// check fails with errOtherFile where the file is not the one that was read until now.
func (f *follower) check() error {
	if !f.known {
		return nil
	}
	return f.mark.check(f.file)
}

// read reads the lines that have their end, or with last all there is.
func (f *follower) read(ctx context.Context, last bool) (more bool, err error) {
	info, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	size := info.Size()
	if size < f.lines.offset {
		return false, errOtherFile
	}
	if size != f.size {
		f.size, f.grown = size, time.Now()
	} else if !last {
		return false, nil
	}
	end := size
	if !last {
		if end, err = f.lastEnd(f.lines.offset, size); err != nil {
			return false, err
		}
	}
	if end <= f.lines.offset {
		return false, nil
	}
	f.lines.size = end
	f.lines.buf.Reset(io.NewSectionReader(f.file, f.lines.offset, end-f.lines.offset))
	return true, f.readLines(ctx)
}

// lastEnd returns the position behind the last end of a line between two positions, or 0.
func (f *follower) lastEnd(from, to int64) (int64, error) {
	b := make([]byte, min(to-from, bufferSize))
	for to > from {
		n := min(to-from, int64(len(b)))
		if got, err := f.file.ReadAt(b[:n], to-n); int64(got) < n {
			if errors.Is(err, io.EOF) {
				err = errOtherFile
			}
			return 0, err
		}
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			return to - n + int64(i) + 1, nil
		}
		to -= n
	}
	return 0, nil
}

// readLines hands over the documents up to the size of lines.
func (f *follower) readLines(ctx context.Context) error {
	var it item
	req := f.req
	req.Documents = true
	batch := rows.New(req)
	batch.Place = func() string { return fmt.Sprintf("%s:%d", f.path, it.number) }
	var key []byte
	for n := 1; ; n++ {
		if n%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		var err error
		it, err = f.lines.next()
		switch {
		case errors.Is(err, io.EOF):
			if batch.Len() == 0 {
				return nil
			}
			return f.hand(batch)
		case errors.Is(err, errCutOff):
			return fmt.Errorf("%w: %w", errOtherFile, err)
		case err != nil:
			return err
		}
		key = it.appendKey(key[:0]) // of the line, where that is all that is known
		if it.err != nil {
			batch.Fail(key, it.err)
		} else {
			id, _ := bsondoc.Lookup(it.doc, "_id")
			if id.Type != 0 {
				key = bsondoc.AppendKey(key[:0], id)
			}
			batch.Add(key, id, it.doc)
		}
		if batch.Full() {
			if err := f.hand(batch); err != nil {
				return err
			}
		}
	}
}

// hand gives out what was read, or where batch is nil how far there is nothing.
func (f *follower) hand(batch *rows.Builder) error {
	var out syncd.Batch
	if f.lines != nil && f.lines.offset > 0 {
		// If the file was replaced before this read, the bytes of the last mark are no longer there.
		now, err := markAt(f.file, f.lines.position)
		if err == nil {
			err = f.check()
		}
		if err != nil {
			return err
		}
		f.mark, f.known = now, true
	}
	if batch != nil {
		out.Changes = batch.Take()
		streamed := &syncd.Streamed{Collection: f.collection.Name, Whole: true}
		for i := range out.Changes {
			out.Changes[i].Operation, out.Changes[i].Streamed = syncd.Insert, streamed
		}
	}
	out.Offset = f.mark.offset()
	if !f.yield(out, nil) {
		return errStopped
	}
	f.given = time.Now()
	return nil
}

// turn looks whether the file still has its name, and goes on in the one that took it once the old one is quiet.
func (f *follower) turn(ctx context.Context) (more bool, err error) {
	if f.next == nil {
		if err := f.openNext(); err != nil || f.next == nil {
			return false, err
		}
	}
	if time.Since(f.replaced) < quietBefore || time.Since(f.grown) < quietBefore {
		return false, nil
	}
	if _, err := f.read(ctx, true); err != nil { // the last line may lack its end
		return false, err
	}
	_ = f.file.Close() // it was only read
	f.begin(f.next, start.position)
	f.next = nil
	return true, nil
}

// openNext opens the file that took the name of the one that is followed, if there is one.
func (f *follower) openNext() error {
	mine, err := f.file.Stat()
	if err != nil {
		return err
	}
	info, err := os.Stat(f.path)
	if err == nil && os.SameFile(info, mine) {
		f.missing = false
		return nil
	}
	if err == nil {
		f.next, err = os.Open(f.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		f.miss("the followed file is gone: waiting for a new one, and for what is still written to the old one", f.path)
		return nil
	}
	if err == nil {
		f.replaced = time.Now()
		f.log.Info("the followed file was replaced: going on in the new one as soon as nothing more is written to the old one", "file", f.path)
	}
	return err
}
