package config_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
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
	if strings.Contains(filter, "$bad") {
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
	Properties map[string]string `yaml:"properties" doc:"More."`
}

func (c *sinkConfig) CheckTarget(t syncd.Target) error {
	if strings.Contains(t.Topic, " ") {
		return fmt.Errorf("%q can't be a topic", t.Topic)
	}
	return nil
}

func registry(t *testing.T) *syncd.Registry {
	t.Helper()
	r, err := syncd.NewRegistry(
		syncd.NewSource("mongo", "A source.", sourceConfig{BatchSize: 1000}, func(context.Context, sourceConfig, syncd.Env) (syncd.Source, error) {
			panic("loading a configuration must not open anything")
		}),
		syncd.NewChecker("qdrant", "A checker.", checkerConfig{BatchSize: 1000}, func(context.Context, checkerConfig, syncd.Env) (syncd.Checker, error) {
			panic("loading a configuration must not open anything")
		}),
		syncd.NewSink("kafka", "A sink.", sinkConfig{Format: "value"}, func(context.Context, sinkConfig, syncd.Env) (syncd.Sink, error) {
			panic("loading a configuration must not open anything")
		}),
		syncd.NewSink("file", "Another sink.", sinkConfig{Format: "value"}, func(context.Context, sinkConfig, syncd.Env) (syncd.Sink, error) {
			panic("loading a configuration must not open anything")
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const minimal = `source: {mongo: {uri: "mongodb://h", database: db}}
checker: {qdrant: {url: h}}
sink: {kafka: {topic: t}}
`

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
		c.Errors.Tolerance != config.TolerateAll || len(c.Mapping.Rules) != 8 {
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

// TestBadFiles loads each testdata/*.bad.yaml, whose comments "# want LINE:COL CODE" say what must be reported, no more and no
// less.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	want := regexp.MustCompile(`(?m)# want (\S+) (\S+)$`)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var wanted []string
			for _, m := range want.FindAllStringSubmatch(string(data), -1) {
				wanted = append(wanted, m[1]+" "+m[2])
			}
			_, diags := config.Load(config.Input{Path: file, Registry: registry(t)})
			var got []string
			for _, d := range diags {
				got = append(got, fmt.Sprintf("%d:%d %s", d.Pos.Line, d.Pos.Column, d.Code))
			}
			if strings.Join(got, "\n") != strings.Join(wanted, "\n") {
				t.Errorf("got\n%s\nwant\n%s", diags.Error(), strings.Join(wanted, "\n"))
			}
		})
	}
}

func TestExtends(t *testing.T) {
	dir := write(t, map[string]string{
		"base.yaml":  minimal + "mapping: {collections: {page: page, epic: epic}}\nrun: {batch_size: 10, sleep: 1}\n",
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
	if len(diags) > 0 {
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
		"environment variable INCREMENTAL_BACKFILL error bad-value",
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
	c, diags := load(t, minimal+`mapping:
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

func FuzzLoad(f *testing.F) {
	f.Add(minimal)
	f.Add("a: &a [*a]\nb: {<<: *a}\n\tc: ${X:-${Y}}")
	f.Add("source: {mongo: {uri: ${U}, database: !!binary aGk=}}\nmapping: {seed: \"{\", collections: {a: , b: [1]}}")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Skip(err)
		}
		lines := strings.Split(text, "\n")
		_, diags := config.Load(config.Input{Path: file, Registry: registry(t)})
		for _, d := range diags {
			if d.Pos.Line < 0 || d.Pos.Line > len(lines) || d.Pos.Column < 0 {
				t.Errorf("%s is outside of the file", d)
			}
		}
	})
}
