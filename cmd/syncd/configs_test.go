package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// TestConfigs loads every configuration in configs/ with the variables that it asks for, and checks that all of them map the
// described eight collections, and those of PostgreSQL their own.
func TestConfigs(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, diags := config.Load(config.Input{Path: file, Registry: registry, Environ: []string{
				"MONGODB_URI=mongodb://user:secret@mongo.example/?readPreference=secondaryPreferred", "MONGODB_DATABASE=ProjectManagement",
				"QDRANT_URL=https://qdrant.example", "QDRANT_API_KEY=key", "KAFKA_BOOTSTRAP_SERVERS=kafka.example:9093",
				"KAFKA_USERNAME=user", "KAFKA_PASSWORD=secret",
			}})
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			want := map[string]string{
				"page": "page", "workItem": "work_item", "project": "project", "cycle": "cycle",
				"module": "module", "epic": "epic", "features": "feature", "userStory": "user_story",
			}
			if name := filepath.Base(file); name == "postgres.yaml" || name == "pgvector.yaml" {
				want = map[string]string{"articles": "article", "documents": "document"} // of another database
			}
			for _, r := range c.Mapping.Rules {
				if want[r.Collection.Name] != r.ContentType {
					t.Errorf("collection %s has content type %q", r.Collection.Name, r.ContentType)
				}
				delete(want, r.Collection.Name)
			}
			if len(want) > 0 {
				t.Errorf("not mapped: %v", want)
			}
		})
	}
}

// TestProductionHasNoDefaultServers checks that nothing points production at localhost when a variable is missing.
func TestProductionHasNoDefaultServers(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	_, diags := config.Load(config.Input{Path: "../../configs/prod.yaml", Registry: registry})
	unset := 0
	for _, d := range diags {
		if d.Code == "unset-variable" {
			unset++
		}
	}
	if unset != 7 {
		t.Errorf("%d of 7 variables are asked for: %v", unset, diags)
	}
}

// TestTopicsThatKafkaConfuses: topics that differ in . and _ only are warned of, once each, wherever they come from.
func TestTopicsThatKafkaConfuses(t *testing.T) {
	for _, c := range []struct {
		name, sink, collections, more string
		want                          []string // LINE: what is said
	}{
		{name: "by the template", collections: "{page_a: page_a, page.a: page.a, pageXa: pageXa, page-a: page-a}", want: []string{
			`4: "db.page_a" for collection page_a and "db.page.a" for collection page.a differ in . and _ only: Kafka's metrics can't tell them apart, and brokers refuse to create the second`,
		}},
		{name: "of their own", collections: "{a: {content_type: a, topic: x.y_z}, b: {content_type: b, topic: x_y.z}, c: {content_type: c, topic: x_y_z}}", want: []string{`4: "x.y_z"`, `4: "x.y_z"`}},
		{name: "one topic for all", collections: "{a: {content_type: a, topic: x.y}, b: {content_type: b, topic: x.y}}"},
		{name: "two topics of two collections each", collections: "{a: {content_type: a, topic: x.y}, b: {content_type: b, topic: x.y}, c: {content_type: c, topic: x_y}, d: {content_type: d, topic: x_y}}", want: []string{`4: "x.y"`}},
		{name: "the prefix", sink: "topic_prefix: a.b, topic: '{collection}'", collections: "{c_d: c, c.d: d}", want: []string{`4: "a.b.c_d"`}},
		{name: "in content types", sink: "topic: '{content_type}'", collections: "{a: work_item, b: work.item}", want: []string{`4: "work_item"`}},
		{name: "the state topic", sink: "delivery: exactly_once, transactions: {id: x, state_topic: sync.state}", collections: "{a: {content_type: a, topic: sync_state}, b: b}", want: []string{`4: "sync.state" for the sink's own use and "sync_state" for collection a`}},
		{name: "the state topic that is not used", sink: "transactions: {state_topic: sync.state}", collections: "{a: {content_type: a, topic: sync_state}}"},
		{name: "dead letters", collections: "{a: a, b: b}", more: "errors: {dead_letter: {kafka: {topic: db_a}}}", want: []string{`5: "db.a" for collection a and "db_a" for dead letters`}},
		{name: "dead letters elsewhere", collections: "{a: a}", more: "errors: {dead_letter: {kafka: {topic: db_a, bootstrap_servers: elsewhere}}}"},
		{name: "dead letters in a file", collections: "{a: a}", more: "errors: {dead_letter: {file: {path: db_a}}}"},
		{name: "hyphens", collections: "{a-b: a, a_b: b}"},
		{name: "upper case", collections: "{A.b: a, a_b: b}"},
	} {
		text := fmt.Sprintf("source: {mongo: {uri: 'mongodb://h/', database: db}}\nchecker: {qdrant: {collection: c}}\nsink: {kafka: {%s}}\nmapping: {collections: %s}\n%s\n", c.sink, c.collections, c.more)
		conf, diags := config.Load(config.Input{Path: "c.yaml", Text: []byte(text), Registry: registry(t)})
		ok := len(diags) == len(c.want) && conf != nil
		for i, d := range diags {
			ok = ok && strings.HasPrefix(fmt.Sprintf("%d: %s", d.Pos.Line, d.Message), c.want[i]) && d.Severity == spec.Warning && !d.Related.IsZero()
		}
		if !ok {
			t.Errorf("%s: %v; want %q", c.name, diags, c.want)
		}
	}
}

// TestNamesFromVariables: a character that nobody sees is an error where a variable puts it, and the variable is named.
func TestNamesFromVariables(t *testing.T) {
	const text = "source: {mongo: {uri: 'mongodb://h/', database: \"${DB:-db}\"}}\nchecker: {qdrant: {collection: \"${COLLECTION:-c}\"}}\n" +
		"sink: {kafka: {topic: \"${TOPIC:-t}\"}}\nmapping: {collections: {page: \"${TYPE:-page}\", epic: {content_type: \"x${SUFFIX:-}\"}}}\nrun: {consumer_group: \"${GROUP:-g}\"}\n"
	for _, variable := range []string{"DB", "COLLECTION", "TYPE", "SUFFIX", "TOPIC", "GROUP", "QDRANT_COLLECTION", "MONGODB_DATABASE", "SYNCD_NAME", "SYNCD_RUN__CONSUMER_GROUP", "KAFKA_TOPIC_PREFIX", "SYNCD_SINK__KAFKA__CLIENT_ID"} {
		for value, want := range map[string]string{
			"pms": "", "p_m.s": "", "pms ": "ends with a blank (U+0020)", " pms": "begins with a blank (U+0020)", "pms\n": "ends with a line break (U+000A)",
			"pms\r": "ends with a line break (U+000D)", "pms\u00a0": "ends with a no-break space (U+00A0)", "\ufeffpms": "begins with a zero-width character (U+FEFF)", "pms\u200b": "ends with a zero-width character (U+200B)",
		} {
			if value == "p_m.s" && (variable == "DB" || variable == "MONGODB_DATABASE") {
				continue // a database has no dots
			}
			if variable == "SUFFIX" && strings.HasPrefix(want, "begins") {
				continue // it is in the middle
			}
			_, diags := config.Load(config.Input{Path: "c.yaml", Text: []byte(text), Registry: registry(t), Environ: []string{variable + "=" + value}})
			switch {
			case want == "" && len(diags) == 0:
			case want != "" && len(diags) == 1 && diags[0].Severity == spec.Error && strings.Contains(diags[0].Message, want) && strings.Contains(diags[0].String(), variable):
			default:
				t.Errorf("%s=%+q: %v; want %q", variable, value, diags, want)
			}
		}
	}
}

// TestAQueueThatCannotFill: a queue of events that is larger than run.memory lets it become is warned of, in the line that sets it.
func TestAQueueThatCannotFill(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	for more, want := range map[string]string{
		"sink: {kafka: {queue: {}}}":                                              "",
		"sink: {kafka: {queue: {max_bytes: 33554432}}}":                           "",
		"sink: {kafka: {queue: {max_bytes: 33554433}}}":                           "4: sink.kafka.queue.max_bytes is 33554433, but run.memory, 134217728, has room for 33554432",
		"sink: {kafka: {queue: {max_bytes: 33554433}}}\nrun: {memory: 268435456}": "",
		"sink: {kafka: {queue: {max_bytes: 8000000}}}\nrun: {memory: 16777216}":   "4: sink.kafka.queue.max_bytes is 8000000, but run.memory, 16777216, has room for 4194304",
	} {
		text := "source: {file: {path: exports}}\nchecker: {qdrant: {url: 'http://qdrant', collection: c}}\nmapping: {collections: {page: page}}\n" + more + "\n"
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, diags := config.Load(config.Input{Path: file, Registry: registry})
		var got []string
		for _, d := range diags {
			got = append(got, fmt.Sprintf("%d: %s", d.Pos.Line, d.Message))
		}
		if c == nil || strings.Join(got, "; ") != want {
			t.Errorf("%q: %q, want %q", more, got, want)
		}
	}
}
