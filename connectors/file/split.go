package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/syncd-io/syncd"
)

// A split takes at least splitBytes of its file, so that what it costs by itself does not count, and there are at most mostSplits of
// them, since the state of each is kept.
const (
	splitBytes = 16 << 20
	mostSplits = 1024
)

// Splits divides a file between documents, into ranges of about the same number of bytes. To find where documents end it passes over
// the file as Count does, without looking into them, and the first splits can be read meanwhile. The last split ends where the file
// ends now. A compressed file can't be read from its middle, and is one split.
func (s *source) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		if err := s.splits(ctx, c, yield); err != nil && !errors.Is(err, errStopped) {
			yield(syncd.Split{}, fmt.Errorf("splitting collection %s: %w", c.Name, err))
		}
	}
}

func (s *source) splits(ctx context.Context, c syncd.Collection, yield func(syncd.Split, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	at, err := s.locate(c.Name)
	if err != nil {
		return err
	}
	split := syncd.Split{Collection: c}
	if at.packing.ext != "" {
		info, err := os.Stat(at.path)
		if err != nil {
			return err
		}
		s.pinned.Store(at.path, info)
		yield(split, nil)
		return nil
	}
	f, err := s.open(ctx, c)
	if err != nil {
		return err
	}
	defer f.done()
	s.pinned.Store(f.name, f.info)
	return f.divide(ctx, s.splitBytes, func(upper position) error {
		split.Upper = syncd.Key(upper.appendKey(nil))
		if !yield(split, nil) {
			return errStopped
		}
		split.Index, split.Lower = split.Index+1, split.Upper
		return nil
	})
}

// divide passes over a file that was not yet read, and calls end for each place where a split ends and another one begins, the end
// of the file included. What it can't pass over is the last split's: who reads that is told what is wrong.
func (f *openFile) divide(ctx context.Context, least int64, end func(position) error) error {
	least = max(least, f.size/mostSplits+1)
	begun := int64(0)
	_, err := f.next() // which finds out whether the file is what its name says
	for n := 1; err == nil; n++ {
		if n%contextInterval == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		behind := f.position
		if err = f.skip(); err == nil && behind.offset-begun >= least {
			if err := end(behind); err != nil {
				return err
			}
			begun = behind.offset
		}
	}
	return end(position{f.size, f.number})
}

// nextBefore returns the next document, or io.EOF where that begins at byte upper or behind it.
func (f *openFile) nextBefore(upper int64) (item, error) {
	if f.offset >= upper {
		return item{}, io.EOF
	}
	it, err := f.next()
	if err == nil && it.offset >= upper { // only empty lines stood before it
		return item{}, io.EOF
	}
	return it, err
}

// checkPinned fails where the file is not the one that was divided, or identified before its reading was resumed: in another one
// positions mean other documents, and what stands in front of them does not always show it.
func (s *source) checkPinned(f *openFile) error {
	if pinned, ok := s.pinned.Load(f.name); ok && !os.SameFile(pinned.(fs.FileInfo), f.info) {
		return syncd.Hint(fmt.Errorf("%s was replaced by another file meanwhile", f.name), "start again: the new file is read from its beginning")
	}
	return nil
}
