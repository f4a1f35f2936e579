package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// openIndexed opens a directory as a source whose indexes may take some bytes.
func openIndexed(t testing.TB, dir string, bytes int64) *source {
	t.Helper()
	s := openDir(t, dir).(*source)
	s.indexes = newIndexes(bytes)
	return s
}

var inC = syncd.Collection{Name: "c"}

// indexOf returns the index that the source keeps of collection c, or nil.
func indexOf(t testing.TB, s *source) *index {
	t.Helper()
	at, err := s.locate(inC.Name)
	if err != nil {
		t.Fatal(err)
	}
	return s.indexes.file(at.path).current.Load()
}

// someFile returns documents with ids of some types, several of a text, none, unreadable ones and empty lines between them.
func someFile(t testing.TB, r *rand.Rand, format string) (data []byte) {
	t.Helper()
	end := []byte("\n")
	if format == ".bson" {
		end = nil
	}
	encode := func(doc bson.D) []byte {
		if format == ".bson" {
			return marshal(t, doc)
		}
		line, err := bson.MarshalExtJSON(doc, r.IntN(2) == 0, false)
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	for range r.IntN(60) {
		n := r.IntN(30)
		doc := bson.D{{Key: "_id", Value: fmt.Sprint(n)}}
		switch r.IntN(20) {
		case 0:
			doc[0].Value = int32(n)
		case 1:
			doc[0].Value = int64(n)
		case 2:
			doc[0].Value = float64(n) / 2
		case 3:
			doc[0].Key = "id"
		case 4:
			doc[0].Value = nil
		case 5:
			doc = append(doc, bson.E{Key: "_id", Value: fmt.Sprint(n + 1)}) // which only BSON can have
		case 6:
			doc = append(bson.D{{Key: "text", Value: strings.Repeat("x", r.IntN(1+300_000*r.IntN(2)))}}, doc...)
		case 7:
			broken := encode(doc)
			broken[len(broken)-1] = 'x'
			data = append(append(data, broken...), end...)
			continue
		case 8:
			data = append(data, end...)
		}
		data = append(append(data, encode(doc)...), end...)
	}
	if r.IntN(8) == 0 {
		data = append(data, 1, 2) // a BSON file can't be read on
	}
	return data
}

// TestIndexAnswersAsReadingDoes compares the answers of an index with those of reading the file for each call, which the source
// does when there is no room.
func TestIndexAnswersAsReadingDoes(t *testing.T) {
	answered, refused := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		format := []string{".bson", ".ndjson"}[seed%2]
		data := someFile(t, r, format)
		dir := t.TempDir()
		switch seed / 2 % 3 {
		case 0:
			write(t, dir, "c"+format, data)
		case 1:
			write(t, dir, "c"+format+".gz", zipped(t, data))
		case 2:
			write(t, dir, "c"+format+".zst", zstandard(t, data))
		}
		reading, indexing := openIndexed(t, dir, 0), openIndexed(t, dir, 1<<20)
		for range 4 {
			ids := make([]string, r.IntN(6))
			for i := range ids {
				ids[i] = fmt.Sprint(r.IntN(32))
				if r.IntN(10) == 0 {
					ids[i] += ".5"
				}
			}
			want, wantErr := reading.Find(t.Context(), inC, ids)
			got, err := indexing.Find(t.Context(), inC, ids)
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("seed %d: Find(%q): %v, want %v\n%s", seed, ids, err, wantErr, diff)
			}
			wantAll, wantErr := reading.FindAll(t.Context(), inC, ids)
			all, err := indexing.FindAll(t.Context(), inC, ids)
			if diff := cmp.Diff(wantAll, all); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("seed %d: FindAll(%q): %v, want %v\n%s", seed, ids, err, wantErr, diff)
			}
			if err == nil {
				answered++
			} else {
				refused++
			}
		}
	}
	if answered == 0 || refused == 0 {
		t.Errorf("%d answered, %d refused: the files are not what they were meant to be", answered, refused)
	}
}

// numbered returns n documents with the ids from 0.
func numbered(t testing.TB, n int) (data []byte) {
	for i := range n {
		data = append(data, marshal(t, bson.D{{Key: "_id", Value: fmt.Sprintf("doc-%06d", i)}})...)
	}
	return data
}

func TestIndexIsBuiltOnceForAll(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson", numbered(t, 20_000))
	s := openIndexed(t, dir, indexBytes)
	built := make([]*index, 8)
	var wg sync.WaitGroup
	for i := range built {
		wg.Go(func() {
			var err error
			if built[i], err = s.index(t.Context(), inC); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, x := range built {
		if x == nil || x != built[0] {
			t.Fatal("there are several indexes")
		}
	}
	if got, want := s.indexes.left.Load(), indexBytes-built[0].bytes(); got != want {
		t.Errorf("%d bytes are left, want %d", got, want)
	}
}

// TestFindTheFirstOfMany: of documents with one id the first is found, in whatever order the index was sorted.
func TestFindTheFirstOfMany(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var data []byte
	first := map[string]int{}
	for range 20_000 {
		id := fmt.Sprint(r.IntN(1000))
		if _, ok := first[id]; !ok {
			first[id] = len(data)
		}
		data = append(data, marshal(t, bson.D{{Key: "_id", Value: id}})...)
	}
	dir := t.TempDir()
	write(t, dir, "c.bson", data)
	s := openIndexed(t, dir, indexBytes)
	for id, offset := range first {
		keys, err := s.Find(t.Context(), inC, []string{id})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := parseKey(keys[0]); err != nil || p.offset != int64(offset) {
			t.Fatalf("%s: found at %d, want %d (%v)", id, p.offset, offset, err)
		}
	}
}

// TestIndexNoticesAnotherFile changes the file in every way that changes its identity.
func TestIndexNoticesAnotherFile(t *testing.T) {
	past := time.Now().Add(-time.Hour)
	age := func(t *testing.T, path string) {
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, dir, path string){
		"appended to": func(t *testing.T, dir, path string) {
			write(t, dir, "c.ndjson", []byte(`{"_id":"a"}`+"\n"+`{"_id":"b"}`+"\n"))
			age(t, path)
		},
		"written in its place": func(t *testing.T, dir, _ string) { write(t, dir, "c.ndjson", []byte(`{"_id":"b"}`+"\n")) },
		"replaced": func(t *testing.T, dir, path string) {
			write(t, dir, "new", []byte(`{"_id":"b"}`+"\n"))
			age(t, filepath.Join(dir, "new"))
			if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "c.ndjson")
			write(t, dir, "c.ndjson", []byte(`{"_id":"a"}`+"\n"))
			age(t, path)
			s := openIndexed(t, dir, indexBytes)
			if keys, err := s.Find(t.Context(), inC, []string{"a", "b"}); err != nil || keys[0] == "" || keys[1] != "" {
				t.Fatalf("%q, %v", keys, err)
			}
			old := indexOf(t, s)
			change(t, dir, path)
			all, err := s.FindAll(t.Context(), inC, []string{"b"})
			if err != nil || len(all[0]) != 1 {
				t.Errorf("%v, %v", all, err)
			}
			if keys, err := s.Find(t.Context(), inC, []string{"b"}); err != nil || keys[0] == "" {
				t.Errorf("%q, %v", keys, err)
			}
			if x := indexOf(t, s); x == old || s.indexes.left.Load() != indexBytes-x.bytes() {
				t.Errorf("%d bytes are left beside an index of %d", s.indexes.left.Load(), x.bytes())
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Find(t.Context(), inC, []string{"b"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
				t.Error(err)
			}
		})
	}
}

// TestIndexOfAFileThatIsWritten: what was read before the file was changed is not kept.
func TestIndexOfAFileThatIsWritten(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson", numbered(t, 100))
	s := openIndexed(t, dir, indexBytes)
	f, err := s.open(t.Context(), inC)
	if err != nil {
		t.Fatal(err)
	}
	defer f.done()
	write(t, dir, "c.bson", numbered(t, 101))
	x, err := s.indexes.of(t.Context(), f)
	if err != nil || len(x.find([]byte("doc-000099"))) != 1 {
		t.Error(err)
	}
	if indexOf(t, s) != nil || s.indexes.left.Load() != indexBytes {
		t.Error("the index was kept")
	}
}

// TestIndexWithoutRoom: files that have no room any more are read for each call, and those that came first keep theirs.
func TestIndexWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson", numbered(t, 1000))
	write(t, dir, "d.bson", numbered(t, 1000))
	s := openIndexed(t, dir, 60_000) // one takes 24,000 and what appending has taken in advance
	for range 2 {
		for _, name := range []string{"c", "d"} {
			keys, err := s.Find(t.Context(), syncd.Collection{Name: name}, []string{"doc-000999", "doc-001000"})
			if err != nil || keys[0] == "" || keys[1] != "" {
				t.Errorf("%s: %q, %v", name, keys, err)
			}
			all, err := s.FindAll(t.Context(), syncd.Collection{Name: name}, []string{"doc-000999", "doc-001000"})
			if err != nil || len(all[0]) != 1 || len(all[1]) != 0 {
				t.Errorf("%s: %v, %v", name, all, err)
			}
		}
	}
	x := indexOf(t, s)
	if x == nil || x.tooLarge || s.indexes.left.Load() != 60_000-x.bytes() {
		t.Fatal("the first has none")
	}
	second := s.indexes.file(filepath.Join(dir, "d.bson")).current.Load()
	if second == nil || !second.tooLarge || second.bytes() != 0 {
		t.Error("that there is no room for the second is not remembered")
	}
}

// TestIndexWhenTheContextEnds: a call that ended early leaves no index, no bytes taken and nobody waiting.
func TestIndexWhenTheContextEnds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson", numbered(t, 5000))
	s := openIndexed(t, dir, indexBytes)
	ctx, cancel := context.WithCancel(t.Context())
	f, err := s.open(t.Context(), inC)
	if err != nil {
		t.Fatal(err)
	}
	defer f.done()
	f.reader = cancelling{f.reader, cancel}
	if x, err := s.indexes.of(ctx, f); x != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", x, err)
	}
	if indexOf(t, s) != nil || s.indexes.left.Load() != indexBytes {
		t.Error("the index was kept")
	}

	s.indexes.file(f.name).building <- struct{}{} // another call builds
	if _, err := s.Find(ctx, inC, []string{"a"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.Find(ctx, inC, []string{"a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	<-s.indexes.file(f.name).building
	if keys, err := s.Find(t.Context(), inC, []string{"doc-004999"}); err != nil || keys[0] == "" {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := s.Find(ctx, inC, []string{"doc-004999"}); !errors.Is(err, context.Canceled) { // that is, with an index
		t.Error(err)
	}
}

// cancelling ends a context with the first document.
type cancelling struct {
	reader
	cancel func()
}

func (r cancelling) next() (item, error) {
	r.cancel()
	return r.reader.next()
}

// TestIndexOfADamagedFile is not kept: what damaged the reading may be over.
func TestIndexOfADamagedFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson", append(numbered(t, 3), 9, 9))
	s := openIndexed(t, dir, indexBytes)
	for _, ids := range [][]string{{"doc-000002"}, {"doc-000002", "none"}} {
		keys, err := s.Find(t.Context(), inC, ids)
		if (err == nil) != (len(ids) == 1) || (keys == nil) != (err != nil) {
			t.Errorf("%q: %q, %v", ids, keys, err)
		}
	}
	if indexOf(t, s) != nil || s.indexes.left.Load() != indexBytes {
		t.Error("the index was kept")
	}
}

// BenchmarkFindEach looks for each of 30,000 documents once, 1000 at a time in no order, as an audit does.
func BenchmarkFindEach(b *testing.B) {
	const n = 30_000
	var bsonFile, ndjson bytes.Buffer
	ids := make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprintf("doc-%06d", i)
		doc := bson.D{{Key: "_id", Value: ids[i]}, {Key: "updatedAt", Value: bson.DateTime(1714979289010)}, {Key: "text", Value: strings.Repeat("lorem ", 40)}}
		bsonFile.Write(marshal(b, doc))
		line, err := bson.MarshalExtJSON(doc, false, false)
		if err != nil {
			b.Fatal(err)
		}
		ndjson.Write(append(line, '\n'))
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	for name, data := range map[string][]byte{"c.bson": bsonFile.Bytes(), "c.ndjson": ndjson.Bytes()} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			write(b, dir, name, data)
			b.ReportAllocs()
			for b.Loop() {
				find := openDir(b, dir).Abilities().Find
				for page := range slices.Chunk(ids, 1000) {
					keys, err := find(b.Context(), inC, page)
					if err != nil || slices.Contains(keys, "") {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/doc")
		})
	}
}
