package config_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// everything has a setting of every shape, and one that must not stand beside another.
type everything struct {
	Text   string                 `yaml:"text" doc:"A."`
	Host   string                 `yaml:"host" doc:"A."`
	Port   int                    `yaml:"port" doc:"A."`
	URI    spec.Secret            `yaml:"uri" doc:"A."`
	Token  spec.Secret            `yaml:"token" env:"TOKEN" doc:"A."`
	Tokens []spec.Secret          `yaml:"tokens" doc:"A."`
	Named  map[string]spec.Secret `yaml:"named" doc:"A."`
	Words  []string               `yaml:"words" env:"WORDS" doc:"A."`
	Span   time.Duration          `yaml:"span" doc:"A."`
	Ratio  float64                `yaml:"ratio" doc:"A."`
	On     bool                   `yaml:"switch" doc:"A."`
	Opt    *inner                 `yaml:"opt" doc:"A."`
	None   *inner                 `yaml:"none" doc:"A."`
	Own    own                    `yaml:"own" doc:"A."`
	Query  *spec.Node             `yaml:"query" doc:"A."`
}

type inner struct {
	Size int `yaml:"size" doc:"A."`
}

// own has a form of its own.
type own struct{ text string }

func (o *own) DecodeNode(_ *spec.Decoder, n *spec.Node) {
	if !n.IsNull() {
		o.text = n.Text
	}
}

func (c *everything) CheckFilter(string) error { return nil }

func (c *everything) CheckConfig(d *spec.Decoder, n *spec.Node) {
	if c.Text != "" && n.Get("port") != nil {
		d.In("port", func() { d.Errorf(n.Get("port"), spec.CodeContradiction, "", "port and text exclude each other") })
	}
}

func everyRegistry(t *testing.T) *syncd.Registry {
	t.Helper()
	r, err := syncd.NewRegistry(
		syncd.NewSource("every", "A source.", everything{Port: 1, Span: 2 * time.Minute},
			func(context.Context, everything, syncd.Env) (syncd.Source, error) { panic("nothing is opened") }),
		syncd.NewSink("none", "A sink.", struct{}{},
			func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) { panic("nothing is opened") }),
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const every = `source:
  every:
    text: "5 ${HOST} $${HOST} http://ada:hunter2@h/?api_key=hunter2#{}"
    uri: mongodb://ada:hunter2@h:1,h2/db?x=hunter2
    token: ${file:secret.txt}
    tokens: [hunter2, "${file:secret.txt}"]
    named: {z: hunter2, "a.b": "${T}"}
    words: [a, "true", "yes", "a,b", "l\nl", "${file:secret.txt}"]
    ratio: 0.5
    opt: {size: 3}
    own: {a: [1, x]}
    query: {status: {$in: [open, 1, true, null, "${HOST}"]}}
sink: {none: {}}
mapping:
  collections:
    page: page
    epic: {content_type: epic, topic: "t-${HOST}", filter: {a: "${file:secret.txt}"}}
    item: {content_type: item}
run: {mode: full}
`

func effective(t *testing.T, dir string, in config.Input) *config.Effective {
	t.Helper()
	t.Chdir(dir) // so that positions are short
	in.Path, in.Registry = "c.yaml", everyRegistry(t)
	e, diags := config.Resolve(in)
	if len(diags) > 0 && beaten(diags) == nil {
		t.Fatal(diags)
	}
	return e
}

func printed(t *testing.T, e *config.Effective) string {
	t.Helper()
	text, err := e.YAML()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// settings gives what is printed without the alignment.
func settings(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.LastIndex(line, "  # "); strings.TrimSpace(line[:max(i, 0)]) != "" {
			line = strings.TrimRight(line[:i], " ") + line[i+1:]
		}
		out = append(out, line)
	}
	return out
}

func TestEffectiveYAML(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": every, "secret.txt": "s3cret-of-a-file\r\n"})
	environ := []string{"HOST=here", "T=hunter2", "SYNCD_SOURCE__EVERY__HOST=env"}
	e := effective(t, dir, config.Input{Environ: environ, Overrides: []config.Override{
		{Flag: "--batch-size", Path: []string{"run", "batch_size"}, Value: "7"},
	}})
	text := printed(t, e)
	want := []string{
		`name: c # default`,
		`source:`,
		`  every:`,
		`    text: "5 here $${HOST} http://ada:[redacted]@h/?api_key=[redacted]#{}" # c.yaml:3:11, from HOST`,
		`    host: env # environment variable SYNCD_SOURCE__EVERY__HOST`,
		`    # port: 1 # default, not in use`,
		`    uri: "mongodb://ada:[redacted]@h:1,h2/[redacted]" # c.yaml:4:10`,
		`    token: "[redacted]" # c.yaml:5:12, from file:secret.txt`,
		`    tokens: ["[redacted]", "[redacted]"] # c.yaml:6:13, from file:secret.txt`,
		`    named:`,
		`      z: "[redacted]" # c.yaml:7:16`,
		`      a.b: "[redacted]" # c.yaml:7:32, from T`,
		`    words: [a, "true", "yes", "a,b", "l\nl", "[redacted]"] # c.yaml:8:12, from file:secret.txt`,
		`    span: 2m # default`,
		`    ratio: 0.5 # c.yaml:9:12`,
		`    switch: false # default`,
		`    opt:`,
		`      size: 3 # c.yaml:10:17`,
		`    none: null # default`,
		`    own: {a: [1, x]} # c.yaml:11:10`,
		`    query: {status: {$in: [open, 1, true, null, here]}} # c.yaml:12:12, from HOST`,
		`sink:`,
		`  none: {}`,
	}
	got := settings(text)
	if diff := cmp.Diff(want, got[:min(len(want), len(got))]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	rest := strings.Join(got, "\n")
	for _, line := range []string{
		"\n    page: page # c.yaml:16:11\n",
		"\n    epic:\n      content_type: epic # c.yaml:17:26\n      topic: t-here # c.yaml:17:39, from HOST\n      filter: {a: \"[redacted]\"} # c.yaml:17:60, from file:secret.txt\n",
		"\n    item: item # c.yaml:18:26\n",
		"\n  batch_size: 7 # flag --batch-size\n",
		"\n  namespace: url # default\n",
	} {
		if !strings.Contains(rest, line) {
			t.Errorf("%q is missing in\n%s", line, rest)
		}
	}
	hides(t, text)

	// What was printed means the same when its secrets are filled in, and prints the same. Without them it can't be used.
	t.Chdir(write(t, map[string]string{"c.yaml": text}))
	_, diags := config.Resolve(config.Input{Path: "c.yaml", Registry: everyRegistry(t)})
	said := fmt.Sprint(diags)
	for _, setting := range []string{"text", "uri", "token", "tokens", "named.z", "named.a.b", "words"} {
		if !strings.Contains(said, "source.every."+setting+" holds [redacted], which is printed in place of a secret") {
			t.Errorf("%s is loaded as it was printed: %s", setting, said)
		}
	}
	if strings.Contains(said, "mapping") { // a filter may be about any text
		t.Error(said)
	}
	again := write(t, map[string]string{"c.yaml": strings.ReplaceAll(text, spec.Redacted, "filled-in")})
	second := effective(t, again, config.Input{})
	plain := func(lines []string) string {
		for i, line := range lines {
			if at := strings.LastIndex(line, " # "); strings.TrimSpace(line[:max(at, 0)]) != "" {
				lines[i] = line[:at]
			}
		}
		return strings.Join(lines, "\n")
	}
	if diff := cmp.Diff(plain(settings(text)), strings.ReplaceAll(plain(settings(printed(t, second))), "filled-in", `"[redacted]"`)); diff != "" {
		t.Errorf("loaded again it is something else (-first +second)\n%s", diff)
	}
}

func hides(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{"hunter2", "s3cret"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows in\n%s", secret, text)
		}
	}
}

func TestEffectiveJSON(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": every, "secret.txt": "s3cret-of-a-file\n"})
	out, err := effective(t, dir, config.Input{Environ: []string{"HOST=here", "T=hunter2"}}).JSON()
	if err != nil {
		t.Fatal(err)
	}
	hides(t, string(out))
	var got struct {
		Config  map[string]any
		Origins map[string]string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	e := got.Config["source"].(map[string]any)["every"].(map[string]any)
	want := map[string]any{"ratio": 0.5, "switch": false, "span": "2m", "none": nil, "token": "[redacted]", "port": 1.0}
	for name, value := range want {
		if e[name] != value {
			t.Errorf("%s is %v, want %v", name, e[name], value)
		}
	}
	if text := e["text"].(string); !strings.HasPrefix(text, "5 here ${HOST} http://ada:[redacted]@h") {
		t.Errorf("text is %q", text)
	}
	for path, origin := range map[string]string{
		"source.every.text": "c.yaml:3:11, from HOST", "mapping.collections.page": "c.yaml:16:11",
		"run.mode": "c.yaml:19:13", "run.batch_size": "default",
	} {
		if got.Origins[path] != origin {
			t.Errorf("the origin of %s is %q, want %q", path, got.Origins[path], origin)
		}
	}
}

func TestEffectiveIsComplete(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": minimal})
	e, diags := config.Resolve(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	text := printed(t, e)
	// Every section and setting that a configuration can have, but for other plugins' and what belongs to blocks that
	// are not there.
	var check func([]spec.Setting)
	check = func(list []spec.Setting) {
		for _, s := range list {
			switch {
			case s.Name == "extends" || s.Name == "stages" || s.Shape.Form == spec.OneOfForm || s.Deprecated != "":
				continue
			case !strings.Contains(text, strings.Repeat("  ", len(s.Path)-1)+s.Name+":") &&
				!strings.Contains(text, strings.Repeat("  ", len(s.Path)-1)+"# "+s.Name+":"): // not in use
				t.Errorf("%s is missing", spec.PathString(s.Path))
			case s.Shape.Form == spec.BlockForm && !s.Optional:
				check(s.Shape.Fields)
			}
		}
	}
	check(config.Describe(registry(t)))
}

func TestEffectiveOfWhatIsNotSet(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": `source:
  every:
    text: "${TEXT}"
    token: "${file:/nowhere/token}"
    uri: "hunter2-${X}"
    span: ${SPAN}
    tokens: [hunter2, "${A}"]
sink: {none: {}}
run: {mode: full, batch_size: "${SIZE}"}
mapping: {collections: {page: page}}
`})
	text := printed(t, effective(t, dir, config.Input{AllowUnsetEnv: true}))
	got := strings.Join(settings(text), "\n")
	for _, line := range []string{
		`text: "${TEXT}" # c.yaml:3:11, not set`,
		`token: "${file:/nowhere/token}" # c.yaml:4:12, not set`,
		`uri: "[redacted]" # c.yaml:5:10, not set`,
		`span: "${SPAN}" # c.yaml:6:11, not set`,
		`tokens: ["[redacted]", "${A}"] # c.yaml:7:13`,
		`batch_size: "${SIZE}" # c.yaml:9:31, not set`,
	} {
		if !strings.Contains(got, line) {
			t.Errorf("%s is missing in\n%s", line, got)
		}
	}
	hides(t, text)
}

func TestDifferences(t *testing.T) {
	a := write(t, map[string]string{"c.yaml": `source: {every: {token: hunter2, uri: "mongodb://x:hunter2@h", words: [a], opt: {size: 1}}}
sink: {none: {}}
mapping: {collections: {page: page, epic: epic, cycle: cycle}}
run: {mode: full, batch_size: 5}
`})
	left := effective(t, a, config.Input{})
	b := write(t, map[string]string{"c.yaml": `source: {every: {token: hunter3, uri: "mongodb://x:hunter2@k", words: [a], named: {n: x}}}
sink: {none: {}}
mapping: {collections: {page: {content_type: page, topic: x}, cycle: {content_type: cyc}, new: new}}
run: {mode: full, batch_size: 5, sleep: 1}
`})
	right := effective(t, b, config.Input{Environ: []string{"SYNCD_RUN__BATCH_SIZE=6"}})
	if d, err := left.Differences(left); err != nil || len(d) > 0 {
		t.Errorf("a configuration differs from itself: %v, %v", d, err)
	}
	differences, err := left.Differences(right)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range differences {
		got = append(got, d.String())
	}
	want := []string{
		`  source.every.uri: "mongodb://x:[redacted]@h" (c.yaml:1:39) -> "mongodb://x:[redacted]@k" (c.yaml:1:39)`,
		`  source.every.token: "[redacted]" (c.yaml:1:25) -> "[redacted]" (c.yaml:1:25), which differ`,
		`+ source.every.named.n: "[redacted]" (c.yaml:1:87)`,
		`- source.every.opt.size: 1 (c.yaml:1:88)`,
		`+ mapping.collections.page.topic: x (c.yaml:3:59)`,
		`- mapping.collections.epic: epic (c.yaml:3:43)`,
		`  mapping.collections.cycle: cycle (c.yaml:3:56) -> cyc (c.yaml:3:85)`,
		`+ mapping.collections.new: new (c.yaml:3:96)`,
		`  run.batch_size: 5 (c.yaml:4:31) -> 6 (environment variable SYNCD_RUN__BATCH_SIZE)`,
		`  run.sleep: 0s (default) -> 1s (c.yaml:4:41)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestDifferentNames: names that come from the files are no difference; one that is set is.
func TestDifferentNames(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": minimal, "b.yaml": minimal, "c.yaml": minimal + "name: tuesday\n"})
	resolve := func(name string) *config.Effective {
		e, diags := config.Resolve(config.Input{Path: filepath.Join(dir, name), Registry: registry(t)})
		if len(diags) > 0 {
			t.Fatal(diags)
		}
		return e
	}
	a, b, c := resolve("a.yaml"), resolve("b.yaml"), resolve("c.yaml")
	if d, err := a.Differences(b); err != nil || len(d) > 0 {
		t.Errorf("%v, %v", d, err)
	}
	d, err := a.Differences(c)
	if err != nil || len(d) != 1 || !strings.HasPrefix(d[0].String(), "  name: a (default) -> tuesday (") {
		t.Errorf("%v, %v", d, err)
	}
}

func TestSecretFiles(t *testing.T) {
	dir := write(t, map[string]string{
		"crlf": "a\r\n\r\n", "spaces": " a b \n", "empty": "", "number": "007\n", "big": strings.Repeat("x", 64<<10+1),
		"full": strings.Repeat("x", 64<<10),
	})
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for reference, want := range map[string]string{
		"crlf": "a", "spaces": " a b ", "number": "007", filepath.Join(dir, "crlf"): "a", "sub/../crlf": "a", "nope:-d": "d", "empty:-d": "d",
		"empty": "", "nope:-": "", "full": strings.Repeat("x", 64<<10),
	} {
		text := `source: {every: {token: "${file:` + reference + `}"}}` + "\nsink: {none: {}}\nmapping: {collections: {page: page}}\nrun: {mode: full}\n"
		if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: everyRegistry(t)})
		if len(diags) > 0 {
			t.Errorf("%s: %v", reference, diags)
			continue
		}
		if got := c.Source.Settings.(*everything).Token.Reveal(); got != want {
			t.Errorf("%s is %.20q, want %.20q", reference, got, want)
		}
	}
	for reference, code := range map[string]spec.Code{
		"nope": spec.CodeMissingFile, "sub": spec.CodeBadValue, "big": spec.CodeBadValue, "": spec.CodeSyntax,
	} {
		text := `source: {every: {token: "x${file:` + reference + `}"}}` + "\nsink: {none: {}}\nmapping: {collections: {page: page}}\nrun: {mode: full}\n"
		if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, allow := range []bool{false, true} {
			_, diags := config.Load(config.Input{Path: "c.yaml", Registry: everyRegistry(t), AllowUnsetEnv: allow})
			if allow && reference == "nope" {
				if len(diags) > 0 {
					t.Errorf("%s, where what is missing is allowed: %v", reference, diags)
				}
				continue
			}
			if len(diags) != 1 || diags[0].Code != code || diags[0].Pos.Line != 1 || diags[0].Pos.Column != 27 {
				t.Errorf("%s: %v, want %s at 1:27", reference, diags, code)
			}
		}
	}
}

// TestSecretFilesInMessages puts what a file holds where it is wrong.
func TestSecretFilesInMessages(t *testing.T) {
	dir := write(t, map[string]string{"secret.txt": "hunter2\n", "c.yaml": `source:
  every: {port: "${file:secret.txt}", span: "${file:secret.txt}", switch: "${file:secret.txt}", opt: "${file:secret.txt}", named: "${file:secret.txt}"}
sink: {none: {}}
run: {mode: "${file:secret.txt}", collections: "${file:secret.txt}"}
mapping: {namespace: "${file:secret.txt}", seed: "${file:secret.txt}"}
`})
	_, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: everyRegistry(t)})
	if len(diags) < 7 {
		t.Errorf("only %d problems: %v", len(diags), diags)
	}
	hides(t, diags.Error())
}
