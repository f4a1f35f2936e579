package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// variableValues are what the configurations ask for. They are written into the files before these are mutated: as variables they
// would take the place of what a mutation did.
var variableValues = map[string]string{
	"MONGODB_URI": "mongodb://user:secret@mongo.example/?readPreference=secondaryPreferred", "MONGODB_DATABASE": "ProjectManagement",
	"QDRANT_URL": "https://qdrant.example", "QDRANT_API_KEY": "key", "QDRANT_COLLECTION": "pms_collection",
	"KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9093", "KAFKA_USERNAME": "user", "KAFKA_PASSWORD": "secret",
}

// mutation changes one leaf: value, in the block parent, whose key is the entry before it.
type mutation struct {
	name   string
	change func(parent *yaml.Node, i int)
}

var mutations = []mutation{
	{"removed", func(parent *yaml.Node, i int) { parent.Content = slices.Delete(parent.Content, i-1, i+1) }},
	{"emptied", func(parent *yaml.Node, i int) {
		parent.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle}
	}},
	{"renamed", func(parent *yaml.Node, i int) { parent.Content[i-1].Value += "_zz" }},
	{"made a list", func(parent *yaml.Node, i int) {
		parent.Content[i] = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{parent.Content[i]}}
	}},
	{"made a block", func(parent *yaml.Node, i int) {
		parent.Content[i] = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: "zz"}, parent.Content[i]}}
	}},
	{"made a number", func(parent *yaml.Node, i int) {
		parent.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Value: "-7.5", Tag: "!!float"}
	}},
	{"made a switch", func(parent *yaml.Node, i int) {
		parent.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Value: "true", Tag: "!!bool"}
	}},
	{"made a word", func(parent *yaml.Node, i int) {
		parent.Content[i] = &yaml.Node{Kind: yaml.ScalarNode, Value: "zz", Tag: "!!str"}
	}},
}

// legalMutations lists the mutations that may pass in silence, each with its reason. Paths are patterns of path.Match with dots for
// slashes; a removed setting is judged by whether it has a default, see TestMutations.
var legalMutations = []struct{ path, mutation, reason string }{
	{"mapping.collections.*", "renamed", "collections have any name"},
	{"mapping.collections.*", "made a word", "content types are any text, as long as they differ"},
	{"mapping.collections.*.content_type", "made a word", "content types are any text, as long as they differ"},
	{"mapping.collections.*.filter", "made a word", "a column is an SQL expression"},
	{"source.postgres.schema", "made a word", "schemas have any name"},
	{"sink.pgvector.updated_at", "emptied", "documents have no version"},
	{"sink.pgvector.updated_at", "made a word", "columns have any name"},
	{"source.mongo.database", "made a word", "databases have any name"},
	{"checker.qdrant.collection", "made a word", "collections have any name"},
	{"checker.qdrant.url", "made a word", "a bare host name is an address"},
	{"checker.qdrant.url", "emptied", "it takes back what another file sets"},
	{"checker.qdrant.read_consistency", "emptied", "it asks one replica, the default"},
	{"checker.qdrant.api_key", "emptied", "no key is sent; not every Qdrant wants one"},
	{"sink.kafka.security.sasl.username", "made a word", "users have any name"},
	{"sink.kafka.bootstrap_servers", "made a word", "a bare host name is an address"},
	{"sink.kafka.topic", "made a word", "a topic without a placeholder takes all events"},
	{"sink.qdrant.url", "emptied", "it takes back what another file sets"},
	{"source.kafka.bootstrap_servers", "made a word", "a bare host name is an address"},
	{"source.kafka.database", "made a word", "databases have any name"},
	{"source.kafka.group_id", "made a word", "groups have any name"},
	{"source.kafka.topics", "made a word", "topics have any name"},
	{"source.kafka.topics", "made a list", "several topics may be read"},
	{"stages.chunk.title", "emptied", "documents have no title"},
	{"stages.embed.model", "made a word", "models have any name"},
	{"**", "made a number", "a secret is any text, also one of digits; of a time span it is seconds"},
	{"**", "made a switch", "a secret is any text"},
	{"**", "made a word", "a secret is any text"},
	{"extends", "made a list", "several files may be extended"},
	{"mapping.version.field", "made a word", "fields have any name"},
	{"mapping.version.field", "made a list", "of several the first counts that a document has"},
	{"mapping.version.payload", "made a word", "payload keys have any name"},
	{"mapping.chunks.payload", "made a word", "payload keys have any name"},
	{"run.wait", "made a switch", "it is one"},
	{"name", "made a word", "jobs have any name"},
	{"cluster.group", "made a word", "groups have any name"},
}

// TestMutations breaks every leaf of every configuration in every way. None may pass in silence unless it is legal, and what
// is said names nothing of the program's insides.
func TestMutations(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	texts := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = []byte(withValues(string(data)))
	}
	dir := t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil { // for those that extend it
			t.Fatal(err)
		}
	}
	forms := map[string]spec.Setting{}
	byPath(config.Describe(registry), forms)
	used := map[int]bool{}
	total, reported := 0, 0
	for name, text := range texts {
		in := config.Input{Path: filepath.Join(dir, name), Text: text, Registry: registry}
		if _, diags := config.Load(in); len(diags) > 0 {
			t.Fatalf("%s is not clean to begin with: %v", name, diags)
		}
		for n := range leaves(t, text) {
			for _, m := range mutations {
				mutated, path, changed := mutate(t, text, n, m)
				if !changed {
					continue // it was true already
				}
				in.Text = mutated
				_, diags := config.Load(in)
				total++
				for _, d := range diags {
					if found := goType.FindString(d.Message + " " + d.Hint); found != "" {
						t.Errorf("%q is a name of the program's insides: %s", found, d)
					}
				}
				if len(diags) > 0 {
					reported++
					continue
				}
				if m.name == "removed" && (!forms[path].Required || strings.Contains(string(text), "extends:")) {
					continue // there is a default, or an extended file that sets it
				}
				i := reasonFor(path, m.name, forms[path])
				if i < 0 {
					t.Errorf("%s: %s, %s: nobody notices", name, path, m.name)
					continue
				}
				used[i] = true
			}
		}
	}
	for i, l := range legalMutations {
		if !used[i] {
			t.Errorf("%s, %s is never legal: take it out of the list", l.path, l.mutation)
		}
	}
	t.Logf("%d mutations, %d reported", total, reported)
	if total < 300 || reported < total/2 {
		t.Errorf("%d mutations, %d reported", total, reported)
	}
}

// reasonFor finds what makes a silent mutation legal, or -1. The general entries are for secrets and time spans only.
func reasonFor(path, name string, s spec.Setting) int {
	return slices.IndexFunc(legalMutations, func(l struct{ path, mutation, reason string }) bool {
		if l.mutation != name {
			return false
		}
		if l.path == "**" {
			return s.Shape.Form == spec.SecretForm || s.Shape.Form == spec.SpanForm && name == "made a number"
		}
		ok, _ := filepath.Match(strings.ReplaceAll(l.path, ".", "/"), strings.ReplaceAll(path, ".", "/"))
		return ok
	})
}

func byPath(settings []spec.Setting, out map[string]spec.Setting) {
	for _, s := range settings {
		out[spec.PathString(s.Path)] = s
		byPath(s.Shape.Fields, out)
	}
}

var variableReference = regexp.MustCompile(`\$\{([A-Z_]+)(:-[^}]*)?\}`)

var numberVariable = regexp.MustCompile(`"\$\{[A-Z_]+:-([0-9]+)\}"`)

// withValues writes the variables' values, or their own defaults, into a configuration; a number is none in quotes.
func withValues(text string) string {
	text = numberVariable.ReplaceAllString(text, "$1")
	return variableReference.ReplaceAllStringFunc(text, func(v string) string {
		m := variableReference.FindStringSubmatch(v)
		if m[2] != "" {
			return strings.TrimPrefix(m[2], ":-")
		}
		return variableValues[m[1]]
	})
}

// leaves counts the scalars of a configuration.
func leaves(t *testing.T, text []byte) int {
	t.Helper()
	n := 0
	eachLeaf(parsed(t, text), "", func(string, *yaml.Node, int) { n++ })
	return n
}

func parsed(t *testing.T, text []byte) *yaml.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Content[0]
}

func eachLeaf(n *yaml.Node, path string, f func(path string, parent *yaml.Node, i int)) {
	for i := len(n.Content) - 1; i > 0; i -= 2 { // backwards, so that f may remove
		p := strings.TrimPrefix(path+"."+n.Content[i-1].Value, ".")
		if v := n.Content[i]; v.Kind == yaml.MappingNode {
			eachLeaf(v, p, f)
		} else {
			f(p, n, i)
		}
	}
}

// mutate changes the leaf of that number.
func mutate(t *testing.T, text []byte, number int, m mutation) (mutated []byte, path string, changed bool) {
	t.Helper()
	root := parsed(t, text)
	before := encoded(t, root)
	n := 0
	eachLeaf(root, "", func(p string, parent *yaml.Node, i int) {
		if n == number {
			path = p
			m.change(parent, i)
		}
		n++
	})
	mutated = encoded(t, root)
	return mutated, path, !bytes.Equal(mutated, before)
}

func encoded(t *testing.T, n *yaml.Node) []byte {
	t.Helper()
	b, err := yaml.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
