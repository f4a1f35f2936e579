package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

const (
	configsDir   = "../../configs"
	referenceDir = "../../docs/reference"
	schemaFile   = configsDir + "/syncd.schema.json"
)

// exampleDirs hold the configurations with mistakes that the diagnostics' page shows, as `make docs` names them.
var exampleDirs = []string{"../../config/testdata", "testdata"}

// TestMain makes this test binary the command syncd, for the tests that look at what a user sees.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"syncd": main}) }

// run runs syncd with an environment of its own, so that pages do not depend on where they are made. By default the race detector has
// each program wait for a second at its end.
func run(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command("syncd", args...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=10"}
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("syncd %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func registry(t *testing.T) *syncd.Registry {
	t.Helper()
	r, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// generated makes the reference anew.
func generated(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	args := []string{"reference", "--dir", dir}
	for _, e := range exampleDirs {
		args = append(args, "--examples", e)
	}
	run(t, args...)
	return pages(t, dir)
}

func pages(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		out[filepath.Base(f)] = read(t, f)
	}
	return out
}

// TestReferenceIsCurrent compares what is checked in with what the declarations say.
func TestReferenceIsCurrent(t *testing.T) {
	want, got := generated(t), pages(t, referenceDir)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if diff := cmp.Diff(got[name], want[name]); diff != "" {
			t.Errorf("stale docs: run make docs\ndocs/reference/%s (-is +should be):\n%s", name, diff)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("stale docs: run make docs\ndocs/reference/%s describes nothing any more", name)
	}
	if diff := cmp.Diff(read(t, schemaFile), run(t, "schema")); diff != "" {
		t.Errorf("stale docs: run make docs\nconfigs/syncd.schema.json (-is +should be):\n%s", diff)
	}
}

// walk visits every setting.
func walk(settings []spec.Setting, visit func(spec.Setting)) {
	var shape func(spec.Shape)
	shape = func(s spec.Shape) {
		walk(s.Fields, visit)
		if s.Item != nil {
			shape(*s.Item)
		}
		for _, e := range s.Either {
			shape(e)
		}
	}
	for _, s := range settings {
		visit(s)
		shape(s.Shape)
	}
}

// TestEverySettingIsDescribed checks the declarations of all plugins and of the configuration itself.
func TestEverySettingIsDescribed(t *testing.T) {
	n := 0
	walk(config.Describe(registry(t)), func(s spec.Setting) {
		n++
		path := spec.PathString(s.Path)
		if s.Doc == "" || !strings.HasSuffix(s.Doc, ".") || strings.ContainsAny(s.Doc, "\n\t") {
			t.Errorf("%s needs a sentence on one line, not %q", path, s.Doc)
		}
		if s.Shape.Form == spec.AnyForm {
			t.Errorf("%s accepts anything: its type should say what, with DescribeShape", path)
		}
	})
	if n < 80 {
		t.Errorf("only %d settings", n)
	}
	for _, p := range plugins() {
		if text := spec.Example(spec.Describe(p.Config(), string(p.Kind()), p.Name())); strings.Contains(text, `""`) {
			t.Errorf("a setting of %s %s must be set, so it needs an example tag:\n%s", p.Kind(), p.Name(), text)
		}
	}
}

// TestExamplesAreValid loads the example of every page as a configuration.
func TestExamplesAreValid(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml(?: fragment)?\n(.*?)```")
	example := func(page string) string {
		m := block.FindStringSubmatch(page)
		if m == nil {
			t.Fatalf("no example:\n%s", page)
		}
		return m[1]
	}
	first := map[syncd.Kind]string{}
	for _, p := range plugins() {
		if first[p.Kind()] == "" {
			first[p.Kind()] = example(run(t, "plugins", string(p.Kind())+"/"+p.Name(), "--format", "markdown"))
		}
	}
	delete(first, syncd.KindStage) // the other sinks take none
	// indexing is what only works together with a sink of an index, of that name or if it has none of the first: stages, and its checker.
	indexing := func(sink string) (text string) {
		sections := map[string]string{}
		for _, p := range plugins() {
			if _, is := p.Config().(syncd.Indexer); is && sink == "" {
				sink = p.Name()
			}
		}
		for _, p := range plugins() {
			_, is := p.Config().(syncd.Indexer)
			if is && p.Name() == sink || p.Kind() == syncd.KindStage || p.Kind() == syncd.KindChecker && p.Name() == sink {
				section, inner, _ := strings.Cut(example(run(t, "plugins", string(p.Kind())+"/"+p.Name(), "--format", "markdown")), "\n")
				sections[section] += inner
			}
		}
		for section, inner := range sections {
			text += section + "\n" + inner
		}
		return text
	}
	all := map[string]string{"configuration.md": example(generated(t)["configuration.md"])}
	for _, p := range plugins() {
		name := string(p.Kind()) + "/" + p.Name()
		all[name] = example(run(t, "plugins", name, "--format", "markdown"))
		_, indexer := p.Config().(syncd.Indexer)
		together := indexer || p.Kind() == syncd.KindStage
		if indexer {
			all[name] = indexing(p.Name())
		} else if together {
			all[name] = indexing("")
		}
		for kind, other := range first {
			if kind != p.Kind() && (!together || kind == syncd.KindSource) {
				all[name] += other
			}
		}
		all[name] += "mapping: {collections: {page: page}}\n" // which no plugin's page can know
	}
	schema := compile(t)
	for name, text := range all {
		file := filepath.Join(t.TempDir(), "example.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, diags := config.Load(config.Input{Path: file, Registry: registry(t), Environ: []string{
			"MONGODB_URI=mongodb://mongo.example", "MONGODB_DATABASE=db", "POSTGRES_DSN=postgres://user@postgres.example/db", "EMBEDDING_URL=http://embed.example/v1", "EMBEDDING_MODEL=model", "PGVECTOR_DSN=postgres://user@vectors.example/db",
		}}); len(diags) > 0 {
			t.Errorf("%s:\n%s\n%v", name, text, diags)
		}
		if err := schema.Validate(instance(t, text)); err != nil {
			t.Errorf("%s: the schema refuses its example: %v", name, err)
		}
	}
}

// TestEveryVariableIsKnown sets every variable that the reference names and checks that a configuration takes it: those of a plugin in a
// file that uses it, all others once.
func TestEveryVariableIsKnown(t *testing.T) {
	for i, p := range plugins() {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%s: {%s: {}}\n", p.Section(), p.Name()), 0o600); err != nil {
			t.Fatal(err)
		}
		walk(config.Describe(registry(t)), func(s spec.Setting) {
			ofPlugin := len(s.Path) > 1 && slices.Contains([]string{"source", "checker", "stages", "sink"}, s.Path[0])
			if len(s.Path) < 2 || ofPlugin && (s.Path[0] != p.Section() || s.Path[1] != p.Name()) || !ofPlugin && i > 0 {
				return
			}
			for _, name := range s.Env {
				value := s.Default
				if value == "" {
					value = "x"
				}
				_, diags := config.Load(config.Input{Path: file, Registry: registry(t), Environ: []string{name + "=" + value}})
				for _, d := range diags {
					if strings.HasSuffix(d.Pos.Source, name) && (d.Code == spec.CodeUnknownField || s.Default != "" && d.Code == spec.CodeWrongType) {
						t.Errorf("%s=%s: %v", name, value, d)
					}
				}
			}
		})
	}
}

// TestEveryCodeHasAnExample checks that the diagnostics' page shows how each code comes about.
func TestEveryCodeHasAnExample(t *testing.T) {
	deprecated := false // no example is possible while no setting is
	walk(config.Describe(registry(t)), func(s spec.Setting) { deprecated = deprecated || s.Deprecated != "" })
	page := generated(t)["diagnostics.md"]
	for _, c := range spec.Codes() {
		_, section, found := strings.Cut(page, "\n## "+string(c.Code)+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if c.Code == spec.CodeDeprecated && !deprecated || c.Code == spec.CodeBeaten { // the latter takes a variable beside the file
			continue
		}
		if !found || !strings.Contains(section, "["+string(c.Code)+"]") {
			t.Errorf("%s has no example: add one to config/testdata or cmd/syncd/testdata", c.Code)
		}
	}
}

// goType finds names that a user should not have to know.
var goType = regexp.MustCompile(`\b(u?int(8|16|32|64)?|float(32|64)|bool|struct|interface|nil|rune|uintptr)\b|` +
	`\bmap\[|\[\](string|int|byte)|\btime\.(Duration|Time)\b|\b(spec|syncd|mapping|config|cobra|pflag|reflect)\.[A-Z]|stringArray|stringSlice|%![a-z]`)

// TestNoGoTypeIsNamed greps what is generated.
func TestNoGoTypeIsNamed(t *testing.T) {
	all := generated(t)
	all["the schema"] = run(t, "schema")
	for _, p := range plugins() {
		name := string(p.Kind()) + "/" + p.Name()
		all[name] = run(t, "plugins", name)
	}
	for name, text := range all {
		for _, m := range goType.FindAllStringIndex(text, -1) {
			t.Errorf("%s names a type of the language: %q in %q", name, text[m[0]:m[1]], text[max(0, m[0]-40):min(len(text), m[1]+40)])
		}
		if strings.Contains(text, "/tmp/") || strings.Contains(text, "../") {
			t.Errorf("%s names a place of the machine that it was made on", name)
		}
	}
}

func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(read(t, schemaFile)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("syncd.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("syncd.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads YAML the way an editor hands it to a schema; nil if it is not YAML.
func instance(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSchemaAcceptsConfigs validates every configuration with a library that nobody here wrote.
func TestSchemaAcceptsConfigs(t *testing.T) {
	schema := compile(t)
	files, err := filepath.Glob(configsDir + "/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, file := range files {
		text := read(t, file)
		if !strings.HasPrefix(text, "# yaml-language-server: $schema=syncd.schema.json\n") {
			t.Errorf("%s: the first line must name the schema, for editors", file)
		}
		if err := schema.Validate(instance(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaKnowsEverySetting checks for every setting that the schema accepts its default and, where it is one value, a
// variable, and that it refuses another shape and another name.
func TestSchemaKnowsEverySetting(t *testing.T) {
	schema := compile(t)
	at := func(path []string, v any) any {
		for _, name := range slices.Backward(path) {
			v = map[string]any{name: v}
		}
		m, _ := v.(map[string]any)
		m["extends"] = "base.yaml"
		return m
	}
	walk(config.Describe(registry(t)), func(s spec.Setting) {
		if s.Name == "extends" || slices.Contains(s.Path, spec.ItemNumber) {
			return
		}
		path := spec.PathString(s.Path)
		accepts := func(v any) bool {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			return schema.Validate(doc) == nil
		}
		if s.Value != nil && !accepts(at(s.Path, s.Value)) {
			t.Errorf("%s: the default %v is refused", path, s.Value)
		}
		switch s.Shape.Form {
		case spec.TextForm, spec.SecretForm, spec.WholeForm, spec.NumberForm, spec.SwitchForm, spec.SpanForm:
			for _, text := range []string{"${NAME}", "${NAME:-5}", "a${NAME}b", "${file:/run/secrets/x}"} {
				if !accepts(at(s.Path, text)) {
					t.Errorf("%s: the variable %s is refused", path, text)
				}
			}
			if accepts(at(s.Path, map[string]any{"a": 1})) {
				t.Errorf("%s: a block is accepted", path)
			}
			if accepts(at(s.Path, []string{"a"})) {
				t.Errorf("%s: a list is accepted", path)
			}
		case spec.ListForm:
			if accepts(at(s.Path, map[string]any{"a": 1})) {
				t.Errorf("%s: a block is accepted", path)
			}
		case spec.BlockForm, spec.OneOfForm:
			if accepts(at(s.Path, map[string]any{"no_such_name": 1})) {
				t.Errorf("%s: an unknown field is accepted", path)
			}
			if accepts(at(s.Path, 5)) {
				t.Errorf("%s: a number is accepted", path)
			}
		default:
		}
		if s.Nullable != accepts(at(s.Path, nil)) {
			t.Errorf("%s: null is legal: %t, but the schema says otherwise", path, s.Nullable)
		}
	})
}

// TestSchemaRefusesBadFiles validates the configurations of config/testdata that have a mistake, and those of the
// diagnostics' page. What YAML itself refuses, or what has no JSON form, never reaches a schema.
func TestSchemaRefusesBadFiles(t *testing.T) {
	schema := compile(t)
	n := 0
	for _, dir := range exampleDirs {
		files, err := filepath.Glob(dir + "/*.bad.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			n++
			name := strings.TrimSuffix(filepath.Base(file), ".bad.yaml")
			v := instance(t, read(t, file))
			accepted := v != nil && schema.Validate(v) == nil
			reason, listed := beyondSchema[name]
			switch {
			case v == nil && listed:
				t.Errorf("%s has no JSON form that a schema could look at: it needs no reason in beyondSchema", name)
			case accepted && !listed:
				t.Errorf("the schema accepts %s: let it refuse it, or say in beyondSchema why it can't", name)
			case v != nil && !accepted && listed:
				t.Errorf("the schema refuses %s, though beyondSchema says that it can't: %s", name, reason)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d files", n)
	}
}
