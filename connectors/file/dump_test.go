package file

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// longName is a collection whose name mongodump cuts, longFile the beginning of what it makes of it, and longDigest the rest: those
// of mongorestore's test data.
const (
	longName = "a" + veryVery + "LongCollectionNameConsistingOfExactlyTwoHundredAndFortySevenCharacters"
	longFile = "a" + veryVery + "LongCollectionNameConsistingOfE%24"
	veryVery = "VeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVeryVery"

	longDigest = "xFO0VquRn7cg3QooSZD5sglTddU"
)

// TestNamesAsMongodumpEscapesThem: the names of its own test data, and what the rules of its source make of others.
func TestNamesAsMongodumpEscapesThem(t *testing.T) {
	for collection, want := range map[string]string{
		"page":                    "page",
		"workItem.archive-2_x~":   "workItem.archive-2_x~",
		"cafés":                   "caf%C3%A9s",
		"a b":                     "a+b",
		"a+b":                     "a%2Bb",
		"a/b":                     "a%2Fb",
		`a\b`:                     "a%5Cb",
		"100%":                    "100%25",
		"a:b*c?":                  "a%3Ab%2Ac%3F",
		"日本":                      "%E6%97%A5%E6%9C%AC",
		strings.Repeat("x", 238):  strings.Repeat("x", 238),
		strings.Repeat("é", 40):   strings.Repeat("%C3%A9", 40)[:208] + "%24" + "vwYqY6fSxDXZKVgUjO6HAzPeaB0",
		"system.buckets.measured": "system.buckets.measured",
		longName:                  longFile + longDigest,
	} {
		got := dumpedName(collection)
		if len(got) > maxEscaped {
			t.Errorf("%q: %d bytes", collection, len(got))
		}
		if back := collectionOf(got, formatBSON); back != collection && !isCut(got) {
			t.Errorf("%q is read back as %q", collection, back)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", collection, got, want)
		}
	}
}

// FuzzNames: what mongodump makes of a name is read back as that name, is found by it, and stays in its folder.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"page", "a b", "a+b", "100%", "../x", "cafés", longName, "%2e%2e%2f"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, collection string) {
		name := dumpedName(collection)
		if len(name) > maxEscaped || strings.ContainsAny(name, "/\\\x00") {
			t.Errorf("%q: %q", collection, name)
		}
		if back := collectionOf(name, formatBSON); back != collection && !isCut(name) {
			t.Errorf("%q is read back as %q", collection, back)
		}
		for _, own := range fileNames(collection) {
			if filepath.Base(own+".bson") != own+".bson" {
				t.Errorf("%q is looked for as %q", collection, own)
			}
		}
	})
}

// docs is some documents as BSON.
func docs(t testing.TB, ids ...string) []byte {
	t.Helper()
	var out []byte
	for _, id := range ids {
		out = append(out, marshal(t, bson.D{{Key: "_id", Value: id}, {Key: "pad", Value: strings.Repeat(id, 10)}})...)
	}
	return out
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// fill writes files, whose names may have folders.
func fill(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// opened opens a folder as the given database.
func opened(t testing.TB, dir, database string) (syncd.Source, error) {
	t.Helper()
	cfg := Plugin().Config().(*Config)
	cfg.Path, cfg.Database = dir, database
	return Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
}

func ids(t testing.TB, s syncd.Source, collection string) ([]string, error) {
	t.Helper()
	got, _, err := readAll(t, s, syncd.ReadRequest{Split: syncd.Split{Collection: syncd.Collection{Name: collection}}})
	out := []string{}
	for _, d := range got {
		out = append(out, d.ID+d.Err)
	}
	return out, err
}

// TestCollectionsAreFoundByTheirNames: as mongodump writes them, and as people do.
func TestCollectionsAreFoundByTheirNames(t *testing.T) {
	one, line := string(docs(t, "x")), `{"_id":"x"}`+"\n"
	cut := dumpedName(longName)
	for name, c := range map[string]struct {
		files      map[string]string
		collection string
		listed     string // "" is the collection
		err        string
	}{
		"plain":                   {files: map[string]string{"page.bson": one}, collection: "page"},
		"escaped":                 {files: map[string]string{"caf%C3%A9s.bson": one}, collection: "cafés"},
		"not escaped":             {files: map[string]string{"cafés.bson": one}, collection: "cafés"},
		"in lower case":           {files: map[string]string{"caf%c3%a9s.bson": one}, collection: "cafés"},
		"more than needed":        {files: map[string]string{"%70age.bson": one}, collection: "page"},
		"blank":                   {files: map[string]string{"a+b.bson": one}, collection: "a b"},
		"blank of others":         {files: map[string]string{"a%20b.bson": one}, collection: "a b"},
		"plus":                    {files: map[string]string{"a%2Bb.bson": one}, collection: "a+b"},
		"plus for a blank":        {files: map[string]string{"a+b.bson": one}, collection: "a+b", listed: "a b", err: "collection not found"},
		"blank beside plus":       {files: map[string]string{"a+b.bson": string(docs(t, "wrong")), "a%2Bb.bson": one}, collection: "a+b", listed: "a b,a+b"},
		"slash":                   {files: map[string]string{"a%2Fb.bson": one}, collection: "a/b"},
		"percent":                 {files: map[string]string{"100%25.bson": one}, collection: "100%"},
		"percent, not escaped":    {files: map[string]string{"100%.bson": one}, collection: "100%"},
		"twice escaped":           {files: map[string]string{"a%252Bb.bson": one}, collection: "a%2Bb"},
		"lines, plus":             {files: map[string]string{"a+b.ndjson": line}, collection: "a+b"},
		"lines, plus for a blank": {files: map[string]string{"a+b.ndjson": line}, collection: "a b", listed: "a+b", err: "collection not found"},
		"lines, escaped":          {files: map[string]string{"caf%C3%A9s.json": line}, collection: "cafés"},
		"lines, by its own name":  {files: map[string]string{"caf%C3%A9s.json": line}, collection: "caf%C3%A9s", listed: "cafés"},
		"two of one name":         {files: map[string]string{"caf%C3%A9s.bson": one, "cafés.bson": one}, collection: "cafés", err: "more than one file"},
		"gzip":                    {files: map[string]string{"caf%C3%A9s.bson.gz": string(zipped(t, []byte(one)))}, collection: "cafés"},
		"zstd":                    {files: map[string]string{"page.jsonl.zst": string(zstandard(t, []byte(line)))}, collection: "page"},
		"unpacked beside packed":  {files: map[string]string{"page.bson": one, "page.bson.gz": "left"}, collection: "page"},
		"packed in two ways":      {files: map[string]string{"page.bson.zst": "", "page.bson.gz": ""}, collection: "page", err: "more than one file"},
		"cut":                     {files: map[string]string{cut + ".bson": one, cut + ".metadata.json": `{"collectionName":"` + longName + `"}`}, collection: longName},
		"cut, with gzip": {files: map[string]string{
			cut + ".bson.gz":          string(zipped(t, []byte(one))),
			cut + ".metadata.json.gz": string(zipped(t, []byte(`{"indexes":[],"collectionName":"`+longName+`"}`))),
		}, collection: longName},
		"cut, without metadata": {files: map[string]string{cut + ".bson": one}, collection: longName, listed: "-"},
		"cut, another digest": {files: map[string]string{
			longFile + "someMadeUpInvalidHashString.bson": one, longFile + "someMadeUpInvalidHashString.metadata.json": `{"collectionName":"` + longName + `"}`,
		}, collection: longName},
		"cut, of another": {files: map[string]string{
			longFile + "someMadeUpInvalidHashString.bson": one, longFile + "someMadeUpInvalidHashString.metadata.json": `{"collectionName":"another"}`,
		}, collection: longName, listed: "another", err: "collection not found"},
		"named system": {files: map[string]string{"system.js.bson": one}, collection: "system.js", listed: "-"},
		"named oplog":  {files: map[string]string{"oplog.bson": one}, collection: "oplog", listed: "-"},
		"metadata of another tool": {
			files: map[string]string{"page.bson": one, "page.metadata.json": "not JSON"}, collection: "page",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, c.files)
			s, err := opened(t, dir, "files")
			if err != nil {
				t.Fatal(err)
			}
			got, err := ids(t, s, c.collection)
			switch {
			case c.err == "" && (err != nil || len(got) != 1 || got[0] != "x"):
				t.Errorf("%q, %v", got, err)
			case c.err == "collection not found": // which for Read is one without documents
				_, err = s.Abilities().Count(t.Context(), syncd.Collection{Name: c.collection})
				if !errors.Is(err, syncd.ErrCollectionNotFound) {
					t.Error(err)
				}
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("%q, %v; want %q", got, err, c.err)
			}
			names, err := s.Abilities().Collections(t.Context())
			if want := strings.TrimPrefix(strings.ReplaceAll(c.listed, "", ""), "-"); err != nil || c.listed != "" && strings.Join(names, ",") != want ||
				c.listed == "" && strings.Join(names, ",") != c.collection {
				t.Errorf("listed: %q, %v", names, err)
			}
		})
	}
}

// TestTheDatabasesFolderIsFound in what mongodump wrote, and nothing else is taken for one.
func TestTheDatabasesFolderIsFound(t *testing.T) {
	one, other := string(docs(t, "x")), string(docs(t, "wrong"))
	dump := map[string]string{
		"prelude.json": "{}", "oplog.bson": other, "shop/page.bson": one, "shop/page.metadata.json": "{}", "shop/prelude.json": "{}", "shop/$admin.system.users.bson": other,
		"store/page.bson": other, "admin/system.version.bson": other, "config/": "",
	}
	delete(dump, "config/")
	for name, c := range map[string]struct {
		files          map[string]string
		database, path string
		want, err      string
	}{
		"the database's":           {files: dump, database: "shop", want: "x"},
		"the folder itself":        {files: dump, database: "whatever", path: "shop", want: "x"},
		"another database":         {files: dump, database: "shpo", err: "holds no collections, but its folders do: shop, store"},
		"no database":              {files: dump, database: "files", err: "holds no collections, but its folders do: shop, store"},
		"the server's own":         {files: dump, database: "admin"},
		"a time series alone":      {files: map[string]string{"shop/system.buckets.temps.bson": one, "shop/temps.metadata.json": "{}", "store/page.bson": other}, database: "shop"},
		"a view alone":             {files: map[string]string{"shop/seen.metadata.json.gz": "", "store/page.bson": other}, database: "shop"},
		"no dump of that name":     {files: map[string]string{"files/readme.txt": "", "shop/page.bson": one}, database: "files", err: "its folders do: shop"},
		"beside an archive":        {files: map[string]string{"shop/page.bson": one, "dump.archive": string(archiveMagic)}, database: "shop", want: "x"},
		"other than an archive":    {files: map[string]string{"shop/page.bson": one, "dump.archive": string(archiveMagic)}, database: "store", err: "its folders do: shop"},
		"compressed":               {files: map[string]string{"shop/page.bson.gz": string(zipped(t, []byte(one)))}, database: "shop", want: "x"},
		"lines":                    {files: map[string]string{"shop/page.ndjson": `{"_id":"x"}`}, database: "shop", want: "x"},
		"collections at the top":   {files: map[string]string{"page.bson": one, "shop/page.bson": other}, database: "shop", want: "x"},
		"a folder of other things": {files: map[string]string{"notes/readme.txt": ""}, database: "shop"},
		"an empty folder":          {database: "shop"},
		"a folder named like it":   {files: map[string]string{"page.bson": one, "files/readme.txt": ""}, database: "files", want: "x"},
		"lines of a prelude":       {files: map[string]string{"page.bson": one, "prelude.json": "{}"}, database: "files", want: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, c.files)
			s, err := opened(t, filepath.Join(dir, c.path), c.database)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(syncd.HintOf(err), "source.file.database") {
					t.Errorf("%v, hint %q; want %q", err, syncd.HintOf(err), c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, err := ids(t, s, "page"); err != nil || strings.Join(got, ",") != c.want {
				t.Errorf("%q, %v", got, err)
			}
			names, err := s.Abilities().Collections(t.Context())
			if want := map[bool]string{true: "", false: "page"}[c.want == ""]; err != nil || strings.Join(names, ",") != want {
				t.Errorf("listed: %q, %v", names, err)
			}
		})
	}
}

// TestWhatADumpHasNoDocumentsOf is refused by name, with what to do; as a collection that is not there it would look as if all had
// been deleted.
func TestWhatADumpHasNoDocumentsOf(t *testing.T) {
	one := string(docs(t, "x"))
	archive := string(archiveMagic) + one
	const series, export = "is a time series", "mongoexport"
	for name, c := range map[string]struct {
		files      map[string]string
		collection string
		err, hint  string
	}{
		"buckets":               {map[string]string{"system.buckets.temps.bson": one, "temps.metadata.json": `{"type":"timeseries"}`}, "temps", series, export},
		"buckets, by their own": {map[string]string{"system.buckets.temps.bson": one}, "system.buckets.temps", series, export},
		"buckets, compressed":   {map[string]string{"system.buckets.temps.bson.gz": string(zipped(t, []byte(one)))}, "temps", series, export},
		"buckets, escaped":      {map[string]string{"system.buckets.caf%C3%A9s.bson": one}, "cafés", series, export},
		"of server 8.3":         {map[string]string{"temps.bson": one, "temps.metadata.json": `{"type":"timeseries"}`}, "temps", series, export},
		"of server 8.3, gzip": {map[string]string{
			"temps.bson.gz": string(zipped(t, []byte(one))), "temps.metadata.json.gz": string(zipped(t, []byte(`{"type":"timeseries"}`))),
		}, "temps", series, export},
		"a view":               {map[string]string{"seen.metadata.json": `{"type":"view"}`}, "seen", "only the metadata", "--viewsAsCollections"},
		"an interrupted dump":  {map[string]string{"page.metadata.json": `{"type":"collection"}`}, "page", "only the metadata", "dump it again"},
		"an archive":           {map[string]string{"page.bson": archive}, "page", "page.bson is an archive of mongodump", "without --archive"},
		"an archive, gzip":     {map[string]string{"page.bson.gz": string(zipped(t, []byte(archive)))}, "page", "is an archive of mongodump", "without --archive"},
		"an archive as lines":  {map[string]string{"page.json": archive}, "page", "is an archive of mongodump", "without --archive"},
		"gzip without a name":  {map[string]string{"page.bson": string(zipped(t, []byte(one)))}, "page", "page.bson is compressed", "page.bson.gz"},
		"gzip of much":         {map[string]string{"page.bson": string(zipped(t, noise(1<<20)))}, "page", "page.bson is compressed", "page.bson.gz"},
		"zstd without a name":  {map[string]string{"page.bson": string(zstandard(t, []byte(one)))}, "page", "page.bson is compressed", "page.bson.zst"},
		"gzip as lines":        {map[string]string{"page.ndjson": string(zipped(t, []byte(one)))}, "page", "page.ndjson is compressed", "page.ndjson.gz"},
		"gzip twice":           {map[string]string{"page.bson.gz": string(zipped(t, zipped(t, []byte(one))))}, "page", "is compressed", "page.bson.gz.gz"},
		"only named gzip":      {map[string]string{"page.bson.gz": one}, "page", "not compressed as .gz says", "by what it is"},
		"only named zstd":      {map[string]string{"page.bson.zst": one}, "page", "not compressed as .zst says", "by what it is"},
		"nothing, named gzip":  {map[string]string{"page.bson.gz": ""}, "page", "the compressed file is cut off", ""},
		"nothing, named zstd":  {map[string]string{"page.bson.zst": ""}, "page", "the compressed file is cut off", ""},
		"a time series' lines": {map[string]string{"temps.ndjson": `{"_id":"x"}`, "temps.metadata.json": `{"type":"timeseries"}`}, "temps", "", ""},
		"a collection":         {map[string]string{"page.bson": one, "page.metadata.json": `{"type":"collection"}`}, "page", "", ""},
		"a view, as asked for": {map[string]string{"seen.bson": one, "seen.metadata.json": `{"type":"view"}`}, "seen", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, c.files)
			s, err := opened(t, dir, "files")
			if err != nil {
				t.Fatal(err)
			}
			got, err := ids(t, s, c.collection)
			if c.err == "" {
				if err != nil || strings.Join(got, ",") != "x" {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			if err == nil || len(got) > 0 || !strings.Contains(err.Error(), c.err) || !strings.Contains(syncd.HintOf(err), c.hint) {
				t.Errorf("%q, %v, hint %q; want %q and %q", got, err, syncd.HintOf(err), c.err, c.hint)
			}
			if errors.Is(err, syncd.ErrCollectionNotFound) {
				t.Error("it is taken for a collection that is not there")
			}
		})
	}
	for name, files := range map[string]map[string]string{
		"as a folder": {"dump.archive": archive}, "as a folder, gzip": {"dump.archive.gz": string(zipped(t, []byte(archive)))},
	} {
		dir := t.TempDir()
		fill(t, dir, files)
		if _, err := opened(t, dir, "files"); err == nil || !strings.Contains(err.Error(), "is an archive of mongodump") {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	fill(t, dir, map[string]string{"dump.archive": archive, "x/old.archive": "an archive of something else"})
	if _, err := opened(t, filepath.Join(dir, "dump.archive"), "files"); err == nil || !strings.Contains(err.Error(), "is an archive of mongodump") {
		t.Errorf("as the path: %v", err)
	}
	if _, err := opened(t, filepath.Join(dir, "x"), "files"); err != nil {
		t.Errorf("of something else: %v", err)
	}
	fill(t, dir, map[string]string{"page.bson": one})
	if _, err := opened(t, dir, "files"); err != nil {
		t.Errorf("beside a collection: %v", err)
	}
}

// noise is what does not get smaller when it is compressed.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestPackedConformance: what is compressed is read as any other collection.
func TestPackedConformance(t *testing.T) {
	for name, pack := range map[string]func(testing.TB, []byte) []byte{".bson.gz": zipped, ".ndjson.zst": zstandard} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			syncdtest.TestSource(t, syncdtest.SourceHarness{
				Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
					var b []byte
					for _, d := range docs {
						doc := marshal(t, d.Map())
						if strings.HasPrefix(name, ".ndjson") {
							line, err := bson.MarshalExtJSON(bson.Raw(doc), false, false)
							if err != nil {
								t.Fatal(err)
							}
							doc = append(line, '\n')
						}
						b = append(b, doc...)
					}
					write(t, dir, collection+name, pack(t, b))
					return openDir(t, dir)
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

// TestPackedFilesAreResumed from any document, by reading what stands before it, and fetched from.
func TestPackedFilesAreResumed(t *testing.T) {
	for name, file := range map[string]func(ids []string) []byte{
		"c.bson.gz":     func(ids []string) []byte { return zipped(t, docs(t, ids...)) },
		"c.bson.zst":    func(ids []string) []byte { return zstandard(t, docs(t, ids...)) },
		"c.ndjson.gz":   func(ids []string) []byte { return zipped(t, lines(ids)) },
		"c.jsonl.zst":   func(ids []string) []byte { return zstandard(t, lines(ids)) },
		"c.json.gz":     func(ids []string) []byte { return append(zipped(t, lines(ids[:3])), zipped(t, lines(ids[3:]))...) }, // as cat joins them
		"c.bson.gz.bak": nil,
	} {
		if file == nil {
			continue
		}
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprintf("%05d", i))
		}
		dir := t.TempDir()
		write(t, dir, name, file(want))
		s := openDir(t, dir)
		got, changes, err := readAll(t, s, syncd.ReadRequest{BatchBytes: 1 << 20})
		if err != nil || len(got) != len(want) {
			t.Fatal(name, len(got), err)
		}
		var keys []syncd.Key
		for i, c := range changes {
			if c.ID != want[i] || c.Document == nil { // without it, everything in front would be read again to fetch it
				t.Errorf("%s: document %d is %q", name, i, c.ID)
			}
			keys = append(keys, c.Key)
			rest, _, err := readAll(t, s, syncd.ReadRequest{After: syncd.Offset(c.Key)})
			if err != nil || len(rest) != len(want)-i-1 || len(rest) > 0 && rest[0].ID != want[i+1] {
				t.Errorf("%s: behind document %d: %d documents, %v", name, i, len(rest), err)
			}
		}
		rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i]; want[i], want[j] = want[j], want[i] })
		n := 0
		for f, err := range s.Fetch(t.Context(), syncd.Collection{Name: "c"}, keys) {
			if err != nil {
				t.Fatal(name, err)
			}
			if id, err := f.Document.Lookup("_id"); err != nil || id.Text != want[f.Index] {
				t.Errorf("%s: key of %s: %v, %v", name, want[f.Index], id, err)
			}
			n++
		}
		if n != len(keys) {
			t.Errorf("%s: %d documents fetched", name, n)
		}
		if n, err := s.Abilities().Count(t.Context(), syncd.Collection{Name: "c"}); err != nil || int(n) != len(want) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func lines(ids []string) []byte {
	var b []byte
	for _, id := range ids {
		b = fmt.Appendf(b, "{\"_id\":%q}\n", id)
	}
	return b
}

// TestDamagedPackedFiles end the read with what is wrong, behind what could be read; never as if that were all.
func TestDamagedPackedFiles(t *testing.T) {
	var all []string
	for i := range 2000 {
		all = append(all, fmt.Sprintf("%05d", i))
	}
	for name, packed := range map[string][]byte{
		"c.bson.gz": zipped(t, docs(t, all...)), "c.ndjson.gz": zipped(t, lines(all)), "c.bson.zst": zstandard(t, docs(t, all...)), "c.ndjson.zst": zstandard(t, lines(all)),
	} {
		flipped := bytes.Clone(packed)
		flipped[len(flipped)/2] ^= 0x10
		for what, b := range map[string][]byte{
			"cut in the middle": packed[:len(packed)/2], "without its checksum": packed[:len(packed)-2], "one bit": flipped, "something behind": append(bytes.Clone(packed), "junk"...),
		} {
			dir := t.TempDir()
			write(t, dir, name, b)
			s := openDir(t, dir)
			got, _, err := readAll(t, s, syncd.ReadRequest{BatchSize: 100})
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: %d documents, %v", name, what, len(got), err)
			}
			if n, err := s.Abilities().Count(t.Context(), syncd.Collection{Name: "c"}); err == nil {
				t.Errorf("%s, %s: %d documents are counted", name, what, n)
			}
		}
	}
}

// TestPackedFilesAreToldOfOnce and not for each batch.
func TestPackedFilesAreToldOfOnce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "c.bson.gz", zipped(t, docs(t, "a", "b", "c")))
	write(t, dir, "d.bson.gz", zipped(t, docs(t, "a")))
	write(t, dir, "e.bson", docs(t, "a"))
	var log bytes.Buffer
	cfg := Plugin().Config().(*Config)
	cfg.Path = dir
	s, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ids(t, s, "e"); err != nil || log.Len() > 0 {
		t.Error(log.String(), err)
	}
	for _, c := range []string{"c", "d", "c"} {
		if _, err := ids(t, s, c); err != nil {
			t.Error(err)
		}
	}
	if n := strings.Count(log.String(), "compressed files are read from their beginning"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &log)
	}
}

// TestAStopEndsTheWayToAPosition in a compressed file, which may be long.
func TestAStopEndsTheWayToAPosition(t *testing.T) {
	stop := errors.New("stop")
	dir := t.TempDir()
	path := filepath.Join(dir, "c.ndjson.gz")
	write(t, dir, "c.ndjson.gz", zipped(t, bytes.Repeat([]byte("\n"), 32<<20)))
	u, err := packings[1].open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	n := 0
	stopped := func() error {
		if n++; n > 3 {
			return stop
		}
		return nil
	}
	s := newPackedStream(path, u, 1, stopped)
	started := time.Now()
	if err := s.seek(position{16 << 20, 1}); !errors.Is(err, stop) {
		t.Error(err)
	}
	if time.Since(started) > 5*time.Second {
		t.Error("it went on")
	}
}

// TestPackedFilesAreReadOnceByACall, however many documents it fetches and however far they are from each other.
func TestPackedFilesAreReadOnceByACall(t *testing.T) {
	dir := t.TempDir()
	var all []string
	for i := range 20_000 {
		all = append(all, fmt.Sprintf("%05d", i))
	}
	write(t, dir, "c.bson.gz", zipped(t, docs(t, all...)))
	s := openDir(t, dir)
	_, changes, err := readAll(t, s, syncd.ReadRequest{BatchSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	keys := []syncd.Key{changes[19_999].Key, changes[3].Key, changes[15_000].Key}
	n := 0
	for f, err := range s.Fetch(t.Context(), syncd.Collection{Name: "c"}, keys) {
		if err != nil || f.Document == nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d documents", n)
	}
}

// TestProbeShowsTheFolder that was found, and what is wrong with a collection.
func TestProbeShowsTheFolder(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, map[string]string{"shop/page.bson.gz": string(zipped(t, docs(t, "x"))), "shop/system.buckets.temps.bson": string(docs(t, "x"))})
	s, err := opened(t, dir, "shop")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range s.Abilities().Probe(t.Context(), []syncd.ProbeTarget{{Target: syncd.Target{Collection: "page"}}, {Target: syncd.Target{Collection: "temps"}}}) {
		got = append(got, fmt.Sprintf("%s: %v: %s", f.Subject, f.Status, strings.ReplaceAll(f.Detail, dir, "dump")))
	}
	want := []string{
		"folder: ok: 1 collection in dump/shop", fmt.Sprintf("collection page: ok: page.bson.gz, %d bytes", len(zipped(t, docs(t, "x")))),
		`collection temps: failed: collection "temps" is a time series, of which mongodump writes buckets (dump/shop/system.buckets.temps.bson) and not the documents`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
