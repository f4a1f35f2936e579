package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// openSplit opens a source whose splits take at least so many bytes.
func openSplit(t testing.TB, dir string, least int64) *source {
	t.Helper()
	s := openDir(t, dir).(*source)
	s.splitBytes = least
	return s
}

func splitsOf(t testing.TB, s syncd.Source) (splits []syncd.Split) {
	t.Helper()
	for split, err := range s.Splits(t.Context(), inC) {
		if err != nil {
			t.Fatal(err)
		}
		splits = append(splits, split)
	}
	return splits
}

// place is what two readings of a file must agree on.
type place struct {
	Seen seen
	Key  syncd.Key
}

func readPlaces(t testing.TB, s syncd.Source, req syncd.ReadRequest) ([]place, error) {
	t.Helper()
	got, changes, err := readAll(t, s, req)
	places := make([]place, len(got))
	for i := range got {
		places[i] = place{got[i], changes[i].Key}
	}
	return places, err
}

// someLines is a file of lines of every kind.
func someLines(r *rand.Rand) (data []byte) {
	if r.IntN(4) == 0 {
		data = append(data, byteOrderMark...)
	}
	end := []string{"\n", "\r\n"}[r.IntN(2)]
	for n := range r.IntN(40) {
		var line string
		switch r.IntN(12) {
		case 0:
		case 1:
			line = " \t\v "
		case 2:
			line = `{"_id": ` + fmt.Sprint(n)
		case 3:
			line = "[1]"
		case 4:
			line = `{"title": "no id"}`
		case 5:
			line = `{"_id": ` + fmt.Sprint(n) + `, "pad": "` + strings.Repeat("x", r.IntN(2000+2*bufferSize*(r.IntN(6)/5))) + `"}`
		case 6:
			line = `{"_id": ` + fmt.Sprint(n) + `} {"_id": 0}`
		default:
			line = `  {"_id": ` + fmt.Sprint(n) + `, "pad": "` + strings.Repeat("x", r.IntN(60)) + `"}`
		}
		data = append(append(data, line...), end...)
	}
	if r.IntN(3) == 0 {
		data = bytes.TrimRight(data, "\r\n")
	}
	return data
}

// TestSplitsReadAsTheWholeFile: read one after the other, and resumed behind every document, they give what reading the file does, in its
// order, with the same keys and with errors that name the same lines.
func TestSplitsReadAsTheWholeFile(t *testing.T) {
	divided := 0
	for seed := range uint64(90) {
		r := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		name, data := "c.ndjson", someLines(r)
		if seed%3 == 0 {
			name, data = "c.bson", someFile(t, r, ".bson")
		}
		write(t, dir, name, data)
		want, wantErr := readPlaces(t, openDir(t, dir), syncd.ReadRequest{Documents: true})
		s := openSplit(t, dir, 1+r.Int64N(1+[]int64{20, 200, int64(len(data))}[r.IntN(3)]))
		splits := splitsOf(t, s)
		var got []place
		var err error
		last := syncd.Key("")
		for i, split := range splits {
			if split.Index != i || split.Lower != last || split.Upper == "" || split.Collection != inC {
				t.Fatalf("seed %d: split %d: %+v behind %q", seed, i, split, last)
			}
			last = split.Upper
			if n := 1 + bytes.Count(data, []byte("\n")); name == "c.ndjson" && wantErr == nil && i == len(splits)-1 {
				if p, _ := parseKey(last); p.number < int64(n) || p.number > int64(n)+1 {
					t.Errorf("seed %d: the last split ends at line %d, and there are %d", seed, p.number, n)
				}
			}
			if err != nil {
				t.Fatalf("seed %d: split %d of %d ended with %v", seed, i-1, len(splits), err)
			}
			var part []place
			part, err = readPlaces(t, s, syncd.ReadRequest{Split: split, Documents: true, BatchSize: 1 + r.IntN(5)})
			if len(part) == 0 && i > 0 && err == nil {
				t.Errorf("seed %d: split %d of %d is empty", seed, i, len(splits))
			}
			got = append(got, part...)
			for j, p := range part {
				if len(data) > 100_000 && r.IntN(5) > 0 { // to save time
					continue
				}
				rest, _ := readPlaces(t, s, syncd.ReadRequest{Split: split, Documents: true, After: syncd.Offset(p.Key)})
				if !slices.Equal(part[j+1:], rest) {
					t.Fatalf("seed %d: split %d, resumed behind %d: %s", seed, i, j, cmp.Diff(part[j+1:], rest))
				}
			}
		}
		if p, perr := parseKey(last); perr != nil || p.offset != int64(len(data)) {
			t.Errorf("seed %d: the last split ends at %d of %d bytes (%v)", seed, p.offset, len(data), perr)
		}
		if !slices.Equal(want, got) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("seed %d: %d splits: %v, want %v\n%s", seed, len(splits), err, wantErr, cmp.Diff(want, got))
		}
		if len(splits) > 1 {
			divided++
		}
	}
	if divided < 40 {
		t.Errorf("%d files were divided: they are not what they were meant to be", divided)
	}
}

// TestSplitSizes: splits take the bytes that they should, but for the last.
func TestSplitSizes(t *testing.T) {
	const line = `{"_id":"0123456789"}` + "\n"
	long := `{"_id":"` + strings.Repeat("x", 500) + "\"}\n"
	for name, tc := range map[string]struct {
		data  string
		least int64
		want  []int
	}{
		"empty":                         {"", 10, []int{0}},
		"only empty lines":              {"\n\r\n \n", 1, []int{5}},
		"small":                         {strings.Repeat(line, 3), 64, []int{63}},
		"what is left is no split":      {strings.Repeat(line, 3), 63, []int{63}},
		"each takes two":                {strings.Repeat(line, 5), 22, []int{42, 42, 21}},
		"exactly one":                   {strings.Repeat(line, 3), 21, []int{21, 21, 21}},
		"a line longer than a split":    {line + long + line, 21, []int{21, 511, 21}},
		"empty lines at the end":        {line + line + "\n\n\n", 21, []int{21, 24}},
		"empty lines belong to the one": {line + "\n\n" + line, 21, []int{21, 23}},
		"no end of line":                {line + line[:20], 21, []int{21, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "c.ndjson", []byte(tc.data))
			var got []int
			last := int64(0)
			for _, split := range splitsOf(t, openSplit(t, dir, tc.least)) {
				p, err := parseKey(split.Upper)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, int(p.offset-last))
				last = p.offset
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	dir := t.TempDir()
	write(t, dir, "c.ndjson", []byte(strings.Repeat("{}\n", 10*mostSplits)))
	if n := len(splitsOf(t, openSplit(t, dir, 1))); n > mostSplits || n < mostSplits/2 {
		t.Errorf("%d splits, and at most %d are kept", n, mostSplits)
	}
	write(t, dir, "c.ndjson", []byte(strings.Repeat("{}\n", 100_000)))
	if n := len(splitsOf(t, openDir(t, dir))); n != 1 {
		t.Errorf("a small file has %d splits", n)
	}
}

// TestFilesThatCannotBeDivided are one split, and reading it says what reading the file says.
func TestFilesThatCannotBeDivided(t *testing.T) {
	doc := `{"_id":"0123456789"}`
	for name, data := range map[string][]byte{
		"c.json":       []byte("[" + doc + ",\n" + doc + ",\n" + doc + "]\n"),
		"c.jsonl":      []byte("{\n \"_id\": 1\n}\n{\n \"_id\": 2\n}\n"),
		"c.bson":       {1, 2, 3, 4, 5, 6, 7, 8},
		"c.ndjson":     {0x1f, 0x8b, 0x08, '\n', 'x', '\n', 'y'},
		"c.ndjson.gz":  zipped(t, []byte(strings.Repeat(doc+"\n", 5))),
		"c.ndjson.zst": []byte("no zstd"),
	} {
		dir := t.TempDir()
		write(t, dir, name, data)
		want, wantErr := readPlaces(t, openDir(t, dir), syncd.ReadRequest{})
		s := openSplit(t, dir, 1)
		splits := splitsOf(t, s)
		if len(splits) != 1 {
			t.Fatalf("%s: %d splits", name, len(splits))
		}
		got, err := readPlaces(t, s, syncd.ReadRequest{Split: splits[0]})
		if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) || syncd.HintOf(err) != syncd.HintOf(wantErr) {
			t.Errorf("%s: %v, want %v\n%s", name, err, wantErr, diff)
		}
	}
}

// readIDs reads splits one after the other.
func readIDs(t testing.TB, s syncd.Source, splits []syncd.Split) (ids []string, err error) {
	t.Helper()
	for _, split := range splits {
		got, err := readPlaces(t, s, syncd.ReadRequest{Split: split})
		for _, p := range got {
			ids = append(ids, p.Seen.ID+p.Seen.Err)
		}
		if err != nil {
			return ids, err
		}
	}
	return ids, nil
}

// TestFileThatGrowsBehindItsSplits: what is appended is not read, but for the end of a line that had begun.
func TestFileThatGrowsBehindItsSplits(t *testing.T) {
	const a, b, c = `{"_id":"a"}` + "\n", `{"_id":"b"}` + "\n", `{"_id":"c"}` + "\n"
	for name, tc := range map[string]struct {
		before, after string
		want          []string
	}{
		"lines":                   {a + b, a + b + c, []string{"a", "b"}},
		"a half line":             {a + b[:7], a + b + c, []string{"a", "b"}},
		"a line without its end":  {a + b[:11], a + b + c, []string{"a", "b"}},
		"behind empty lines":      {a + b + "\n\n", a + b + "\n\n" + c, []string{"a", "b"}},
		"from nothing":            {"", a, nil},
		"half a mark":             {"\xef", "\xef\xbb\xbf" + a + b, []string{"a"}},
		"the end of a blank line": {a + " ", a + " " + b + c, []string{"a", "b"}},
	} {
		for _, least := range []int64{1, 1000} {
			dir := t.TempDir()
			write(t, dir, "c.ndjson", []byte(tc.before))
			s := openSplit(t, dir, least)
			splits := splitsOf(t, s)
			write(t, dir, "c.ndjson", []byte(tc.after))
			got, err := readIDs(t, s, splits)
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%s, %d bytes: %v\n%s", name, least, err, diff)
			}
		}
	}
	doc := marshal(t, bson.D{{Key: "_id", Value: "a"}})
	dir := t.TempDir()
	write(t, dir, "c.bson", append(bytes.Clone(doc), doc...))
	s := openSplit(t, dir, 1)
	splits := splitsOf(t, s)
	write(t, dir, "c.bson", bytes.Repeat(doc, 3))
	if got, err := readIDs(t, s, splits); len(got) != 2 || err != nil {
		t.Errorf("BSON: %q, %v", got, err)
	}
}

// TestFileThatShrinksBehindItsSplits is an error in every split whose bytes are not there any more.
func TestFileThatShrinksBehindItsSplits(t *testing.T) {
	line := []byte(`{"_id":"0123456789"}` + "\n")
	dir := t.TempDir()
	write(t, dir, "c.ndjson", bytes.Repeat(line, 4))
	s := openSplit(t, dir, 21)
	splits := splitsOf(t, s)
	write(t, dir, "c.ndjson", bytes.Repeat(line, 2))
	if got, err := readIDs(t, s, splits[:2]); len(got) != 2 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, split := range splits[2:] {
		if got, err := readIDs(t, s, []syncd.Split{split}); len(got) > 0 || err == nil || !strings.Contains(err.Error(), "the file has changed: it has 42 bytes, and had ") {
			t.Errorf("split %d: %q, %v", split.Index, got, err)
		}
	}
}

// TestFileThatIsCutOffWhileItIsRead is an error, and the line that was cut off is no document.
func TestFileThatIsCutOffWhileItIsRead(t *testing.T) {
	for name, tc := range map[string]struct {
		doc []byte
		err string
	}{
		"c.ndjson": {[]byte(`{"_id":"a","pad":"` + strings.Repeat("x", 1000) + "\"}\n"), "the file has changed: it ends at byte"},
		"c.bson":   {marshal(t, bson.D{{Key: "_id", Value: "a"}, {Key: "pad", Value: strings.Repeat("x", 1000)}}), ""},
	} {
		long := bytes.Repeat([]byte("x"), 3*bufferSize)
		for cut, size := range map[string]int64{"between two": 600 * int64(len(tc.doc)), "within one": 600*int64(len(tc.doc)) + 5} {
			dir := t.TempDir()
			write(t, dir, name, append(bytes.Repeat(tc.doc, 1000), long...))
			s := openDir(t, dir)
			read := 0
			var err error
			for batch, e := range s.Read(t.Context(), syncd.ReadRequest{Split: splitsOf(t, s)[0], BatchSize: 10}) {
				if err = e; err != nil {
					break
				}
				if read == 0 {
					if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
						t.Fatal(err)
					}
				}
				for _, c := range batch.Changes {
					if c.Err != nil {
						t.Error(c.Err)
					}
				}
				read += len(batch.Changes)
			}
			if read != 600 || err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s, cut off %s: %d documents, %v", name, cut, read, err)
			}
		}
	}
}

// TestLongLineThatIsCutOff: it is no document either.
func TestLongLineThatIsCutOff(t *testing.T) {
	data := []byte(`{"_id":"` + strings.Repeat("x", 2*bufferSize))
	r := &ndjsonReader{stream: newStream("c.ndjson", bytes.NewReader(data), int64(len(data))+2), maxLine: maxLine}
	if it, err := r.next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", it.err, err)
	}
}

// TestFileThatIsReplacedBehindItsSplits: a position in it means another document.
func TestFileThatIsReplacedBehindItsSplits(t *testing.T) {
	data := []byte(strings.Repeat(`{"_id":"a"}`+"\n", 4))
	for _, name := range []string{"c.ndjson", "c.ndjson.gz"} {
		for base, give := range map[string]func(s *source){
			"divided":    func(s *source) { splitsOf(t, s) },
			"identified": func(s *source) { _, _ = s.Identity(t.Context(), inC) },
		} {
			dir := t.TempDir()
			content := data
			if strings.HasSuffix(name, ".gz") {
				content = zipped(t, data)
			}
			write(t, dir, name, content)
			s := openSplit(t, dir, 1)
			give(s)
			_, changes, err := readAll(t, s, syncd.ReadRequest{})
			if err != nil || len(changes) != 4 {
				t.Fatal(changes, err)
			}
			write(t, dir, "new", content)
			if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			key := changes[1].Key
			for what, req := range map[string]syncd.ReadRequest{
				"behind a document": {After: syncd.Offset(key)},
				"from a document":   {Split: syncd.Split{Collection: inC, Lower: key}},
				"up to a document":  {Split: syncd.Split{Collection: inC, Upper: key}},
			} {
				if got, err := readPlaces(t, s, req); len(got) > 0 || err == nil || !strings.Contains(err.Error(), "was replaced") || syncd.HintOf(err) == "" {
					t.Errorf("%s, %s, read %s: %v, %v", name, base, what, got, err)
				}
			}
			for _, err := range s.Fetch(t.Context(), inC, []syncd.Key{key}) {
				if err == nil || !strings.Contains(err.Error(), "was replaced") {
					t.Errorf("%s, %s: Fetch: %v", name, base, err)
				}
			}
			if got, err := readPlaces(t, s, syncd.ReadRequest{}); len(got) != 4 || err != nil {
				t.Errorf("%s, %s, read from its beginning: %v, %v", name, base, got, err)
			}
			if got, err := readIDs(t, s, splitsOf(t, s)); len(got) != 4 || err != nil { // the next run
				t.Errorf("%s, %s, divided again: %v, %v", name, base, got, err)
			}
		}
	}
}

// TestSplitThatEndsBeforeDamage: what begins where it ends is not its own.
func TestSplitThatEndsBeforeDamage(t *testing.T) {
	doc := marshal(t, bson.D{{Key: "_id", Value: "a"}})
	dir := t.TempDir()
	write(t, dir, "c.bson", append(bytes.Clone(doc), 1, 2, 3, 4, 5, 6))
	upper := syncd.Key(position{int64(len(doc)), 2}.appendKey(nil))
	if got, err := readIDs(t, openDir(t, dir), []syncd.Split{{Collection: inC, Upper: upper}}); len(got) != 1 || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestReadBehindTheLastSplit: a run that ended before it kept that the last split is the last reads on behind it.
func TestReadBehindTheLastSplit(t *testing.T) {
	for name, data := range map[string]string{"with its end": `{"_id":"a"}` + "\n", "without its end": `{"_id":"a"}`, "empty": ""} {
		dir := t.TempDir()
		write(t, dir, "c.ndjson", []byte(data))
		s := openDir(t, dir)
		splits := splitsOf(t, s)
		if got, err := readIDs(t, s, []syncd.Split{{Collection: inC, Index: 1, Lower: splits[len(splits)-1].Upper}}); len(got) > 0 || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestSplitsEndEarly with whoever reads them, and with the context.
func TestSplitsEndEarly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.ndjson", bytes.Repeat([]byte("{}\n"), 5*contextInterval))
	s := openSplit(t, dir, 3)
	for range s.Splits(t.Context(), inC) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var err error
	for _, err = range s.Splits(ctx, inC) {
		cancel()
		n++
	}
	if !errors.Is(err, context.Canceled) || n > 2*contextInterval {
		t.Errorf("%d splits, then %v", n, err)
	}
}

// checkSplits holds a division to this: splits lie side by side, and reading them is reading the file.
func checkSplits(t *testing.T, data []byte, format format) {
	t.Helper()
	open := func() *openFile {
		f := &openFile{stream: newStream("f", bytes.NewReader(data), int64(len(data))), format: format}
		f.reader = newReader(f.stream, format)
		return f
	}
	read := func(req syncd.ReadRequest) (items []string, err error) {
		f := open()
		upper, err := f.begin(req)
		for err == nil {
			var it item
			if it, err = f.nextBefore(upper); err == nil {
				items = append(items, fmt.Sprint(it.position, it.err))
			}
		}
		return items, err
	}
	want, wantErr := read(syncd.ReadRequest{})
	for _, least := range []int64{1, 1 + int64(len(data))/3} {
		var got []string
		var split syncd.Split
		err := io.EOF
		if derr := open().divide(t.Context(), least, func(upper position) error {
			split.Upper = syncd.Key(upper.appendKey(nil))
			if split.Lower >= split.Upper || !errors.Is(err, io.EOF) {
				t.Fatalf("a split from %x to %x, after %v", split.Lower, split.Upper, err)
			}
			var part []string
			part, err = read(syncd.ReadRequest{Split: split})
			got = append(got, part...)
			split.Lower = split.Upper
			return nil
		}); derr != nil {
			t.Fatal(derr)
		}
		if !slices.Equal(want, got) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("splits of %d bytes: %v, want %v\n%s", least, err, wantErr, cmp.Diff(want, got))
		}
	}
}

// BenchmarkSplits passes over 150 MB of documents of 350 bytes.
func BenchmarkSplits(b *testing.B) {
	const n = 150_000
	var bsonFile, ndjson bytes.Buffer
	for i := range n {
		doc := bson.D{{Key: "_id", Value: fmt.Sprintf("doc-%06d", i)}, {Key: "updatedAt", Value: bson.DateTime(1714979289010)}, {Key: "text", Value: strings.Repeat("lorem ", 40)}}
		bsonFile.Write(marshal(b, doc))
		line, err := bson.MarshalExtJSON(doc, false, false)
		if err != nil {
			b.Fatal(err)
		}
		ndjson.Write(append(line, '\n'))
	}
	for name, data := range map[string][]byte{"c.bson": bsonFile.Bytes(), "c.ndjson": ndjson.Bytes()} {
		dir := b.TempDir()
		write(b, dir, name, data)
		s := openDir(b, dir)
		b.Run(name+"/splits", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				for _, err := range s.Splits(b.Context(), syncd.Collection{Name: "c"}) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(name+"/count", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := s.Abilities().Count(b.Context(), syncd.Collection{Name: "c"}); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, documents := range []bool{false, true} {
			b.Run(fmt.Sprint(name, "/read/", documents), func(b *testing.B) {
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					for _, err := range s.Read(b.Context(), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 1000, Documents: documents}) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
