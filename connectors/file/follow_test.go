package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// following is a read of the stream of collection c, in a synctest bubble.
type following struct {
	t       *testing.T
	dir     string
	s       syncd.Source
	log     *bytes.Buffer
	batches chan syncd.Batch
	ended   chan error
	stop    func()
	offset  syncd.Offset // of the last batch
}

const cFile = "c.ndjson"

func openFollowed(t *testing.T, dir string) (syncd.Source, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	cfg := Plugin().Config().(*Config)
	cfg.Path = dir
	s, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func streamOf(t *testing.T, s syncd.Source) syncd.Stream {
	t.Helper()
	streams, err := s.Abilities().Stream.Streams(t.Context(), []syncd.Collection{inC})
	if err != nil || len(streams) != 1 || streams[0].Name != "c" || len(streams[0].Collections) != 1 || streams[0].Collections[0] != inC {
		t.Fatalf("%+v, %v", streams, err)
	}
	return streams[0]
}

// nowOf is the offset of this moment.
func nowOf(t *testing.T, dir string) syncd.Offset {
	t.Helper()
	s, _ := openFollowed(t, dir)
	o, err := s.Abilities().Stream.Now(t.Context(), streamOf(t, s))
	if err != nil || o == "" {
		t.Fatalf("%q, %v", o, err)
	}
	return o
}

func followFrom(t *testing.T, dir string, after syncd.Offset) *following {
	t.Helper()
	f := &following{t: t, dir: dir, batches: make(chan syncd.Batch), ended: make(chan error, 1), offset: after}
	f.s, f.log = openFollowed(t, dir)
	stream := streamOf(t, f.s)
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	go func() {
		defer close(f.batches)
		for b, err := range f.s.Read(ctx, syncd.ReadRequest{Split: syncd.Split{Stream: &stream}, After: after, BatchSize: 3}) {
			if err != nil {
				f.ended <- err
				return
			}
			f.batches <- b
		}
		f.ended <- nil
	}()
	return f
}

// take returns what comes within a while: ids, or errors behind the folder's name.
func (f *following) take(d time.Duration) (got []string) {
	f.t.Helper()
	until := time.After(d)
	for {
		select {
		case b, ok := <-f.batches:
			if !ok {
				return got
			}
			if b.Offset == "" || len(b.Changes) > 3 {
				f.t.Errorf("a batch of %d has the offset %q", len(b.Changes), b.Offset)
			}
			f.offset = b.Offset
			for _, c := range b.Changes {
				if c.Operation != syncd.Insert || c.Streamed == nil || c.Streamed.Collection != "c" || !c.Streamed.Whole || c.Key == "" ||
					c.Err == nil && c.Document == nil {
					f.t.Errorf("%+v, %+v", c, c.Streamed)
				}
				what := c.ID
				if c.Err != nil {
					what = strings.TrimPrefix(c.Err.Error(), f.dir+"/")
				}
				got = append(got, what)
			}
		case <-until:
			return got
		}
	}
}

func (f *following) want(what string, want ...string) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.take(20*time.Second)); diff != "" {
		f.t.Errorf("%s:\n%s", what, diff)
	}
}

// end stops the read, which ends with its context's error, and returns what came until then.
func (f *following) end() (got []string) {
	f.t.Helper()
	f.stop()
	got = f.take(time.Second)
	if err := <-f.ended; !errors.Is(err, context.Canceled) {
		f.t.Errorf("it ended with %v", err)
	}
	return got
}

// lost waits for the end of a read whose position is lost.
func (f *following) lost(what string, want ...string) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.take(20*time.Second)); diff != "" {
		f.t.Errorf("%s:\n%s", what, diff)
	}
	select {
	case err := <-f.ended:
		if !errors.Is(err, syncd.ErrPositionLost) || !strings.Contains(err.Error(), cFile) {
			f.t.Errorf("%s: it ended with %v", what, err)
		}
		f.stop()
	default:
		f.t.Errorf("%s: it goes on", what)
		f.end()
	}
}

func appendTo(t *testing.T, dir, name, text string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := file.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, dir, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		t.Fatal(err)
	}
}

func line(id string) string { return `{"_id":"` + id + `"}` + "\n" }

func someIDs(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		b.WriteString(line(fmt.Sprint(i)))
	}
	return b.String()
}

func TestFollowedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte("\xef\xbb\xbf"+line("old")+"\n"+`{"_id":"half`))
		f := followFrom(t, dir, nowOf(t, dir))
		f.want("what was there", nil...)
		appendTo(t, dir, cFile, ` is whole"}`)
		f.want("a line without its end", nil...)
		appendTo(t, dir, cFile, "\r\n"+line("a")+" \n\n"+`{"_id":`+"\n"+`{"n":1}`+"\n"+line("b")+line("c")+`{"_id`)
		f.want("lines", "half is whole", "a", "c.ndjson:7: not JSON: unexpected end of JSON input (column 7)", "c.ndjson:8: no _id", "b", "c")
		appendTo(t, dir, cFile, `":"`+strings.Repeat("x", 2*bufferSize))
		f.want("a long line", nil...)
		appendTo(t, dir, cFile, "\"}\n"+line("d")+`{"_id":"`+strings.Repeat("y", 2*bufferSize))
		f.want("its end, and the beginning of another one", strings.Repeat("x", 2*bufferSize), "d")
		f.end()
		if f = followFrom(t, dir, nowOf(t, dir)); f.offset != nowOf(t, dir) {
			t.Error("the end of the file is not where it was")
		}
		appendTo(t, dir, cFile, "\"}\n{\n")
		f.want("behind much", strings.Repeat("y", 2*bufferSize), "c.ndjson:14: not JSON: unexpected end of JSON input (column 1)")
		f.end()
		if f.log.Len() > 0 {
			t.Error(f.log)
		}
	})
}

// TestFollowedKeysAreThoseOfDocuments: lines of one document have one key, so that changes that are collected are merged, and those of
// ids that are written alike have different ones.
func TestFollowedKeysAreThoseOfDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		appendTo(t, dir, cFile, line("before"))
		f := followFrom(t, dir, nowOf(t, dir))
		defer f.stop()
		appendTo(t, dir, cFile, `{"_id":"7","v":1}`+"\n"+`{"_id":7,"v":1}`+"\n"+`{"_id":"7","v":2}`+"\n")
		b := <-f.batches
		for len(b.Changes) == 0 {
			b = <-f.batches
		}
		if len(b.Changes) != 3 || b.Changes[0].Key != b.Changes[2].Key || b.Changes[0].Key == b.Changes[1].Key {
			t.Errorf("%+v", b.Changes)
		}
		f.stop()
		for range f.batches {
		}
	})
}

// TestFollowedFromEachOffset: whatever batch a read ends behind, the next one gives all that follows and nothing else, with the
// numbers of the lines.
func TestFollowedFromEachOffset(t *testing.T) {
	dir := t.TempDir()
	pad := strings.Repeat("x", 700)
	for n := range 12 { // across the bytes that a mark is made of
		data := "\n" + someIDs(0, n)
		if n%2 == 0 {
			data += `{"_id":"` + pad + `"}` + "\n\n"
		}
		write(t, dir, cFile, []byte(data))
		synctest.Test(t, func(t *testing.T) {
			offset := nowOf(t, dir)
			appendTo(t, dir, cFile, "\n"+someIDs(100, 104)+"{\n")
			first := followFrom(t, dir, offset)
			var offsets []syncd.Offset
			var after [][]string
			all := []string{"100", "101", "102", "103", fmt.Sprintf("c.ndjson:%d: not JSON: unexpected end of JSON input (column 1)", 1+strings.Count(data, "\n")+5)}
			for _, size := range []int{0, 3, 2} {
				all = all[size:]
				if size > 0 {
					b := <-first.batches
					if len(b.Changes) != size {
						t.Fatalf("%d lines: a batch of %d", n, len(b.Changes))
					}
					offset = b.Offset
				}
				offsets, after = append(offsets, offset), append(after, all)
			}
			first.end()
			for i := range offsets {
				f := followFrom(t, dir, offsets[i])
				f.want(fmt.Sprintf("%d lines, from offset %d", n, i), append([]string(nil), after[i]...)...)
				f.end()
			}
		})
	}
}

// TestFollowedInSilence: a batch about every second says how far there is nothing, and moves over empty lines.
func TestFollowedInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte(line("a")))
		f := followFrom(t, dir, nowOf(t, dir))
		first := f.offset
		began := time.Now()
		for range 10 {
			if b := <-f.batches; len(b.Changes) > 0 || b.Offset != first {
				t.Fatalf("%+v", b)
			}
		}
		if took := time.Since(began); took < 9*time.Second || took > 15*time.Second {
			t.Errorf("10 batches took %s", took)
		}
		appendTo(t, dir, cFile, "\n\n")
		f.want("empty lines", nil...)
		f.end()
		p, err := parseMark(f.offset)
		if err != nil || p.number != 4 || p.position.offset != int64(len(line("a"))+2) {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

// TestFollowedFileIsRotated: the old file is read to its end, also where its writer notices late, and then the new one from its
// beginning.
func TestFollowedFileIsRotated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte(someIDs(0, 3)))
		f := followFrom(t, dir, nowOf(t, dir))
		f.take(time.Second)
		appendTo(t, dir, cFile, line("3"))
		rename(t, dir, cFile, "c.1")
		appendTo(t, dir, "c.1", line("4"))
		f.want("renamed", "3", "4")
		appendTo(t, dir, cFile, line("new 0"))
		for i := range 10 { // the writer goes on in the old one
			if got := f.take(time.Second); i > 1 && len(got) != 1 {
				t.Errorf("%q", got)
			}
			appendTo(t, dir, "c.1", line("late"))
		}
		appendTo(t, dir, "c.1", `{"_id":"without an end"}`)
		f.want("the old and the new one", "late", "without an end", "new 0")
		appendTo(t, dir, cFile, line("new 1"))
		f.want("the new one", "new 1")
		for _, said := range []string{"the followed file is gone: waiting", "the followed file was replaced: going on in the new one"} {
			if strings.Count(f.log.String(), said) != 1 {
				t.Errorf("%q is not said once: %s", said, f.log)
			}
		}
		f.end()
		again := followFrom(t, dir, f.offset)
		appendTo(t, dir, cFile, line("new 2"))
		again.want("resumed", "new 2")
		rename(t, dir, cFile, "c.2")
		write(t, dir, cFile, []byte(line("newer 0")))
		again.want("rotated again", "newer 0")
		write(t, dir, cFile, []byte(line("other 0")+line("other 1")))
		again.lost("written anew", nil...)
	})
}

// TestFollowedThroughAnything: lines that come in pieces, rotations, and reads that end and go on behind any batch: every line comes
// once and in order.
func TestFollowedThroughAnything(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 11))
			dir := t.TempDir()
			if r.IntN(2) == 0 {
				write(t, dir, cFile, []byte(line("old")))
			}
			f := followFrom(t, dir, nowOf(t, dir))
			var want, got []string
			todo := "" // not yet written
			rotations := 0
			for n := range 40 {
				switch r.IntN(8) {
				case 0:
					got = append(got, f.take(time.Duration(r.IntN(3000))*time.Millisecond)...)
				case 1:
					got = append(got, f.end()...)
					f = followFrom(t, dir, f.offset)
				case 2:
					appendTo(t, dir, cFile, todo+line("before"))
					got = append(got, f.take(2*time.Second)...) // so that it is open, and its own
					old := fmt.Sprint("c.", rotations)
					rename(t, dir, cFile, old)
					appendTo(t, dir, old, line("behind"))
					appendTo(t, dir, cFile, line("first"))
					want, todo, rotations = append(want, "before", "behind", "first"), "", rotations+1
					got = append(got, f.take(20*time.Second)...)
				default:
					for k := range r.IntN(6) {
						id := fmt.Sprint(n, ".", k)
						todo += strings.Repeat("\n", r.IntN(2)) + `{"_id":"` + id + `","pad":"` + strings.Repeat("x", r.IntN(1500)) + "\"}\n"
						want = append(want, id)
					}
					cut := r.IntN(len(todo) + 1)
					if r.IntN(2) == 0 {
						cut = len(todo)
					}
					appendTo(t, dir, cFile, todo[:cut])
					todo = todo[cut:]
				}
			}
			appendTo(t, dir, cFile, todo)
			got = append(got, f.take(20*time.Second)...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d: %s\n%s", seed, diff, f.log)
			}
			f.end()
		})
	}
}

// TestFollowedFileIsRotatedTwice: the file between was never more than seen.
func TestFollowedFileIsRotatedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte(someIDs(0, 3)))
		f := followFrom(t, dir, nowOf(t, dir))
		f.take(time.Second)
		for i := range 2 {
			rename(t, dir, cFile, fmt.Sprint("c.", i))
			write(t, dir, cFile, []byte(line(fmt.Sprint("first of ", i))))
			f.take(2 * pollInterval)
			appendTo(t, dir, cFile, line(fmt.Sprint("second of ", i)))
		}
		f.want("all", "first of 0", "second of 0", "first of 1", "second of 1")
		f.end()
	})
}

// TestFollowedFileIsCutOffWhileItIsRead: what was read until then is given out, and no half line.
func TestFollowedFileIsCutOffWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, nil)
		offset := nowOf(t, dir)
		text := `{"_id":"` + strings.Repeat("x", 1000) + `"}` + "\n"
		write(t, dir, cFile, []byte(strings.Repeat(text, 1000)))
		f := followFrom(t, dir, offset)
		<-f.batches
		if err := os.Truncate(filepath.Join(dir, cFile), int64(600*len(text)+5)); err != nil {
			t.Fatal(err)
		}
		f.lost("cut off", slices.Repeat([]string{strings.Repeat("x", 1000)}, 597)...)
	})
}

// TestOffsetBehindARotation: until something of the new file is given out the offset is of the old one, so that a file that comes and
// goes while nobody looks is noticed.
func TestOffsetBehindARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte(someIDs(0, 3)))
		f := followFrom(t, dir, nowOf(t, dir))
		before := f.offset
		f.take(time.Second)
		rename(t, dir, cFile, "c.1")
		write(t, dir, cFile, nil)
		f.want("a new file without lines", nil...)
		if f.offset != before {
			t.Error("the offset is of no file")
		}
		f.end()
		followFrom(t, dir, f.offset).lost("a file without lines, not seen before", nil...)
		rename(t, dir, "c.1", cFile)
		again := followFrom(t, dir, f.offset)
		appendTo(t, dir, cFile, line("3"))
		again.want("the old file is back", "3")
		again.end()
	})
}

// TestFollowedFileIsRemoved and made again: by the same name it is another file.
func TestFollowedFileIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := followFrom(t, dir, nowOf(t, dir))
		f.want("no file", nil...)
		appendTo(t, dir, cFile, someIDs(0, 2))
		f.want("a new file", "0", "1")
		if err := os.Remove(filepath.Join(dir, cFile)); err != nil {
			t.Fatal(err)
		}
		f.want("removed", nil...)
		appendTo(t, dir, cFile, someIDs(0, 1))
		f.want("made again", "0")
		f.end()
		if strings.Count(f.log.String(), "there is no file to follow: waiting for one") != 1 {
			t.Error(f.log)
		}
		if err := os.Remove(filepath.Join(dir, cFile)); err != nil {
			t.Fatal(err)
		}
		again := followFrom(t, dir, f.offset)
		again.want("removed while nobody looked", nil...)
		appendTo(t, dir, cFile, someIDs(5, 9))
		again.lost("and made again", nil...)
	})
}

// TestFollowedFileIsWrittenAnew: what had been written behind the last line may never have been read.
func TestFollowedFileIsWrittenAnew(t *testing.T) {
	long := func(s string) string { return `{"_id":"` + strings.Repeat(s, 3*markedBytes) + `"}` + "\n" }
	for name, tc := range map[string]struct{ before, after string }{
		"empty":                               {someIDs(0, 3), ""},
		"shorter":                             {someIDs(0, 3), someIDs(5, 6)},
		"as long":                             {someIDs(0, 3), someIDs(5, 8)},
		"longer":                              {someIDs(0, 3), someIDs(5, 9)},
		"another beginning":                   {someIDs(0, 3) + long("x"), someIDs(3, 6) + long("x") + line("new")},
		"another end":                         {long("x") + someIDs(0, 3), long("x") + someIDs(3, 6) + line("new")},
		"of one line, cut off within it":      {long("x"), long("x")[:100]},
		"cut off, and a line that has no end": {someIDs(0, 3), someIDs(0, 2) + `{"_id": "longer than the line before`},
	} {
		for _, running := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				write(t, dir, cFile, []byte(tc.before))
				f := followFrom(t, dir, nowOf(t, dir))
				f.take(3 * time.Second)
				if !running {
					f.end()
				}
				write(t, dir, cFile, []byte(tc.after)) // the same file, as to the system
				if !running {
					f = followFrom(t, dir, f.offset)
				}
				f.lost(fmt.Sprintf("%s, running %v", name, running), nil...)
			})
		}
	}
}

// TestFollowedFileThatIsTheSame: one that was copied is, and one whose half line was withdrawn.
func TestFollowedFileThatIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte(someIDs(0, 3)+`{"_id":"half`))
		f := followFrom(t, dir, nowOf(t, dir))
		f.want("a half line", nil...)
		// In one step: a file that is written anew is empty for a moment, in which it is not the same.
		if err := os.Truncate(filepath.Join(dir, cFile), int64(len(someIDs(0, 3)))); err != nil {
			t.Fatal(err)
		}
		f.want("withdrawn", nil...)
		appendTo(t, dir, cFile, line("3"))
		f.want("another one in its place", "3")
		f.end()
		write(t, dir, "copy", []byte(someIDs(0, 5)))
		rename(t, dir, "copy", cFile)
		f = followFrom(t, dir, f.offset)
		f.want("copied", "4")
		f.end()
	})
}

func TestWhatCannotBeFollowed(t *testing.T) {
	for name, data := range map[string][]byte{"c.bson": marshal(t, bson.D{{Key: "_id", Value: 1}}), "c.ndjson.gz": zipped(t, []byte(line("a")))} {
		dir := t.TempDir()
		write(t, dir, name, data)
		s, _ := openFollowed(t, dir)
		_, err := s.Abilities().Stream.Streams(t.Context(), []syncd.Collection{inC})
		if err == nil || !strings.Contains(err.Error(), name) || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", name, err, syncd.HintOf(err))
		}
		if o, err := s.Abilities().Stream.Now(t.Context(), syncd.Stream{Name: "c", Collections: []syncd.Collection{inC}}); err == nil || o != "" {
			t.Errorf("%s: Now: %q, %v", name, o, err)
		}
	}
	s, _ := openFollowed(t, t.TempDir())
	if _, err := s.Abilities().Stream.Streams(t.Context(), []syncd.Collection{{Name: "c", Filter: "{}"}}); err == nil {
		t.Error("took a filter")
	}
	dir := t.TempDir()
	write(t, dir, cFile, nil)
	stream := streamOf(t, openDir(t, dir))
	for _, o := range []syncd.Offset{"x", syncd.Offset(strings.Repeat("\xff", keySize+16)), syncd.Offset(position{1, 1}.appendKey(nil))} {
		for _, err := range openDir(t, dir).Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Stream: &stream}, After: o, BatchSize: 1}) {
			if err == nil {
				t.Fatalf("took the offset %q", o)
			}
		}
	}
}

// TestFollowedFileOfAnotherForm ends with what it is.
func TestFollowedFileOfAnotherForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f := followFrom(t, dir, nowOf(t, dir))
		write(t, dir, cFile, []byte("[\n{}\n]\n"))
		f.want("an array", nil...)
		if err := <-f.ended; err == nil || !strings.Contains(err.Error(), "JSON array") {
			t.Error(err)
		}
		f.stop()
	})
}

// TestFollowingEndsWhereItIsLeft: the reader may stop anywhere, and no file stays open.
func TestFollowingEndsWhereItIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, cFile, []byte(someIDs(0, 10)))
		s, _ := openFollowed(t, dir)
		stream := streamOf(t, s)
		var ids []string
		for b, err := range s.Read(t.Context(), syncd.ReadRequest{Split: syncd.Split{Stream: &stream}, BatchSize: 4}) { // from the start
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range b.Changes {
				ids = append(ids, c.ID)
			}
			if len(ids) == 8 {
				break
			}
		}
		if diff := cmp.Diff([]string{"0", "1", "2", "3", "4", "5", "6", "7"}, ids); diff != "" {
			t.Error(diff)
		}
	})
}
