package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/extjson"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPluginDeclaration(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func TestConformance(t *testing.T) {
	for name, encode := range map[string]func(t *testing.T, doc map[string]any) []byte{
		".ndjson": func(t *testing.T, doc map[string]any) []byte {
			b, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			return append(b, '\n')
		},
		".bson": func(t *testing.T, doc map[string]any) []byte { return marshal(t, doc) },
	} {
		for splits, least := range map[string]int64{"one split": splitBytes, "many splits": 1000} {
			t.Run(name+", "+splits, func(t *testing.T) {
				dir := t.TempDir()
				syncdtest.TestSource(t, syncdtest.SourceHarness{
					Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
						var b []byte
						for _, d := range docs {
							b = append(b, encode(t, d.Map())...)
						}
						write(t, dir, collection+name, b)
						return openSplit(t, dir, least)
					},
					Drop: func(t *testing.T, collection string) {
						if err := os.Remove(filepath.Join(dir, collection+name)); err != nil {
							t.Fatal(err)
						}
					},
				})
			})
		}
	}
}

func marshal(t testing.TB, doc any) []byte {
	t.Helper()
	b, err := bson.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func openDir(t testing.TB, dir string) syncd.Source {
	t.Helper()
	cfg := Plugin().Config().(*Config)
	cfg.Path = dir
	s, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// seen is a change in a form that can be written down.
type seen struct {
	ID   string
	Err  string
	JSON string
}

func readAll(t testing.TB, s syncd.Source, req syncd.ReadRequest) ([]seen, []syncd.Change, error) {
	t.Helper()
	if req.Split.Collection.Name == "" {
		req.Split.Collection.Name = "c"
	}
	req.BatchSize = max(req.BatchSize, 2)
	var out []seen
	var all []syncd.Change
	for batch, err := range s.Read(t.Context(), req) {
		if err != nil {
			return out, all, err
		}
		if last := batch.Changes[len(batch.Changes)-1].Key; batch.Offset == "" || batch.Offset != syncd.Offset(last) {
			t.Errorf("a batch has the offset %q, and its last change the key %q", batch.Offset, last)
		}
		for _, c := range batch.Changes {
			got := seen{ID: c.ID}
			if c.Err != nil {
				got.Err = c.Err.Error()
			}
			if c.Document != nil {
				b, err := c.Document.AppendJSON(nil, syncd.Canonical)
				if err != nil {
					t.Fatal(err)
				}
				got.JSON = string(b)
			}
			out = append(out, got)
			all = append(all, c)
		}
	}
	return out, all, nil
}

func TestNDJSONForms(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.jsonl", []byte("\xef\xbb\xbf"+
		`{"_id":{"$oid":"507f1f77bcf86cd799439011"},"n":1,"at":{"$date":"2024-01-02T03:04:05.678Z"}}`+"\r\n"+
		"\n  \t \n"+
		`{"_id": {"$numberLong": "5"}, "d": {"$numberDecimal": "1.50"}, "u": {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}}`+"\n"+
		`{"_id": 1`+"\n"+
		`[1]`+"\n"+
		`{"_id": 1} {"_id": 2}`+"\n"+
		`{"_id": {"$oid": "xyz"}}`+"\n"+
		`{"title": "no id"}`+"\n"+
		`{"_id": null}`+"\n"+
		`{"_id": "last"}`))
	s := openDir(t, dir)
	got, changes, err := readAll(t, s, syncd.ReadRequest{Documents: true})
	if err != nil {
		t.Fatal(err)
	}
	at := func(line string) string { return filepath.Join(dir, "c.jsonl") + ":" + line + ": " }
	want := []seen{
		{ID: "507f1f77bcf86cd799439011", JSON: `{"_id":{"$oid":"507f1f77bcf86cd799439011"},"n":{"$numberInt":"1"},"at":{"$date":{"$numberLong":"1704164645678"}}}`},
		{ID: "5", JSON: `{"_id":{"$numberLong":"5"},"d":{"$numberDecimal":"1.50"},"u":{"$binary":{"base64":"ABEiM0RVZneImaq7zN3u/w==","subType":"04"}}}`},
		{Err: at("5") + "not JSON: unexpected end of JSON input (column 9)"},
		{Err: at("6") + "not a document: a line must be a JSON object"},
		{Err: at("7") + "not JSON: invalid character '{' after top-level value (column 12)"},
		{Err: got[5].Err},
		{Err: at("9") + "no _id", JSON: `{"title":"no id"}`},
		{Err: at("10") + "_id is null", JSON: `{"_id":null}`},
		{ID: "last", JSON: `{"_id":"last"}`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(got[5].Err, at("8")+"not Extended JSON: ") {
		t.Errorf("line 8: %s", got[5].Err)
	}
	if n, err := s.Abilities().Count(t.Context(), syncd.Collection{Name: "c"}); err != nil || n != int64(len(want)) {
		t.Errorf("Count = %d, %v; want %d", n, err, len(want))
	}
	// Resuming keeps the line numbers.
	rest, _, err := readAll(t, s, syncd.ReadRequest{Documents: true, After: syncd.Offset(changes[1].Key)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[2:], rest); diff != "" {
		t.Error(diff)
	}
}

// TestDocumentsWithoutUsableIDs are named by their places, and are there for the dead letters, whatever was asked for.
func TestDocumentsWithoutUsableIDs(t *testing.T) {
	badText := func(key string, text string) []byte {
		return marshal(t, bson.D{{Key: key, Value: text}, {Key: "x", Value: 1}})
	}
	two := func(a, b any) []byte {
		return marshal(t, bson.D{{Key: "_id", Value: a}, {Key: "x", Value: 1}, {Key: "_id", Value: b}})
	}
	for name, tc := range map[string]struct {
		ndjson, id, err, doc string
		bson                 []byte
	}{
		"none":               {ndjson: `{"name": "n"}`, err: "no _id", doc: `{"name":"n"}`},
		"null":               {ndjson: `{"_id": null, "name": "n"}`, err: "_id is null", doc: `{"_id":null,"name":"n"}`},
		"undefined":          {ndjson: `{"_id": {"$undefined": true}}`, err: "_id is undefined", doc: `{"_id":{"$undefined":true}}`},
		"in a document":      {ndjson: `{"a": {"_id": 1}}`, err: "no _id", doc: `{"a":{"_id":1}}`},
		"other case":         {ndjson: `{"_ID": 1}`, err: "no _id", doc: `{"_ID":1}`},
		"two":                {ndjson: `{"_id": 1, "_id": 2}`, err: "two fields _id", doc: `{"_id":1,"_id":2}`},
		"two, equal":         {bson: two("a", "a"), err: "two fields _id", doc: `{"_id":"a","x":1,"_id":"a"}`},
		"two, the first bad": {bson: two(nil, "a"), err: "_id is null", doc: `{"_id":null,"x":1,"_id":"a"}`},
		"two, one nested":    {ndjson: `{"_id": 1, "a": {"_id": 2}}`, id: "1"},
		"the second in an array, and a field of the name": {ndjson: `{"_id": 1, "a": [{"_id": 2}], "_id2": 3}`, id: "1"},
		"not UTF-8":               {bson: badText("_id", "caf\xe9"), err: `_id is not valid UTF-8: "caf\xe9"`},
		"not UTF-8, and commands": {bson: badText("_id", "\x1b[2J\xff\n"), err: `_id is not valid UTF-8: "\x1b[2J\xff\n"`},
		"the character U+FFFD":    {bson: badText("_id", "caf\ufffd"), id: "caf\ufffd"},
		"empty":                   {ndjson: `{"_id": ""}`},
		"another field bad":       {bson: badText("x", "\xff"), err: "no _id"},
	} {
		for _, documents := range []bool{false, true} {
			dir, file, place := t.TempDir(), "c.ndjson", ":2: "
			content := []byte(`{"_id": "first"}` + "\n" + tc.ndjson + "\n")
			if tc.bson != nil {
				file, place = "c.bson", ": document 2 at byte 20: "
				content = append(marshal(t, bson.D{{Key: "_id", Value: "12345"}}), tc.bson...)
			}
			write(t, dir, file, content)
			var changes []syncd.Change
			for batch, err := range openDir(t, dir).Read(t.Context(), syncd.ReadRequest{Documents: documents, BatchSize: 2, Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}}) {
				if err != nil {
					t.Fatal(err)
				}
				changes = append(changes, batch.Changes...)
			}
			if len(changes) != 2 {
				t.Fatalf("%s: %d changes", name, len(changes))
			}
			c := changes[1]
			switch {
			case tc.err == "" && (c.Err != nil || c.ID != tc.id):
				t.Errorf("%s: %q, %v", name, c.ID, c.Err)
			case tc.err == "":
			case c.Err == nil || c.ID != "" || c.Err.Error() != filepath.Join(dir, file)+place+tc.err || !errors.Is(c.Err, syncd.ErrNoID):
				t.Errorf("%s: %q, %v", name, c.ID, c.Err)
			case c.Document == nil:
				t.Errorf("%s: there is no document", name)
			case tc.doc != "":
				if got, err := c.Document.AppendJSON(nil, syncd.Relaxed); err != nil || string(got) != tc.doc {
					t.Errorf("%s: %s, %v", name, got, err)
				}
			}
		}
	}
}

// A look at a collection before a run reads it as one split without bounds, and asks for no splits.
func TestReadingWithoutSplits(t *testing.T) {
	for name, encode := range map[string]func(doc bson.D) []byte{
		"c.bson": func(doc bson.D) []byte { return marshal(t, doc) },
		"c.ndjson": func(doc bson.D) []byte {
			line, err := bson.MarshalExtJSON(doc, true, false)
			if err != nil {
				t.Fatal(err)
			}
			return append(line, '\n')
		},
	} {
		dir := t.TempDir()
		var data []byte
		var want []string
		for i := range 25 {
			data = append(data, encode(bson.D{{Key: "_id", Value: i}})...)
			want = append(want, strconv.Itoa(i))
		}
		write(t, dir, name, data)
		s := openDir(t, dir)
		for _, step := range []int{1, 2, 7, 100} { // batches until the read is left and resumed
			req := syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c"}}, BatchSize: 3}
			var got []string
			for more := true; more; {
				more = false
				n := 0
				for batch, err := range s.Read(t.Context(), req) {
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range batch.Changes {
						got = append(got, c.ID)
					}
					if n++; n == step {
						req.After, more = batch.Offset, true
						break
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, resumed after every %d batches: %s", name, step, diff)
			}
		}
	}
}

func TestLongLines(t *testing.T) {
	const limit = 3 * bufferSize
	fits := `{"_id":"` + strings.Repeat("x", limit-11) + "\"}\n"
	long := `{"_id":"` + strings.Repeat("x", limit-10) + "\"}\n"
	data := []byte(`{"_id":1}` + "\n" + fits + long + `{"_id":4}` + "\n" + strings.Repeat(" ", 3*limit))
	r := &ndjsonReader{stream: newStream("c.ndjson", bytes.NewReader(data), int64(len(data))), maxLine: limit}
	for _, want := range []string{"", "", "c.ndjson:3: the line is too long: it has 786433 bytes, and 786432 are read", "", "c.ndjson:5: the line is too long"} {
		it, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if want == "" && it.err != nil || want != "" && (it.err == nil || !strings.HasPrefix(it.err.Error(), want)) {
			t.Errorf("line %d: %v; want %q", it.number, it.err, want)
		}
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("%v at the end", err)
	}
}

// A stored document may have 16 MiB, and must fit in a line with room for its markup.
func TestLargestDocument(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.ndjson", []byte(`{"_id":1,"t":"`+strings.Repeat("x", 17<<20)+"\"}\n{\"_id\":2}\n"))
	got, _, err := readAll(t, openDir(t, dir), syncd.ReadRequest{})
	if diff := cmp.Diff([]seen{{ID: "1"}, {ID: "2"}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNotOneDocumentPerLine(t *testing.T) {
	for text, want := range map[string]string{
		"[{\"_id\":1}]":        "is a JSON array",
		"\n":                   "",
		"{\n  \"_id\": 1\n}\n": "documents of several lines",
	} {
		dir := t.TempDir()
		write(t, dir, "c.json", []byte(text))
		_, _, err := readAll(t, openDir(t, dir), syncd.ReadRequest{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || syncd.HintOf(err) == "") {
			t.Errorf("%q: %v; want %q and a hint", text, err, want)
		}
	}
}

func TestBSONDamage(t *testing.T) {
	good := marshal(t, bson.D{{Key: "_id", Value: 1}})
	second := marshal(t, bson.D{{Key: "_id", Value: 2}, {Key: "s", Value: "text"}})
	corrupt := bytes.Clone(second)
	corrupt[4] = 0x77 // no such type
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, c := range map[string]struct {
		file []byte
		want []seen
		err  string
	}{
		"empty":     {nil, nil, ""},
		"whole":     {join(good, second), []seen{{ID: "1"}, {ID: "2"}}, ""},
		"truncated": {join(good, good, second[:20]), []seen{{ID: "1"}, {ID: "1"}}, "the file ends within document 3, which begins at byte 28"},
		"in length": {join(good, second[:3]), []seen{{ID: "1"}}, "the file ends within document 2, which begins at byte 14"},
		"corrupt":   {join(corrupt, good), []seen{{Err: "document 1 at byte 0: "}, {ID: "1"}}, ""},
		"2 GB":      {join(good, []byte{0xff, 0xff, 0xff, 0x7f}, good), []seen{{ID: "1"}}, "no document begins at byte 14: 2147483647 is not the length of one"},
		"negative":  {[]byte{0, 0, 0, 0x80, 0}, nil, "no document begins at byte 0"},
		"zero":      {make([]byte, 100), nil, "no document begins at byte 0: 0 is"},
		"16 MB":     {[]byte{0, 0, 0, 1, 0}, nil, "the file ends within document 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "c.bson", c.file)
			got, _, err := readAll(t, openDir(t, dir), syncd.ReadRequest{BatchSize: 10})
			for i := range got {
				if i < len(c.want) && c.want[i].Err != "" && strings.Contains(got[i].Err, c.want[i].Err) {
					got[i].Err = c.want[i].Err
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("error %v; want %q", err, c.err)
			}
		})
	}
}

func TestBrokenLengthTakesNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	data := []byte{0xff, 0xff, 0xff, 0x7f}
	r := newReader(newStream("x", bytes.NewReader(data), 3<<30), formatBSON)
	if _, err := r.next(); err == nil {
		t.Error("no error")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"both.bson", "both.json", "packed.bson.gz", "page.bson", "page.metadata.json", "item.jsonl", "notes.txt"} {
		write(t, dir, name, nil)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub.bson"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, dir)
	for name, want := range map[string]string{
		"page":      "",
		"item":      "",
		"both":      filepath.Join(dir, "both.json") + ", " + filepath.Join(dir, "both.bson"),
		"packed":    "",
		"gone":      "collection not found: no file gone.ndjson, gone.jsonl, gone.json, gone.bson in ",
		"../page":   "collection not found",
		"..":        "collection not found",
		"":          "collection not found",
		"sub":       "sub.bson is not a regular file",
		"page.bson": "collection not found",
	} {
		err := errors.New("no split")
		for _, e := range s.Splits(t.Context(), syncd.Collection{Name: name}) {
			err = e
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", name, err, want)
		}
		if missing := strings.HasPrefix(want, "collection not found"); missing != errors.Is(err, syncd.ErrCollectionNotFound) {
			t.Errorf("%q: ErrCollectionNotFound is %v in: %v", name, !missing, err)
		}
	}
	names, err := s.Abilities().Collections(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"both", "item", "packed", "page"}, names); diff != "" {
		t.Error(diff)
	}
	s.(*source).cfg.Format = formatBSON
	if f, err := s.(*source).locate("both"); err != nil || f.path != filepath.Join(dir, "both.bson") {
		t.Errorf("format bson: %v, %v", f, err)
	}
}

func TestFileThatHasChanged(t *testing.T) {
	for name, format := range map[string]format{"c.ndjson": formatNDJSON, "c.bson": formatBSON} {
		dir := t.TempDir()
		content := func(pad string) []byte {
			var b []byte
			for i := range 3 {
				doc := marshal(t, bson.D{{Key: "_id", Value: i}, {Key: "pad", Value: pad}})
				if format == formatNDJSON {
					j, err := bson.MarshalExtJSON(bson.Raw(doc), false, false)
					if err != nil {
						t.Fatal(err)
					}
					doc = append(j, '\n')
				}
				b = append(b, doc...)
			}
			return b
		}
		write(t, dir, name, content("xxx"))
		s := openDir(t, dir)
		_, changes, err := readAll(t, s, syncd.ReadRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, pad := range []string{strings.Repeat("y", 50), "y"} {
			write(t, dir, name, content(pad))
			for _, err := range s.Fetch(t.Context(), syncd.Collection{Name: "c"}, []syncd.Key{changes[2].Key}) {
				if err == nil {
					t.Errorf("%s: a document was found where none begins", name)
				}
			}
			if _, _, err := readAll(t, s, syncd.ReadRequest{After: syncd.Offset(changes[2].Key)}); err == nil {
				t.Errorf("%s: a read resumed where no document begins", name)
			}
		}
	}
}

// A file that was deleted is a collection without documents. A folder that is missing tells nothing about its files.
func TestReadingWhatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "exports")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "c.ndjson", []byte("{\"_id\":1}\n{\"_id\":2}\n"))
	s := openDir(t, dir)
	_, changes, err := readAll(t, s, syncd.ReadRequest{})
	if err != nil || len(changes) != 2 {
		t.Fatal(changes, err)
	}
	if err := os.Remove(filepath.Join(dir, "c.ndjson")); err != nil {
		t.Fatal(err)
	}
	for _, after := range []syncd.Offset{"", syncd.Offset(changes[0].Key)} {
		if _, got, err := readAll(t, s, syncd.ReadRequest{After: after}); err != nil || len(got) > 0 {
			t.Errorf("after %q: %v, %v", after, got, err)
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := readAll(t, s, syncd.ReadRequest{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the folder: %v", err)
	}
}

func TestForeignKeys(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.ndjson", []byte("{\"_id\":1}\n"))
	s := openDir(t, dir)
	for _, k := range []syncd.Key{"x", syncd.Key(strings.Repeat("\xff", keySize)), syncd.Key(strings.Repeat("\x00", keySize)),
		syncd.Key(position{1 << 40, 1}.appendKey(nil))} {
		if _, _, err := readAll(t, s, syncd.ReadRequest{After: syncd.Offset(k)}); err == nil {
			t.Errorf("Read took the offset %q", k)
		}
		for _, err := range s.Fetch(t.Context(), syncd.Collection{Name: "c"}, []syncd.Key{k}) {
			if err == nil {
				t.Errorf("Fetch took the key %q", k)
			}
		}
	}
}

func TestFiltersAreRefused(t *testing.T) {
	if _, ok := Plugin().Config().(syncd.FilterChecker); ok {
		t.Error("the config says that it can check filters")
	}
	dir := t.TempDir()
	write(t, dir, "c.ndjson", []byte("{\"_id\":1}\n"))
	_, _, err := readAll(t, openDir(t, dir), syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: "c", Filter: "{}"}}})
	if err == nil {
		t.Error("a filter was ignored")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "f", nil)
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "f")} {
		_, err := open(context.Background(), Config{Path: path}, syncd.Env{})
		if err == nil || !strings.Contains(err.Error(), path) || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v, hint %q", path, err, syncd.HintOf(err))
		}
	}
}

func TestConfig(t *testing.T) {
	cfg := Plugin().Config()
	ds := spec.Decode(&spec.Node{Kind: spec.Map, Entries: []spec.Entry{
		{Name: "format", Value: &spec.Node{Kind: spec.Scalar, Text: "csv"}},
	}}, cfg, "source", "file")
	text := ds.Error()
	for _, want := range []string{`missing field "path" in source.file`, "source.file.format must be one of: auto, ndjson, bson"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s\nlacks: %s", text, want)
		}
	}
}

func FuzzBSON(f *testing.F) {
	doc := marshal(f, bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: bson.A{"x", 1.5, nil}}})
	f.Add(doc)
	f.Add(append(bytes.Clone(doc), doc...))
	f.Add([]byte{0xff, 0xff, 0xff, 0x7f, 0})
	fuzz(f, formatBSON)
}

func FuzzNDJSON(f *testing.F) {
	f.Add([]byte("{\"_id\":{\"$oid\":\"507f1f77bcf86cd799439011\"}}\n\n[]\n{"))
	f.Add([]byte("{\"_id\":{\"$binary\":{\"base64\":\"AA==\",\"subType\":\"03\"}},\"d\":{\"$date\":{\"$numberLong\":\"1\"}}}\r\n"))
	f.Add([]byte(`{"a":{"$regularExpression":{"pattern":"a","options":"ix"}},"t":{"$timestamp":{"t":1,"i":2}},"c":{"$code":"x","$scope":{}},"m":{"$minKey":1}}`))
	fuzz(f, formatNDJSON)
}

// fuzz holds a reader to this: it ends, each document is valid BSON and starts behind the one before, and reading from
// any of the positions gives the same document. Where the file is divided, reading all splits gives the same positions and errors.
func fuzz(f *testing.F, format format) {
	f.Fuzz(func(t *testing.T, data []byte) {
		checkSplits(t, data, format)
		s := newStream("f", bytes.NewReader(data), int64(len(data)))
		r := newReader(s, format)
		count := newReader(newStream("f", bytes.NewReader(data), int64(len(data))), format)
		last := int64(-1)
		for n := 0; ; n++ {
			it, err := r.next()
			if skipErr := count.skip(); (skipErr == nil) != (err == nil) && format == formatBSON {
				t.Fatalf("document %d: next says %v, skip says %v", n, err, skipErr)
			}
			if err != nil {
				if !errors.Is(err, io.EOF) && err.Error() == "" {
					t.Fatal("an error without text")
				}
				return
			}
			if it.offset <= last || it.offset >= int64(len(data)) {
				t.Fatalf("a document at byte %d, after one at byte %d, of %d bytes", it.offset, last, len(data))
			}
			last = it.offset
			if it.err != nil {
				continue
			}
			if err := it.doc.Validate(); err != nil {
				t.Fatalf("document %d: %v", n, err)
			}
			again := openFile{stream: newStream("f", bytes.NewReader(data), int64(len(data))), format: format}
			again.reader = newReader(again.stream, format)
			doc, err := again.at(it.position)
			if err != nil || !bytes.Equal(doc, it.doc) {
				t.Fatalf("document %d, read again: %v, %v; want %v", n, doc, err, it.doc)
			}
		}
	})
}

func TestNames(t *testing.T) {
	for line, want := range map[string]string{
		`{"a\u0000b": 1}`:                      "not Extended JSON",
		`{"_id": 1, "_id": 2}`:                 "",
		`{"$oid": "507f1f77bcf86cd799439011"}`: "",
	} {
		doc, err := extjson.Parse([]byte(line))
		if want == "" && (err != nil || doc.Validate() != nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", line, doc, err)
		}
	}
}
