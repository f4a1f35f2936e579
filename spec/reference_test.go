package spec_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/syncd-io/syncd/spec"
)

type refNested struct {
	Depth int        `yaml:"depth" rule:"required,min=2" doc:"How deep."`
	Self  *refNested `yaml:"self" doc:"Once more."`
}

type refMany struct {
	Name string `yaml:"name" rule:"required,max=5" doc:"Its name."`
}

type refLevel string

func (l *refLevel) DecodeNode(*spec.Decoder, *spec.Node) {}

func (l *refLevel) DescribeShape([]string) spec.Shape {
	return spec.Shape{Form: spec.EitherForm, Either: []spec.Shape{
		{Form: spec.TextForm, Rule: "oneof=low high"}, {Form: spec.WholeForm, Rule: "min=1"},
	}}
}

type refOpaque struct{}

func (o *refOpaque) DecodeNode(*spec.Decoder, *spec.Node) {}

type refConfig struct {
	URI      spec.Secret       `yaml:"uri" env:"ACME_URI" rule:"required" doc:"Where."`
	Token    spec.Secret       `yaml:"token" rule:"required" doc:"Who."`
	Path     string            `yaml:"path" example:"out.json" rule:"required" doc:"Which file."`
	Host     string            `yaml:"host" env:"ACME_HOST" example:"\"h:1\"" rule:"hostname_port" doc:"Which host."`
	Mode     string            `yaml:"mode" rule:"oneof=fast safe" doc:"How."`
	Old      string            `yaml:"old" deprecated:"use mode" example:"x" doc:"How, formerly."`
	Size     int               `yaml:"size" rule:"gt=0,lte=10" doc:"How many."`
	Port     int               `yaml:"port" rule:"oneof=1 2" doc:"Which port."`
	Ratio    float64           `yaml:"ratio" rule:"max=0.5" doc:"How much."`
	On       bool              `yaml:"on" doc:"Whether."`
	Wait     time.Duration     `yaml:"wait" rule:"min=1ms,max=1m0s" doc:"How long."`
	Tags     []string          `yaml:"tags" rule:"max=3,dive,min=2" doc:"Which tags."`
	Sizes    []int             `yaml:"sizes" doc:"Which sizes."`
	Labels   map[string]string `yaml:"labels" doc:"Which labels."`
	Option   *refNested        `yaml:"option" doc:"More."`
	Items    []refMany         `yaml:"items" doc:"Which items."`
	Level    refLevel          `yaml:"level" doc:"Which level."`
	Opaque   refOpaque         `yaml:"opaque" doc:"Anything."`
	Internal string            // not a setting
}

func refDefaults() *refConfig {
	return &refConfig{Mode: "fast", Size: 3, Port: 1, Host: "a:2", Wait: time.Minute, Tags: []string{"ab", "cd"}, Level: "low"}
}

// flat gives a setting and all below it, each as one line: path, type, default, rules, variables.
func flat(settings []spec.Setting) []string {
	var out []string
	var shape func(spec.Shape)
	visit := func(s spec.Setting) {
		out = append(out, strings.Join([]string{
			spec.PathString(s.Path), s.Shape.Type(), s.Default, s.Shape.Rules(), strings.Join(s.Env, " "),
		}, "|"))
		shape(s.Shape)
	}
	shape = func(s spec.Shape) {
		for _, f := range s.Fields {
			visit(f)
		}
		if s.Item != nil {
			shape(*s.Item)
		}
	}
	for _, s := range settings {
		visit(s)
	}
	return out
}

func TestDescribe(t *testing.T) {
	want := []string{
		"sink.acme.uri|secret text||not empty|ACME_URI SYNCD_SINK__ACME__URI",
		"sink.acme.token|secret text||not empty|SYNCD_SINK__ACME__TOKEN",
		"sink.acme.path|text||not empty|SYNCD_SINK__ACME__PATH",
		"sink.acme.host|text|a:2|host:port|ACME_HOST SYNCD_SINK__ACME__HOST",
		"sink.acme.mode|one of: fast, safe|fast||SYNCD_SINK__ACME__MODE",
		"sink.acme.old|text|||SYNCD_SINK__ACME__OLD",
		"sink.acme.size|whole number|3|at most 10, more than 0|SYNCD_SINK__ACME__SIZE",
		"sink.acme.port|one of: 1, 2|1||SYNCD_SINK__ACME__PORT",
		"sink.acme.ratio|number|0|at most 0.5|SYNCD_SINK__ACME__RATIO",
		"sink.acme.on|true or false|false||SYNCD_SINK__ACME__ON",
		"sink.acme.wait|time span|1m|1ms to 1m|SYNCD_SINK__ACME__WAIT",
		"sink.acme.tags|list of text|ab, cd|at most 3 entries, each at least 2 characters|SYNCD_SINK__ACME__TAGS",
		"sink.acme.sizes|list of whole number|||SYNCD_SINK__ACME__SIZES",
		"sink.acme.labels|block of names, each text|||",
		"sink.acme.option|block|||",
		"sink.acme.option.depth|whole number|0|not empty, at least 2|SYNCD_SINK__ACME__OPTION__DEPTH",
		"sink.acme.option.self|any value|||",
		"sink.acme.items|list of block|||",
		"sink.acme.items.<n>.name|text||not empty, at most 5 characters|",
		"sink.acme.level|one of: low, high or whole number (at least 1)|low||SYNCD_SINK__ACME__LEVEL",
		"sink.acme.opaque|any value|||",
	}
	if diff := cmp.Diff(want, flat(spec.Describe(refDefaults(), "sink", "acme"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestExample: what must be set, and what has an example; a variable where there is one, and always for a secret.
func TestExample(t *testing.T) {
	want := `uri: "${ACME_URI}"
token: "${ACME_TOKEN}"
path: out.json
host: "${ACME_HOST:-h:1}"
`
	if got := spec.Example(spec.Describe(refDefaults(), "sink", "acme")); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := spec.Example(spec.Describe(&refMany{Name: `a"b`})); got != "name: \"a\\\"b\"\n" {
		t.Errorf("a default is an example: got %s", got)
	}
}

func TestSchema(t *testing.T) {
	settings := spec.Describe(refDefaults(), "sink", "acme")
	schema, whole := compile(t, spec.SchemaOf(settings)), compile(t, spec.Requirements(settings))
	for _, c := range []struct {
		doc  string
		want bool
	}{
		{`{}`, true},
		{`[]`, false},
		{`{"unknown": 1}`, false},
		{`{"Internal": "x"}`, false},
		{`{"uri": "x", "token": 5}`, true},
		{`{"uri": ""}`, false},
		{`{"uri": null}`, false},
		{`{"path": 5}`, false},
		{`{"path": null}`, false},
		{`{"mode": "safe"}`, true},
		{`{"mode": "slow"}`, false},
		{`{"mode": "${MODE}"}`, true},
		{`{"mode": null}`, true},
		{`{"size": 10}`, true},
		{`{"size": 0}`, false},
		{`{"size": 11}`, false},
		{`{"size": "5"}`, false},
		{`{"size": 1.5}`, false},
		{`{"size": "${SIZE:-5}"}`, true},
		{`{"size": "$${SIZE}"}`, false},
		{`{"port": 2}`, true},
		{`{"port": 3}`, false},
		{`{"ratio": 0.5}`, true},
		{`{"ratio": 0.6}`, false},
		{`{"on": true}`, true},
		{`{"on": "true"}`, false},
		{`{"on": "${ON}"}`, true},
		{`{"wait": "1m30s"}`, true},
		{`{"wait": "1.5h"}`, true},
		{`{"wait": ".5s"}`, true},
		{`{"wait": 5}`, true},
		{`{"wait": 0.0005}`, false},
		{`{"wait": "soon"}`, false},
		{`{"wait": "1 m"}`, false},
		{`{"wait": "5"}`, true},
		{`{"tags": ["ab"]}`, true},
		{`{"tags": "ab,cd"}`, true},
		{`{"tags": ["a"]}`, false},
		{`{"tags": ["ab", "cd", "ef", "gh"]}`, false},
		{`{"tags": {"a": "b"}}`, false},
		{`{"sizes": [1, "${TWO}"]}`, true},
		{`{"sizes": 1}`, true},
		{`{"sizes": "1,2"}`, true},
		{`{"sizes": ["a"]}`, false},
		{`{"labels": {"any.name": "x"}}`, true},
		{`{"labels": {"a": {"b": "c"}}}`, false},
		{`{"option": null}`, true},
		{`{"option": {}}`, true},
		{`{"option": {"depth": 2, "self": {"depth": 1}}}`, true},
		{`{"option": {"depth": 1}}`, false},
		{`{"option": {"deep": 1}}`, false},
		{`{"items": [{"name": "abcde"}, {"name": "${LONG_NAME}"}]}`, true},
		{`{"items": [{"name": "abcdef"}]}`, false},
		{`{"items": "a"}`, false},
		{`{"level": "high"}`, true},
		{`{"level": 3}`, true},
		{`{"level": 0}`, false},
		{`{"level": "middle"}`, false},
		{`{"opaque": [{"a": 1}]}`, true},
	} {
		if got := accepts(t, schema, c.doc); got != c.want {
			t.Errorf("%s: accepted %t, want %t", c.doc, got, c.want)
		}
	}
	for _, c := range []struct {
		doc  string
		want bool
	}{
		{`{"uri": "x", "token": "x", "path": "x"}`, true},
		{`{"uri": "x", "token": "x", "path": "x", "option": {"depth": 3}, "items": [{"name": "x"}]}`, true},
		{`{"uri": "x", "token": "x"}`, false},
		{`{"uri": "x", "token": "x", "path": "x", "option": {}}`, false},
		{`{"uri": "x", "token": "x", "path": "x", "items": [{}]}`, false},
	} {
		if got := accepts(t, whole, c.doc); got != c.want {
			t.Errorf("what must be said: %s: accepted %t, want %t", c.doc, got, c.want)
		}
	}
}

// TestSchemaAgreesWithDecoder writes values into single settings and checks that the schema and the decoder agree.
func TestSchemaAgreesWithDecoder(t *testing.T) {
	schema := compile(t, spec.SchemaOf(spec.Describe(refDefaults())))
	text := func(s string) (*spec.Node, string) {
		b, _ := json.Marshal(s)
		return &spec.Node{Text: s, Type: spec.Text, Quoted: true}, string(b)
	}
	for _, name := range []string{"path", "mode", "old", "size", "port", "ratio", "on", "wait", "tags", "sizes", "labels", "option", "items"} {
		var values []*spec.Node
		var docs []string
		add := func(n *spec.Node, doc string) { values, docs = append(values, n), append(docs, doc) }
		for _, s := range []string{"", "x", "fast", "10s"} {
			if name == "sizes" || name == "items" || name == "tags" && s != "10s" {
				continue // the schema does not take a list in a text apart
			}
			add(text(s))
		}
		add(&spec.Node{Text: "2", Type: spec.Int}, "2")
		add(&spec.Node{Text: "-1", Type: spec.Int}, "-1")
		add(&spec.Node{Text: "0.25", Type: spec.Float}, "0.25")
		add(&spec.Node{Text: "true", Type: spec.Bool}, "true")
		add(&spec.Node{Text: "null", Type: spec.Null}, "null")
		add(&spec.Node{Kind: spec.Map}, "{}")
		add(&spec.Node{Kind: spec.List}, "[]")
		add(&spec.Node{Kind: spec.Map, Entries: []spec.Entry{{Name: "z", Value: &spec.Node{Kind: spec.List}}}}, `{"z": []}`)
		for i, n := range values {
			c := refDefaults()
			diags := spec.Decode(&spec.Node{Kind: spec.Map, Entries: []spec.Entry{{Name: name, Value: n}}}, c)
			legal := !slices.ContainsFunc(diags, func(d spec.Diagnostic) bool {
				if d.Severity != spec.Error || d.Code == spec.CodeMissingField && strings.HasPrefix(d.Path, "option.") {
					return false // what must be set is a matter of Requirements
				}
				return d.Path == name || strings.HasPrefix(d.Path, name+".")
			})
			if got := accepts(t, schema, `{"`+name+`": `+docs[i]+`}`); got != legal {
				t.Errorf("%s: %s: the schema accepts it: %t, the decoder: %t %v", name, docs[i], got, legal, diags)
			}
		}
	}
}

func compile(t *testing.T, s *spec.Schema) *jsonschema.Schema {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("s.json", doc); err != nil {
		t.Fatal(err)
	}
	out, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func accepts(t *testing.T, s *jsonschema.Schema, doc string) bool {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return s.Validate(v) == nil
}
