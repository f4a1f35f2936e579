package file

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// indexBytes bounds the memory of all indexes of a source where no host does: about 2.5 million documents.
const indexBytes = 64 << 20

// index says where the documents of a file are, by the texts of their ids. It holds 96 bits of a text's SHA-256 and not the text: among
// the documents that it has room for, two texts share them with a probability of less than one in 10^15, and to look at the
// document each time would cost as much as to have no index, most of all in a compressed file. It does not change once it is built.
type index struct {
	info       fs.FileInfo // of the file that was read
	documents  [256][]indexed
	unreadable error // see walk
	broken     error // ended the file early
	tooLarge   bool  // there is no room for it, so it is empty: the file must be read
}

// indexed is a document, in as few bytes as there can be.
type indexed struct {
	high   uint64 // of the digest, behind the byte that chose the list
	offset int64
	low    uint32
	number uint32
}

func digest(text []byte) (list byte, high uint64, low uint32) {
	sum := sha256.Sum256(text)
	return sum[0], binary.BigEndian.Uint64(sum[1:]), binary.BigEndian.Uint32(sum[9:])
}

func (d indexed) compare(e indexed) int {
	return cmp.Or(cmp.Compare(d.high, e.high), cmp.Compare(d.low, e.low), cmp.Compare(d.offset, e.offset))
}

func (d indexed) position() position { return position{d.offset, int64(d.number)} }

// find returns the documents whose id has a text, in the order of the file.
func (x *index) find(text []byte) []indexed {
	list, high, low := digest(text)
	documents := x.documents[list]
	from, _ := slices.BinarySearchFunc(documents, indexed{high: high, low: low}, indexed.compare) // no offset is less than 0
	to := from
	for to < len(documents) && documents[to].high == high && documents[to].low == low {
		to++
	}
	return documents[from:to]
}

// isOf reports whether the file is still the one that was read. It goes by what Identity names.
func (x *index) isOf(info fs.FileInfo) bool {
	return os.SameFile(x.info, info) && x.info.Size() == info.Size() && x.info.ModTime().Equal(info.ModTime())
}

// bytes is the memory of an index.
func (x *index) bytes() (n int64) {
	for _, documents := range x.documents {
		n += listBytes(documents)
	}
	return n
}

func listBytes(documents []indexed) int64 {
	return int64(cap(documents)) * int64(unsafe.Sizeof(indexed{}))
}

// indexes are those of a source's files, by path. Those that were built first are kept: what asks for documents by their ids
// goes from one collection to the next and back, so one that gave way would be built again and again.
type indexes struct {
	left  atomic.Int64 // bytes; below 0 for a moment
	mu    sync.Mutex
	files map[string]*fileIndex
}

type fileIndex struct {
	building chan struct{} // holds one element while somebody builds
	current  atomic.Pointer[index]
}

func newIndexes(bytes int64) *indexes {
	all := &indexes{files: map[string]*fileIndex{}}
	all.left.Store(bytes)
	return all
}

func (all *indexes) file(path string) *fileIndex {
	all.mu.Lock()
	defer all.mu.Unlock()
	f := all.files[path]
	if f == nil {
		f = &fileIndex{building: make(chan struct{}, 1)}
		all.files[path] = f
	}
	return f
}

// of returns the index of a file that was opened and not yet read. It builds it if there is none or the file has changed; who
// asks meanwhile waits.
func (all *indexes) of(ctx context.Context, f *openFile) (*index, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	at := all.file(f.name)
	x := at.current.Load()
	if x == nil || !x.isOf(f.info) {
		select {
		case at.building <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		defer func() { <-at.building }()
		if x = at.current.Load(); x == nil || !x.isOf(f.info) {
			var err error
			if x, err = all.rebuild(ctx, at, f); err != nil {
				return nil, err
			}
		}
	}
	return x, nil
}

// rebuild builds an index in place of that of what the file was before. It is kept unless the file is damaged, or was written
// meanwhile.
func (all *indexes) rebuild(ctx context.Context, at *fileIndex, f *openFile) (*index, error) {
	if old := at.current.Swap(nil); old != nil {
		all.left.Add(old.bytes())
	}
	x, err := all.build(ctx, f)
	if err != nil {
		return nil, err
	}
	info, err := f.file.Stat()
	if err == nil && x.broken == nil && x.isOf(info) {
		at.current.Store(x)
	} else {
		all.left.Add(x.bytes()) // it is for this call only
	}
	return x, nil
}

// build reads the file to its end, and takes the index's bytes from those left. An error is the context's.
func (all *indexes) build(ctx context.Context, f *openFile) (*index, error) {
	x := &index{info: f.info}
	x.unreadable, x.broken = f.walk(ctx, func(it item, _ bson.RawValue, text []byte) (more bool) {
		list, high, low := digest(text)
		before := listBytes(x.documents[list])
		x.documents[list] = append(x.documents[list], indexed{high: high, low: low, offset: it.offset, number: uint32(it.number)})
		taken := listBytes(x.documents[list]) - before
		x.tooLarge = all.left.Add(-taken) < 0 || it.number > math.MaxUint32
		return !x.tooLarge
	})
	if err := ctx.Err(); err != nil || x.tooLarge {
		all.left.Add(x.bytes())
		return &index{info: f.info, tooLarge: true}, err
	}
	for _, documents := range x.documents {
		slices.SortFunc(documents, indexed.compare)
	}
	return x, nil
}
