package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd/config"
)

const edited = `# The job of the team.
extends: base.yaml

source:   # where documents are
  mongo:
    uri: "${MONGODB_URI}"   # from the vault
    database: 'app'

# Sends to the topic.
sink:
  kafka: {topic: "t,1", format: value}
mapping:
  collections:
    page: page
    "a.b":
      content_type: c   # dotted
      filter:
        n: {$gt: 3}
        # why
        at: 2024-01-01
run:
  mode: full
  batch_size: 0x10

  collections:
    - page
    - a.b
# The end.
`

var forms = func() func(t testing.TB) *config.Forms {
	var once sync.Once
	var f *config.Forms
	return func(t testing.TB) *config.Forms {
		once.Do(func() { f = config.FormsOf(registryOf(t)) })
		return f
	}
}()

const base = "limits:\n  max_events: 5\nsource:\n  mongo:\n    batch_size: 7\n"

func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func flatInput(t testing.TB, text string, environ ...string) config.Input {
	t.Helper()
	dir := folder(t, map[string]string{"job.yaml": text, "base.yaml": base})
	return config.Input{Path: filepath.Join(dir, "job.yaml"), Environ: append(environ, "MONGODB_PW=hidden")}
}

var flatOfEdited = map[string]string{
	"name": "job", "connector.class": "mongo", "source.mongo.uri": "${MONGODB_URI}", "source.mongo.database": "app", "source.mongo.batch_size": "7",
	"sink.kafka.topic": "t,1", "sink.kafka.format": "value", "mapping.collections.page": "page", `mapping.collections.a\.b.content_type`: "c",
	`mapping.collections.a\.b.filter`: `{"n":{"$gt":3},"at":"2024-01-01"}`, "run.mode": "full", "run.batch_size": "0x10",
	"run.collections": "page,a.b", "limits.max_events": "5",
}

func TestFlattenShowsWhatIsSet(t *testing.T) {
	f := forms(t).Flatten(flatInput(t, edited))
	if d := cmp.Diff(flatOfEdited, f.Values); d != "" {
		t.Error(d)
	}
}

func TestFlattenHidesSecrets(t *testing.T) {
	for name, c := range map[string]struct{ text, key, want string }{
		"an address":                     {"source: {mongo: {uri: 'mongodb://ada:hunter2@h/db'}}", "source.mongo.uri", "mongodb://ada:[redacted]@h/[redacted]"},
		"a word":                         {"source: {mongo: {uri: hunter2}}", "source.mongo.uri", "[redacted]"},
		"a reference":                    {"source: {mongo: {uri: '${MONGODB_PW}'}}", "source.mongo.uri", "${MONGODB_PW}"},
		"a default of a reference":       {"source: {mongo: {uri: '${MONGODB_PW:-hunter2}'}}", "source.mongo.uri", "[redacted]"},
		"an escaped reference":           {"source: {mongo: {uri: '$${hunter2}'}}", "source.mongo.uri", "[redacted]"},
		"a password in an open setting":  {"checker: {qdrant: {url: 'http://ada:hunter2@h'}}", "checker.qdrant.url", "http://ada:[redacted]@h"},
		"a setting that is misspelt":     {"sink: {kafka: {pasword: hunter2}}", "sink.kafka.pasword", "[redacted]"},
		"a reference in an open setting": {"sink: {kafka: {topic: 'x${MONGODB_PW}'}}", "sink.kafka.topic", "x${MONGODB_PW}"},
	} {
		f := forms(t).Flatten(flatInput(t, c.text))
		if got := f.Values[c.key]; got != c.want {
			t.Errorf("%s is shown as %q, want %q", name, got, c.want)
		}
		for _, v := range f.Values {
			if strings.Contains(v, "hunter2") || strings.Contains(v, "hidden") {
				t.Errorf("%s shows a secret: %q", name, v)
			}
		}
	}
}

// changed is flatOfEdited with some settings changed; "-" takes one away.
func changed(pairs ...string) map[string]string {
	out := maps.Clone(flatOfEdited)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "-" {
			delete(out, pairs[i])
		}
	}
	return out
}

func TestEditChangesOnlyWhatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		want     map[string]string
		from, to string // lines of the file
	}{
		"nothing":                       {flatOfEdited, "", ""},
		"a plain value":                 {changed("run.mode", "incremental"), "  mode: full\n", "  mode: incremental\n"},
		"a quoted value":                {changed("source.mongo.database", "other"), "'app'", "other"},
		"a value with a comment":        {changed("source.mongo.uri", "mongodb://h"), `"${MONGODB_URI}"   #`, "mongodb://h   #"},
		"a number":                      {changed("run.batch_size", "20"), "0x10", "20"},
		"a value in braces":             {changed("sink.kafka.format", "envelope"), "format: value", "format: envelope"},
		"one more in braces":            {changed("sink.kafka.properties.a", "true"), "format: value}", `format: value, properties: {a: "true"}}`},
		"one less in braces":            {changed("sink.kafka.format", "-"), ", format: value}", "}"},
		"a list":                        {changed("run.collections", "page"), "  collections:\n    - page\n    - a.b\n", "  collections: [page]\n"},
		"a list that goes":              {changed("run.collections", "-"), "\n  collections:\n    - page\n    - a.b\n", "\n"},
		"a new value":                   {changed("run.memory", "33554432"), "    - a.b\n", "    - a.b\n  memory: 33554432\n"},
		"tasks.max is run.readers":      {changed("tasks.max", "3"), "    - a.b\n", "    - a.b\n  readers: 3\n"},
		"a new block":                   {changed("errors.tolerance", "none"), "    - a.b\n", "    - a.b\nerrors:\n  tolerance: none\n"},
		"blocks in a new block":         {changed("run.attempts.max", "3"), "    - a.b\n", "    - a.b\n  attempts:\n    max: 3\n"},
		"another collection":            {changed("mapping.collections.c", "d"), "2024-01-01\n", "2024-01-01\n    c: d\n"},
		"a collection with a dot":       {changed(`mapping.collections.x\.y`, "d"), "2024-01-01\n", "2024-01-01\n    x.y: d\n"},
		"a value in a dotted one":       {changed(`mapping.collections.a\.b.content_type`, "e"), "c   # dotted", "e   # dotted"},
		"what an extended file sets":    {changed("limits.max_events", "6"), "    - a.b\n", "    - a.b\nlimits:\n  max_events: 6\n"},
		"a line becomes a block":        {changed("mapping.collections.page", "-", "mapping.collections.page.content_type", "p"), "page: page", "page: {content_type: p}"},
		"text that reads like a number": {changed("source.mongo.database", "12"), "'app'", `"12"`},
		"the mask of nothing secret":    {changed("source.mongo.uri", "${OTHER}"), "${MONGODB_URI}", "${OTHER}"},
		"a block goes with its last":    {changed("sink.kafka.topic", "-", "sink.kafka.format", "-", "sink.file.topic", "x"), "  kafka: {topic: \"t,1\", format: value}\n", "  file:\n    topic: x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			in := flatInput(t, edited)
			got, problems := forms(t).Edit(in, c.want)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if d := cmp.Diff(strings.Replace(edited, c.from, c.to, 1), string(got)); d != "" {
				t.Error(d)
			}
			in.Text = got
			f := forms(t).Flatten(in)
			if d := cmp.Diff(c.want, f.Values); d != "" {
				t.Error("it is flattened otherwise:", d)
			}
		})
	}
}

func TestEditKeepsSecrets(t *testing.T) {
	const text = "source:\n  mongo: {uri: 'mongodb://ada:hunter2@h/db', database: d}\nsink: {kafka: {}}\nmapping: {collections: {a: a}}\n"
	for name, uri := range map[string]string{"as it is shown": "mongodb://ada:[redacted]@h/[redacted]", "as its mask": "[redacted]"} {
		in := flatInput(t, text)
		f := forms(t).Flatten(in)
		f.Values["source.mongo.uri"] = uri
		f.Values["source.mongo.database"] = "e"
		got, problems := forms(t).Edit(in, f.Values)
		if want := strings.Replace(text, "database: d", "database: e", 1); len(problems) > 0 || string(got) != want {
			t.Errorf("%s: %s %v", name, got, problems)
		}
	}
}

func TestEditRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want map[string]string
		says string
	}{
		"a part of a mask":            {edited, changed("source.mongo.uri", "mongodb://x:[redacted]@h"), "source.mongo.uri holds [redacted], which stands for a secret"},
		"a mask where nothing is":     {edited, changed("sink.kafka.format", "[redacted]"), "sink.kafka.format holds [redacted]"},
		"what an extended file sets":  {edited, changed("limits.max_events", "-"), "base.yaml:2:3, and can't be taken back here"},
		"what a variable sets":        {edited, changed("stream.debounce", "2s"), "is set by the environment variable SYNCD_STREAM__DEBOUNCE"},
		"to forget what one sets":     {edited, changed("stream.debounce", "-"), "can't be taken back here"},
		"extends":                     {edited, changed("extends", "/etc/passwd"), "extends can't be set here"},
		"no tasks":                    {edited, changed("tasks.max", "0"), "Invalid value 0 for configuration tasks.max: Value must be at least 1"},
		"tasks that are no number":    {edited, changed("tasks.max", "x"), `Invalid value "x" for configuration tasks.max: Not a number of type INT`},
		"two names of one":            {edited, changed("tasks.max", "1", "run.readers", "2"), "are one setting"},
		"a setting of another source": {edited, changed("source.other.x", "1"), "another source than connector.class names"},
		"an empty name":               {edited, changed("run..x", "1"), "a name between dots is empty"},
		"an escape of nothing":        {edited, changed(`run.\x`, "1"), `a \ stands before a dot`},
		"JSON that is none":           {edited, changed(`mapping.collections.a\.b.filter`, "{x"), "it begins like JSON"},
		"an alias":                    {"a: &x {topic: t}\nsink: {kafka: *x}\n", map[string]string{"name": "job", "sink.kafka.topic": "u", "a.topic": "t"}, "the file refers to *x"},
		"what others refer to":        {"a: &x {topic: t}\nsink: {kafka: *x}\n", map[string]string{"name": "job", "sink.kafka.topic": "t"}, "others refer to"},
		"a broken file":               {"a: [", map[string]string{"name": "job"}, "can't be read"},
		"a list":                      {"- a", map[string]string{"name": "job"}, "can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			in := flatInput(t, c.text)
			if strings.Contains(name, "variable") || name == "to forget what one sets" {
				in.Environ = append(in.Environ, "SYNCD_STREAM__DEBOUNCE=1s")
			}
			_, problems := forms(t).Edit(in, c.want)
			if !slices.ContainsFunc(problems, func(p config.FlatProblem) bool { return strings.Contains(p.Message, c.says) }) {
				t.Errorf("problems %v, want one with %q", problems, c.says)
			}
		})
	}
}

func TestEditMakesAFile(t *testing.T) {
	in := config.Input{Path: filepath.Join(t.TempDir(), "new.yaml"), Text: []byte{}, Environ: []string{"SYNCD_RUN__BATCH_SIZE=5"}}
	got, problems := forms(t).Edit(in, map[string]string{
		"name": "new", "connector.class": "mongo", "tasks.max": "2", "source.mongo.uri": "${MONGODB_URI}", "source.mongo.database": "d", "sink.kafka": "",
		"checker.qdrant.url": "h", "mapping.collections.page": "page", "run.mode": "incremental", "run.collections": "page, b", "run.follow": "TRUE",
	})
	const want = `name: new
source:
  mongo:
    uri: "${MONGODB_URI}"
    database: d
checker:
  qdrant:
    url: h
sink:
  kafka: {}
mapping:
  collections:
    page: page
run:
  mode: incremental
  follow: TRUE
  collections: [page, b]
  readers: 2
`
	if len(problems) > 0 || string(got) != want {
		t.Errorf("%s%v", got, problems)
	}
}

func FuzzFlatKey(f *testing.F) {
	f.Add("a.b", `c\`, "run")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		path := []string{a, b, c}
		got, err := config.FlatPath(config.FlatKey(path))
		if slices.Contains(path, "") {
			if err == nil {
				t.Errorf("%q has an empty name, and is read as %q", path, got)
			}
			return
		}
		if err != nil || !slices.Equal(got, path) {
			t.Errorf("%q comes back as %q, %v", path, got, err)
		}
	})
}

// FuzzEdit sets one setting of a file and expects that flattening gives what was wanted, and that setting it back and forth keeps the
// rest.
func FuzzEdit(f *testing.F) {
	f.Add(edited, "run.mode", "incremental")
	f.Add("run: {mode: full}\nsink:\n  kafka:\n", "sink.kafka.topic", "a: #b")
	f.Add("run:\n  mode: |\n    x\n# c\n", "run.mode", "y")
	f.Add("a:\n- b\n", "a", "x\ny")
	all := forms(f)
	f.Fuzz(func(t *testing.T, text, key, value string) {
		in := config.Input{Path: "fuzz.yaml", Text: []byte(text), AllowUnsetEnv: true, Scope: config.Fragment}
		now := all.Flatten(in)
		want := maps.Clone(now.Values)
		want[key] = value
		out, problems := all.Edit(in, want)
		if len(problems) > 0 {
			return
		}
		in.Text = out
		after := all.Flatten(in)
		for k, v := range now.Values {
			if k != key && k != config.FlatClass && after.Values[k] != v {
				t.Errorf("setting %q to %q changed %q from %q to %q\n%s", key, value, k, v, after.Values[k], out)
			}
		}
		before := strings.Count(text, "#")
		if strings.Count(string(out), "#") < before-strings.Count(now.Values[key], "#") {
			t.Errorf("a comment is gone:\n%s\nbecame\n%s", text, out)
		}
	})
}
