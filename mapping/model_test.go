package mapping_test

import (
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// TestAPointOfAnotherModelIsStale: whatever else it says; one that names no model is taken to be of the right one.
func TestAPointOfAnotherModelIsStale(t *testing.T) {
	compile := func(model string) *mapping.Rule {
		t.Helper()
		d := spec.NewDecoder()
		c := mapping.Config{Namespace: "url", Seed: mapping.DefaultSeed, Payload: mapping.Defaults().Payload, Collections: []mapping.Collection{{Name: "page", ContentType: "page"}}}
		c.Indexed(syncd.PayloadKeys{ChunkCount: "chunk_count", UpdatedAt: "updatedAt", Model: "model"}, model)
		m := mapping.Compile(c, "db", d, nil)
		if diags := d.Diagnostics(); len(diags) > 0 {
			t.Fatal(diags)
		}
		return m.Rules[0]
	}
	rule := compile("new@1")
	set := func(text string) syncd.Value { return syncd.Value{Text: text, Set: true} }
	document := syncd.Change{Fields: []syncd.Value{set("2026-01-02T00:00:00Z")}}
	for name, c := range map[string]struct {
		payload map[string]syncd.Value
		want    syncd.Verdict
		other   bool
	}{
		"the same":                   {map[string]syncd.Value{"updatedAt": document.Fields[0], "model": set("new@1")}, syncd.Present, false},
		"another model":              {map[string]syncd.Value{"updatedAt": document.Fields[0], "model": set("old")}, syncd.Stale, true},
		"another version of it":      {map[string]syncd.Value{"updatedAt": document.Fields[0], "model": set("new@2")}, syncd.Stale, true},
		"no model":                   {map[string]syncd.Value{"updatedAt": document.Fields[0]}, syncd.Present, false},
		"another document version":   {map[string]syncd.Value{"updatedAt": set("2026-01-01T00:00:00Z"), "model": set("new@1")}, syncd.Stale, false},
		"both":                       {map[string]syncd.Value{"updatedAt": set("2026-01-01T00:00:00Z"), "model": set("old")}, syncd.Stale, true},
		"another model, a bad count": {map[string]syncd.Value{"updatedAt": document.Fields[0], "model": set("old"), "chunk_count": set("x")}, syncd.Stale, true},
	} {
		found := syncd.Found{Present: true}
		for _, key := range rule.PayloadKeys() {
			found.Payload = append(found.Payload, c.payload[key])
		}
		if got, _ := rule.Judge(&document, &found); got != c.want || rule.OtherModel(&found) != c.other {
			t.Errorf("%s: %v, of another model %t; want %v, %t", name, got, rule.OtherModel(&found), c.want, c.other)
		}
	}
	if missing := (syncd.Found{}); rule.OtherModel(&missing) {
		t.Error("a point that is not there is of another model")
	}
	// What an interrupted run kept under another model means nothing.
	if rule.Fingerprint() == compile("new@2").Fingerprint() {
		t.Error("rules of two models have one fingerprint")
	}
	if rule.Identity() != compile("new@2").Identity() {
		t.Error("the point ids follow from the model")
	}
}
