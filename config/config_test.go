package config_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

type sourceConfig struct {
	URI       spec.Secret `yaml:"uri" env:"MONGODB_URI" rule:"required" doc:"Where."`
	Database  string      `yaml:"database" rule:"required" doc:"Which."`
	BatchSize int         `yaml:"batch_size" rule:"min=1" doc:"How many."`
}

func (c *sourceConfig) DatabaseName() string { return c.Database }

func (c *sourceConfig) CheckFilter(filter string) error {
	switch {
	case !strings.HasPrefix(filter, "{"):
		return errors.New("no query")
	case strings.Contains(filter, "$bad"):
		return fmt.Errorf("unknown operator $bad")
	}
	return nil
}

type checkerConfig struct {
	URL       string `yaml:"url" env:"QDRANT_URL" doc:"Where."`
	BatchSize int    `yaml:"batch_size" env:"QDRANT_CHECK_BATCH_SIZE" rule:"min=1" doc:"How many."`
}

type sinkConfig struct {
	Topic      string            `yaml:"topic" doc:"Topic."`
	Format     string            `yaml:"format" rule:"oneof=value envelope" doc:"Format."`
	Subject    string            `yaml:"subject" deprecated:"use topic" doc:"Topic, once."`
	Properties map[string]string `yaml:"properties" doc:"More."`
	Event      codec.Config      `yaml:"event" doc:"Events."`
}

func (c *sinkConfig) Preview(change *syncd.Change) (key, value []byte, err error) {
	return c.Event.Encoder().Preview(change)
}

func (c *sinkConfig) CheckTarget(t syncd.Target) error {
	topic := t.Topic
	if topic == "" {
		topic = strings.ReplaceAll(c.Topic, "{collection}", t.Collection)
	}
	if strings.Contains(topic, " ") {
		return fmt.Errorf("%q can't be a topic", topic)
	}
	return nil
}

func registry(t *testing.T) *syncd.Registry {
	t.Helper()
	return registryOf(t)
}

func registryOf(t testing.TB) *syncd.Registry {
	t.Helper()
	r, err := syncd.NewRegistry(
		syncd.NewSource("mongo", "A source.", sourceConfig{BatchSize: 1000}, func(context.Context, sourceConfig, syncd.Env) (syncd.Source, error) {
			panic("loading a configuration must not open anything")
		}),
		syncd.NewChecker("qdrant", "A checker.", checkerConfig{BatchSize: 1000}, func(context.Context, checkerConfig, syncd.Env) (syncd.Checker, error) {
			panic("loading a configuration must not open anything")
		}),
		syncd.NewSink("kafka", "A sink.", sinkConfig{Format: "value", Event: codec.Defaults()}, func(context.Context, sinkConfig, syncd.Env) (syncd.Sink, error) {
			panic("loading a configuration must not open anything")
		}),
		syncd.NewSink("file", "Another sink.", sinkConfig{Format: "value", Event: codec.Defaults()}, func(context.Context, sinkConfig, syncd.Env) (syncd.Sink, error) {
			panic("loading a configuration must not open anything")
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// plugins is what a configuration must say beside its collections.
const plugins = `source: {mongo: {uri: "mongodb://h", database: db}}
checker: {qdrant: {url: h}}
sink: {kafka: {topic: t}}
`

const minimal = plugins + "mapping: {collections: {page: page, epic: epic}}\n"

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t *testing.T, text string, environ ...string) (*config.Config, spec.Diagnostics) {
	t.Helper()
	dir := write(t, map[string]string{"c.yaml": text})
	return config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Environ: environ, Registry: registry(t)})
}

func TestMinimal(t *testing.T) {
	c, diags := load(t, minimal)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if c.Run.Mode != config.Incremental || c.Run.BatchSize != 1000 || c.Run.Sleep != 0 || c.Run.OnCheckUnavailable != config.OutageFull ||
		c.Errors.Tolerance != config.TolerateAll || len(c.Mapping.Rules) != 2 {
		t.Errorf("defaults: %+v, %d rules", c.Run, len(c.Mapping.Rules))
	}
	s := c.Source.Settings.(*sourceConfig)
	if s.URI.Reveal() != "mongodb://h" || s.BatchSize != 1000 || c.Source.Name() != "mongo" {
		t.Errorf("source: %+v", s)
	}
	if c.Mapping.Rules[0].Database != "db" {
		t.Errorf("the rules' database is %q", c.Mapping.Rules[0].Database)
	}
}

// TestBadFiles loads each testdata/*.bad.yaml, whose comments "# want LINE:COL CODE" say what must be reported, in that file
// unless another is named in front, no more and no less. A warning says so behind its code. All are in a repository's index.
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	names := copyTo(t, dir, "testdata/*.yaml")
	writeIndex(t, dir, names...)
	want := regexp.MustCompile(`(?m)^# want (.+)$`)
	n := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".bad.yaml") {
			continue
		}
		n++
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			var wanted []string
			for _, m := range want.FindAllStringSubmatch(string(data), -1) {
				wanted = append(wanted, m[1])
			}
			_, diags := config.Load(config.Input{Path: filepath.Join(dir, name), Registry: registry(t)})
			var got []string
			for _, d := range diags {
				line := fmt.Sprintf("%d:%d %s", d.Pos.Line, d.Pos.Column, d.Code)
				if source := filepath.Base(d.Pos.Source); source != name {
					line = source + ":" + line
				}
				if d.Severity == spec.Warning {
					line += " warning"
				}
				got = append(got, line)
				checkDiagnostic(t, d)
			}
			if strings.Join(got, "\n") != strings.Join(wanted, "\n") {
				t.Errorf("got\n%s\nwant\n%s", diags.Error(), strings.Join(wanted, "\n"))
			}
			if name == "twelve.bad.yaml" && len(diags) != 12 {
				t.Errorf("twelve mistakes, but %d reports", len(diags))
			}
		})
	}
	if n < 45 {
		t.Errorf("only %d files", n)
	}
}

// checkDiagnostic checks what every diagnostic must be.
func checkDiagnostic(t *testing.T, d spec.Diagnostic) {
	t.Helper()
	known := slices.ContainsFunc(spec.Codes(), func(c spec.CodeInfo) bool { return c.Code == d.Code })
	if !known || d.Message == "" || d.Severity != spec.Error && d.Severity != spec.Warning {
		t.Errorf("incomplete: %#v", d)
	}
	if d.Pos.Line > 0 && (d.Excerpt.Column < 1 || d.Excerpt.Column > len(d.Excerpt.Text)+1) {
		t.Errorf("%s: column %d is outside of its line %q", d, d.Excerpt.Column, d.Excerpt.Text)
	}
	if m := goName.FindString(d.Message + " " + d.Hint); m != "" {
		t.Errorf("%q is a name of the program's insides: %s", m, d)
	}
}

// goName finds types, packages and phrases that only a programmer of Go knows.
var goName = regexp.MustCompile(`\b(u?int(8|16|32|64)|float(32|64)|bool|struct|nil|rune|interface|reflect|strconv|unmarshal\w*|koanf|validator|yaml\.\w+)\b|` +
	`\bmap\[|\[\](string|int|byte|any)|\*[a-z]+\.[A-Z]|\b(spec|config|mapping|syncd|bson|url|uuid|time|json|os|io|fs|errors)\.[A-Z]\w+|%!|<nil>|0x[0-9a-f]{6,}`)

func copyTo(t *testing.T, dir, pattern string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(file))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// writeIndex makes dir a repository that tracks the names, as far as is looked at: an index of version 2.
func writeIndex(t *testing.T, dir string, names ...string) {
	t.Helper()
	index := binary.BigEndian.AppendUint32([]byte("DIRC\x00\x00\x00\x02"), uint32(len(names)))
	for _, name := range names {
		entry := append(make([]byte, 60), byte(len(name)>>8), byte(len(name)))
		entry = append(entry, name...)
		index = append(index, append(entry, make([]byte, 8-len(entry)%8)...)...)
	}
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".git", "index"), index, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExtends(t *testing.T) {
	dir := write(t, map[string]string{
		"base.yaml":  plugins + "mapping: {collections: {page: page, epic: epic}}\nrun: {batch_size: 10, sleep: 1}\n",
		"env.yaml":   "extends: base.yaml\nmapping: {collections: {ninth: nine}}\nrun: {sleep: 250ms}\n",
		"other.yaml": "extends: [env.yaml]\nsink: {file: {topic: x}}\n",
		"bad.yaml":   "extends: env.yaml\nrun: {batch_size: none}\n",
	})
	in := config.Input{Path: filepath.Join(dir, "other.yaml"), Registry: registry(t)}
	c, diags := config.Load(in)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if c.Run.BatchSize != 10 || c.Run.Sleep != 250*time.Millisecond {
		t.Errorf("run: %+v", c.Run)
	}
	if c.Sink.Name() != "file" {
		t.Errorf("an overlay that names another sink got %s", c.Sink.Name())
	}
	var names []string
	for _, r := range c.Mapping.Rules {
		names = append(names, r.Collection.Name)
	}
	if got := strings.Join(names, " "); got != "page epic ninth" {
		t.Errorf("collections %s", got)
	}
	if len(c.Files) != 3 {
		t.Errorf("files %v", c.Files)
	}
	in.Path = filepath.Join(dir, "bad.yaml")
	_, diags = config.Load(in)
	if len(diags) != 1 || diags[0].Pos.Source != in.Path || diags[0].Pos.Line != 2 || diags[0].Pos.Column != 19 {
		t.Errorf("a bad value of an overlay: %v", diags)
	}
}

func TestExtendsErrors(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml":    "extends: b.yaml\n" + minimal,
		"b.yaml":    "extends: a.yaml\n",
		"gone.yaml": "extends: prodd.yaml\n" + minimal,
		"prod.yaml": minimal,
	})
	for file, code := range map[string]spec.Code{"a.yaml": spec.CodeExtendsCycle, "gone.yaml": spec.CodeMissingFile, "nope.yaml": spec.CodeMissingFile} {
		_, diags := config.Load(config.Input{Path: filepath.Join(dir, file), Registry: registry(t)})
		if len(diags) != 1 || diags[0].Code != code {
			t.Errorf("%s: %v", file, diags)
		}
	}
	_, diags := config.Load(config.Input{Path: filepath.Join(dir, "gone.yaml"), Registry: registry(t)})
	if h := diags[0].Hint; !strings.Contains(h, "prod.yaml") {
		t.Errorf("hint %q", h)
	}
}

func TestPrecedence(t *testing.T) {
	text := minimal + "run: {batch_size: 1, sleep: 1, collections: [page]}\n"
	dir := write(t, map[string]string{"c.yaml": text})
	c, diags := config.Load(config.Input{
		Path:     filepath.Join(dir, "c.yaml"),
		Registry: registry(t),
		Environ: []string{
			"BACKFILL_BATCH_SIZE=2", "SYNCD_RUN__SLEEP=2", "BACKFILL_SLEEP=", "INCREMENTAL_BACKFILL=false",
			"BACKFILL_COLLECTIONS=epic, page", "MONGODB_URI=mongodb://env", "QDRANT_CHECK_BATCH_SIZE=7",
		},
		Overrides: []config.Override{{Flag: "--batch-size", Path: []string{"run", "batch_size"}, Value: "3"}},
	})
	if paths := beaten(diags); !slices.Equal(paths, []string{"run.collections", "source.mongo.uri", "run.sleep"}) {
		t.Fatal(diags)
	}
	if c.Run.BatchSize != 3 || c.Run.Sleep != 2*time.Second || c.Run.Mode != config.Full || len(c.Mapping.Rules) != 2 {
		t.Errorf("run: %+v, %d rules", c.Run, len(c.Mapping.Rules))
	}
	if u := c.Source.Settings.(*sourceConfig).URI.Reveal(); u != "mongodb://env" {
		t.Errorf("uri %q", u)
	}
	if n := c.Checker.Settings.(*checkerConfig).BatchSize; n != 7 {
		t.Errorf("check batch size %d", n)
	}
}

func TestBadEnvironmentAndFlagsAreNamed(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": minimal})
	_, diags := config.Load(config.Input{
		Path: filepath.Join(dir, "c.yaml"), Registry: registry(t),
		Environ:   []string{"INCREMENTAL_BACKFILL=maybe", "SYNCD_RUN__BATCHSIZE=1", "SYNCD_BATCH_SIZE=1", "SYNCD_TEST_X=1"},
		Overrides: []config.Override{{Flag: "--sleep", Path: []string{"run", "sleep"}, Value: "long"}},
	})
	var got []string
	for _, d := range diags {
		got = append(got, fmt.Sprintf("%s %s %s", d.Pos, d.Severity, d.Code))
	}
	want := []string{
		"environment variable INCREMENTAL_BACKFILL error not-one-of",
		"environment variable SYNCD_BATCH_SIZE warning unknown-field",
		"environment variable SYNCD_RUN__BATCHSIZE error unknown-field",
		"flag --sleep error wrong-type",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

func TestInterpolation(t *testing.T) {
	text := `source: {mongo: {uri: "${URI}", database: "a-${DB:-x}-$${DB}"}}
checker: {qdrant: {batch_size: "${N:-5}"}}
sink: {kafka: {topic: "${EMPTY}"}}
mapping: {collections: {page: page}}
run:
  batch_size: ${N:-5}
`
	c, diags := load(t, text, "URI=mongodb://u", "EMPTY=", "DB=", "N=42")
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	s := c.Source.Settings.(*sourceConfig)
	if s.URI.Reveal() != "mongodb://u" || s.Database != "a-x-${DB}" || c.Run.BatchSize != 42 ||
		c.Checker.Settings.(*checkerConfig).BatchSize != 42 || c.Sink.Settings.(*sinkConfig).Topic != "" {
		t.Errorf("%+v %+v", s, c.Run)
	}
	// A value can't change the structure of the file, and a secret in it shows in no message.
	_, diags = load(t, text, "URI=x\nsink: {}", "EMPTY=", "N=hunter2")
	for _, d := range diags {
		if strings.Contains(d.String(), "hunter2") {
			t.Errorf("the value of a variable shows: %s", d)
		}
	}
	if len(diags) != 2 {
		t.Errorf("two numbers are wrong: %v", diags)
	}
	_, diags = load(t, strings.Replace(text, `"${N:-5}"`, `"5"`, 1), "URI=x", "EMPTY=")
	if len(diags) != 1 || diags[0].Code != spec.CodeWrongType || diags[0].Pos.Line != 2 {
		t.Errorf("a quoted number is text: %v", diags)
	}
}

func TestFilters(t *testing.T) {
	c, diags := load(t, plugins+`mapping:
  collections:
    page: {content_type: page, filter: '{"a": {"$gt": 1}}'}
    epic:
      content_type: epic
      filter: {status: {$in: [open, 1, 2.5, true, null]}, "a.b": {$date: "2024-01-01T00:00:00Z"}}
`)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if f := c.Mapping.Rules[0].Collection.Filter; f != `{"a": {"$gt": 1}}` {
		t.Errorf("text filter %s", f)
	}
	want := `{"status":{"$in":["open",1,2.5,true,null]},"a.b":{"$date":"2024-01-01T00:00:00Z"}}`
	if f := c.Mapping.Rules[1].Collection.Filter; f != want {
		t.Errorf("YAML filter %s", f)
	}
}

// TestDatesInFilters: a YAML date is a date, where a value is due; text in quotes is text.
func TestDatesInFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"{at: {$gte: 2024-01-10}}":                             `{"at":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}}`,
		"{at: 2024-01-10}":                                     `{"at":{"$date":"2024-01-10T00:00:00.000Z"}}`,
		"{at: {$gte: 2024-01-10T07:08:09Z}}":                   `{"at":{"$gte":{"$date":"2024-01-10T07:08:09.000Z"}}}`,
		"{at: {$lt: 2024-01-10T07:08:09.123+02:00}}":           `{"at":{"$lt":{"$date":"2024-01-10T05:08:09.123Z"}}}`,
		"{at: {$lt: 2024-01-10 07:08:09}}":                     `{"at":{"$lt":{"$date":"2024-01-10T07:08:09.000Z"}}}`,
		"{at: {$lt: 2024-01-10T07:08:09}}":                     `{"at":{"$lt":{"$date":"2024-01-10T07:08:09.000Z"}}}`, // which YAML takes for text
		"{at: {$lt: 2024-1-5}}":                                `{"at":{"$lt":{"$date":"2024-01-05T00:00:00.000Z"}}}`,
		"{at: {$in: [2024-01-10, 2024-01-11]}}":                `{"at":{"$in":[{"$date":"2024-01-10T00:00:00.000Z"},{"$date":"2024-01-11T00:00:00.000Z"}]}}`,
		"{at: {$gte: !!timestamp 2024-01-10}}":                 `{"at":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}}`,
		"{at: {$gte: !!timestamp \"2024-01-10\"}}":             `{"at":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}}`,
		"{at: {$gte: {$date: 2024-01-10}}}":                    `{"at":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}}`,
		"{at: {$gte: {$date: 2024-01-10T00:00:00Z}}}":          `{"at":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}}`,
		"{$and: [{at: {$gte: 2024-01-10}}, {b: 1}]}":           `{"$and":[{"at":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}},{"b":1}]}`,
		"\n        at:\n          $gte: ${SINCE}":              `{"at":{"$gte":{"$date":"2024-02-03T00:00:00.000Z"}}}`,
		"{a.b: {$not: {$gte: 2024-01-10}}}":                    `{"a.b":{"$not":{"$gte":{"$date":"2024-01-10T00:00:00.000Z"}}}}`,
		"{$expr: {$gte: [$at, 2024-01-10]}}":                   `{"$expr":{"$gte":["$at",{"$date":"2024-01-10T00:00:00.000Z"}]}}`,
		`{at: {$gte: "2024-01-10"}}`:                           `{"at":{"$gte":"2024-01-10"}}`,
		`{at: {$gte: '2024-01-10T00:00:00Z'}}`:                 `{"at":{"$gte":"2024-01-10T00:00:00Z"}}`,
		`{at: {$gte: "${SINCE}"}}`:                             `{"at":{"$gte":"2024-02-03"}}`,
		"{at: {$gte: !!str 2024-01-10}}":                       `{"at":{"$gte":"2024-01-10"}}`,
		"{at: {$regex: 2024-01-10}}":                           `{"at":{"$regex":"2024-01-10"}}`,
		"{$text: {$search: 2024-01-10}}":                       `{"$text":{"$search":"2024-01-10"}}`,
		"{phone: 2024-13-45, v: 1.2.3, n: 20240110, y: 2024-}": `{"phone":"2024-13-45","v":"1.2.3","n":20240110,"y":"2024-"}`,
		`'{"at": {"$gte": "2024-01-10"}}'`:                     `{"at": {"$gte": "2024-01-10"}}`,
	} {
		c, diags := load(t, plugins+"mapping:\n  collections:\n    page:\n      content_type: page\n      filter: "+filter+"\n", "SINCE=2024-02-03")
		if len(diags) > 0 {
			t.Errorf("%s: %v", filter, diags)
			continue
		}
		if got := c.Mapping.Rules[0].Collection.Filter; got != want {
			t.Errorf("%s is read as %s, want %s", filter, got, want)
		}
	}
	if _, diags := load(t, plugins+"mapping: {collections: {page: {content_type: page, filter: {at: !!timestamp soon}}}}\n"); len(diags) != 1 || diags[0].Code != spec.CodeBadValue {
		t.Errorf("a date that is none: %v", diags)
	}
	// Where no filter is, a date is text as it always was.
	c, diags := load(t, plugins+"mapping: {collections: {2024-01-10: 2024-01-11}}\n")
	if len(diags) > 0 || c.Mapping.Rules[0].ContentType != "2024-01-11" {
		t.Errorf("%v, %v", c, diags)
	}
}

// TestEventSection: what the sink's section says is how events are written, and previewed.
func TestEventSection(t *testing.T) {
	text := strings.Replace(minimal, "topic: t", "topic: t, event: {profile: mongo_kafka, json: simplified, key_wire: connect_json}", 1)
	c, diags := load(t, text, "SYNCD_SINK__KAFKA__EVENT__ID=none")
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	const id = "507f1f77bcf86cd799439011"
	key, value, err := c.Previewer().Preview(&syncd.Change{
		ID: id, Operation: syncd.Delete, Target: &syncd.Target{Database: "d", Collection: "c"},
	})
	if want := `"{\"_id\": \"` + id + `\"}"`; err != nil || string(key) != want {
		t.Errorf("key %s, %v; want %s", key, err, want)
	}
	want := `{"operationType": "delete", "documentKey": {"_id": "` + id + `"}, "ns": {"db": "d", "coll": "c"}}`
	if string(value) != want {
		t.Errorf("value %s; want %s", value, want)
	}
}

// TestNoPreviewer: a sink that writes no bytes has no events to show.
func TestNoPreviewer(t *testing.T) {
	c := &config.Config{Sink: config.Plugin{Settings: &checkerConfig{}}}
	if p := c.Previewer(); p != nil {
		t.Errorf("%v", p)
	}
}

// TestMovedSettings: what stood elsewhere in an earlier version is an error that says where it went, in a file, a variable
// or a flag.
func TestMovedSettings(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		environ []string
		flags   []config.Override
		want    []string
	}{
		"file": {
			text: minimal + "event:\n  profile: plain\n  id: none\nrun: {batch_size: 5, delete_format: tombstone}\n",
			want: []string{"c.yaml:5:1 move them to sink.kafka.event", "c.yaml:8:22 move it to sink.kafka.event.delete_format"},
		},
		"another sink": {
			text: strings.Replace(minimal, "kafka", "file", 1) + "event: {}\n",
			want: []string{"c.yaml:5:1 move them to sink.file.event"},
		},
		"no block": {text: minimal + "event: plain\n", want: []string{"c.yaml:5:1 move them to sink.kafka.event"}},
		"null":     {text: minimal + "event:\n", want: []string{"c.yaml:5:1 move them to sink.kafka.event"}},
		"no sink": {
			text: strings.Replace(minimal, "sink: {kafka: {topic: t}}", "event: {profile: plain}", 1),
			want: []string{"c.yaml:1:1 plugins: file, kafka", "c.yaml:3:1 move them to sink.<name>.event"},
		},
		"variables": {
			text: minimal, environ: []string{"SYNCD_EVENT__PROFILE=plain", "SYNCD_EVENT__ID=none", "SYNCD_RUN__DELETE_FORMAT=event"},
			want: []string{
				"environment variable SYNCD_EVENT__ID set SYNCD_SINK__KAFKA__EVENT__ID in its place",
				"environment variable SYNCD_EVENT__PROFILE set SYNCD_SINK__KAFKA__EVENT__PROFILE in its place",
				"environment variable SYNCD_RUN__DELETE_FORMAT set SYNCD_SINK__KAFKA__EVENT__DELETE_FORMAT in its place",
			},
		},
		"both": {
			text: minimal + "event: {json: extended}\n", environ: []string{"SYNCD_EVENT__PROFILE=mongo_kafka"},
			want: []string{
				"c.yaml:5:1 move them to sink.kafka.event",
				"environment variable SYNCD_EVENT__PROFILE set SYNCD_SINK__KAFKA__EVENT__PROFILE in its place",
			},
		},
		"flag": {
			text: minimal, flags: []config.Override{{Flag: "--profile", Path: []string{"event", "profile"}, Value: "plain"}},
			want: []string{"flag --profile move it to sink.kafka.event.profile"},
		},
	} {
		c, diags := config.Load(config.Input{
			Path: "c.yaml", Text: []byte(test.text), Environ: test.environ, Overrides: test.flags, Registry: registry(t),
		})
		var got []string
		for _, d := range diags {
			got = append(got, d.Pos.String()+" "+d.Hint)
			if d.Severity != spec.Error || d.Code != spec.CodeMoved && d.Code != spec.CodeMissingField {
				t.Errorf("%s: %v", name, d)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" || c != nil {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestName: a job is called what its configuration says, else what its file is called.
func TestName(t *testing.T) {
	long := strings.Repeat("é", 100)
	for _, c := range []struct{ path, text, environ, name, code string }{
		{path: "dir/pages-to-qdrant.yaml", name: "pages-to-qdrant"},
		{path: "a.b.yml", name: "a.b"},
		{path: ".yaml", name: ".yaml"},
		{path: "job", name: "job"},
		{path: "a.yaml", text: "name: pages (staging)\n", name: "pages (staging)"},
		{path: "a.yaml", text: "name: null\n", name: "a"},
		{path: "a.yaml", text: "name: " + long + "\n", name: long},
		{path: "a.yaml", text: "name: pages\n", environ: "SYNCD_NAME=tuesday", name: "tuesday"},
		{path: " a.yaml", text: "name: pages\n", name: "pages"},
		{path: "a.yaml", text: "name: ''\n", code: "5:7 bad-value"},
		{path: "a.yaml", text: "name: " + long + "x\n", code: "5:7 out-of-range"},
		{path: "a.yaml", text: "name: ' a'\n", code: "5:8 bad-value"},
		{path: "a.yaml", text: "name: \"a\\tb\"\n", code: "5:7 bad-value"},
		{path: "a.yaml", text: "name: \"a\\u00a0\"\n", code: "5:9 bad-value"},
		{path: "a.yaml", text: "name: 7\n", code: "5:7 wrong-type"},
		{path: " a.yaml", code: "1:1 missing-field"},
		{path: long + "x.yaml", code: "1:1 missing-field"},
	} {
		got, diags := config.Load(config.Input{
			Path: c.path, Text: []byte(minimal + c.text), Environ: []string{c.environ}, Registry: registry(t),
		})
		code := ""
		for _, d := range diags {
			if d.Code != spec.CodeBeaten {
				code += fmt.Sprintf("%d:%d %s", d.Pos.Line, d.Pos.Column, d.Code)
			}
		}
		if code != c.code || got != nil && got.Name != c.name || got == nil && c.code == "" {
			t.Errorf("%s, %s: %v, %v", c.path, c.text, got, diags)
		}
	}
	// A part of a configuration needs no name, and what extends it has its own.
	r := config.Check(config.Input{Path: " part.yaml", Text: []byte("run: {batch_size: 5}\n"), Scope: config.Base, Registry: registry(t)})
	if len(r.Diagnostics) > 0 {
		t.Error(r.Diagnostics)
	}
}

// TestNoCollections: without collections there is nothing to read, and the error shows how to add one.
func TestNoCollections(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "1:1",
		"mapping: {seed: \"{id}\"}\n":          "4:1",
		"mapping: {collections: {}}\n":         "4:11",
		"mapping:\n  collections:\n":           "5:3",
		"mapping: {collections: null}\n":       "4:11",
		"mapping: {collections: \"${X:-}\"}\n": "4:24", // of the wrong type, and says so
	} {
		_, diags := load(t, plugins+text)
		if len(diags) != 1 || fmt.Sprintf("%d:%d", diags[0].Pos.Line, diags[0].Pos.Column) != want {
			t.Errorf("%q: %v, want it at %s", text, diags, want)
			continue
		}
		if d := diags[0]; d.Code != spec.CodeMissingField && d.Code != spec.CodeWrongType || !strings.Contains(d.Hint, "workItem: work_item") {
			t.Errorf("%q: %v", text, d)
		}
	}
}
