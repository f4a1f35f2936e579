package codec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/spec"
)

// block makes a section of settings; a value may name another source behind an @.
func block(t *testing.T, text string) *spec.Node {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	n := &spec.Node{Kind: spec.Map, Pos: spec.Pos{Source: "c.yaml", Line: 1, Column: 1}}
	for i := 0; i < len(doc.Content[0].Content); i += 2 {
		k, v := doc.Content[0].Content[i], doc.Content[0].Content[i+1]
		value, source, other := strings.Cut(v.Value, "@")
		if !other {
			source = "c.yaml"
		}
		child := &spec.Node{Kind: spec.Scalar, Type: spec.Text, Text: value, Pos: spec.Pos{Source: source, Line: v.Line, Column: v.Column}}
		if v.Tag == "!!int" {
			child.Type = spec.Int
		}
		n.Entries = append(n.Entries, spec.Entry{Name: k.Value, Value: child})
	}
	return n
}

func TestConfig(t *testing.T) {
	for text, want := range map[string][]string{
		"profile: plain":       nil,
		"profile: mongo_kafka": nil,
		"{profile: mongo_kafka, json: extended, wire: connect_json, key_wire: string, id: none, connector_version: 2}": nil,
		// Settings of the other profile.
		"json: extended": {"event.json has no effect with the profile plain"},
		"{profile: plain, wire: bson, key_wire: bson, id: none, connector_version: 2}": {
			"event.wire has no effect with the profile plain", "event.key_wire has no effect with the profile plain",
			"event.id has no effect with the profile plain", "event.connector_version has no effect with the profile plain",
		},
		// A variable that sets the profile for one run is no reason to complain about the file.
		"{profile: plain@SYNCD_EVENT__PROFILE, json: extended}": nil,
		// BSON has no JSON.
		"{profile: mongo_kafka, wire: bson, json: extended, connector_version: 2}": {
			"event.json has no effect with wire bson: nothing is written as JSON",
			"event.connector_version has no effect with wire bson: nothing is written as JSON",
		},
		"{profile: mongo_kafka, wire: bson, key_wire: string, json: extended}": nil,
		"{profile: mongo_kafka, wire: bson@base.yaml, json: extended}":         nil,
		// Words that are not known.
		"{delete_format: tombstone, profile: plain}":   nil,
		"delete_format: none":                          {"event.delete_format must be one of: event, tombstone"},
		"profile: kafka":                               {"event.profile must be one of: plain, mongo_kafka"},
		"{profile: mongo_kafka, key_wire: avro}":       {"event.key_wire must be one of: string, connect_json_schema, connect_json, bson"},
		"{profile: mongo_kafka, connector_version: 4}": {"event.connector_version must be at most 3"},
	} {
		c := codec.Defaults()
		var got []string
		for _, d := range spec.Decode(block(t, text), &c, "event") {
			if d.Code == spec.CodeNoEffect && (d.Severity != spec.Warning || d.Pos.Line == 0 || !strings.HasPrefix(d.Path, "event.") || d.Hint == "") {
				t.Errorf("%s: %+v", text, d)
			}
			got = append(got, d.Message)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// TestEverySettingCounts: each setting that differs from the default makes another encoder, and defaults may be left out.
func TestEverySettingCounts(t *testing.T) {
	base := codec.Config{Profile: codec.MongoKafka}
	full := codec.Defaults()
	full.Profile = codec.MongoKafka
	plain := mongoKafkaText(t, base.Encoder())
	if got := mongoKafkaText(t, full.Encoder()); got != plain {
		t.Errorf("the defaults write %s, nothing writes %s", got, plain)
	}
	seen := map[string]string{plain: "the defaults"}
	for name, change := range map[string]func(*codec.Config){
		"profile":           func(c *codec.Config) { c.Profile = codec.Plain },
		"extended":          func(c *codec.Config) { c.JSON = codec.ExtendedJSON },
		"simplified":        func(c *codec.Config) { c.JSON = codec.SimplifiedJSON },
		"schema":            func(c *codec.Config) { c.Wire = codec.WireConnectJSONSchema },
		"json":              func(c *codec.Config) { c.Wire = codec.WireConnectJSON },
		"bson":              func(c *codec.Config) { c.Wire = codec.WireBSON },
		"key_wire":          func(c *codec.Config) { c.KeyWire = codec.WireBSON },
		"delete_format":     func(c *codec.Config) { c.DeleteFormat = codec.DeleteTombstone },
		"id":                func(c *codec.Config) { c.ID = codec.NoID },
		"connector_version": func(c *codec.Config) { c.ConnectorVersion = 1 },
	} {
		c := full
		change(&c)
		got := mongoKafkaText(t, c.Encoder())
		if other, ok := seen[got]; ok {
			t.Errorf("%s writes the same as %s", name, other)
		}
		seen[got] = name
	}
}

func mongoKafkaText(t *testing.T, e codec.Encoder) string {
	t.Helper()
	doc, _ := everyType(t)
	key, err := e.AppendKey(nil, "x", doc)
	if err != nil {
		t.Fatal(err)
	}
	value, err := e.AppendValue(nil, syncd.Insert, target, "x", doc)
	if err != nil {
		t.Fatal(err)
	}
	_, deleted, err := e.Preview(&syncd.Change{Target: &target, ID: "x", Operation: syncd.Delete})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %s", key, value, deleted)
}
