package mapping_test

import (
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

func named(text string) syncd.Value { return syncd.Value{Text: text, Set: true} }

func TestWhatMakesAPointTheRules(t *testing.T) {
	payload := func(value string) *mapping.Owner { return &mapping.Owner{Payload: "source", Value: value} }
	for name, c := range map[string]struct {
		seed     string
		owner    *mapping.Owner
		database string
		owned    bool
		owns     map[string]bool // the payload key's text
	}{
		"nothing":                                 {seed: mapping.DefaultSeed, database: "t1"},
		"the collection alone":                    {seed: "{mongo_id}/{collection}/{chunk_index}", database: "t1"},
		"the database in the seed":                {seed: "{database}/{mongo_id}/{chunk_index}", database: "t1", owned: true},
		"the database in the seed, not known":     {seed: "{database}/{mongo_id}/{chunk_index}"},
		"braces that only look like the database": {seed: "{{database}}/{mongo_id}/{chunk_index}", database: "t1"},
		"the word in the seed":                    {seed: "database/t1/{mongo_id}/{chunk_index}", database: "t1"},
		"a field of that name":                    {seed: "{fields.database}/{mongo_id}/{chunk_index}", database: "t1"},
		"exclusive":                               {seed: mapping.DefaultSeed, owner: &mapping.Owner{Exclusive: true}, owned: true},
		"a payload key": {
			seed: mapping.DefaultSeed, owner: payload(""), database: "t1", owned: true,
			owns: map[string]bool{"t1": true, "t2": false, "T1": false, "t1 ": false, "": false, "t11": false, `["t1"]`: false},
		},
		"a payload key and a text": {
			seed: mapping.DefaultSeed, owner: payload("eu-1/{database}.{collection}"), database: "t1", owned: true,
			owns: map[string]bool{"eu-1/t1.page": true, "t1": false, "eu-1/t1.epic": false, "eu-2/t1.page": false},
		},
		"a payload key and a fixed text":                {seed: mapping.DefaultSeed, owner: payload("eu"), owned: true, owns: map[string]bool{"eu": true}},
		"a payload key, and no database":                {seed: mapping.DefaultSeed, owner: payload("")},
		"a payload key, and no database in a text":      {seed: mapping.DefaultSeed, owner: payload("eu/{database}")},
		"a payload key beside the database in the seed": {seed: "{database}/{mongo_id}", owner: payload(""), database: "t1", owned: true, owns: map[string]bool{"t2": false}},
	} {
		t.Run(name, func(t *testing.T) {
			m := mapping.Defaults()
			m.Seed, m.Owner = c.seed, c.owner
			m.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
			d := spec.NewDecoder()
			rules := mapping.Compile(m, c.database, d, nil).Rules
			if len(d.Diagnostics()) > 0 {
				t.Fatal(d.Diagnostics())
			}
			if got := rules[0].Owned(); got != c.owned {
				t.Errorf("owned: %t", got)
			}
			for text, want := range c.owns {
				if got := rules[0].Owns(named(text)); got != want {
					t.Errorf("a point that names %q: %t", text, got)
				}
			}
			if key := c.owner != nil && c.owner.Payload != ""; rules[0].Owns(syncd.Value{}) == key {
				t.Errorf("a point that names nothing: %t", !key)
			}
		})
	}
}

func TestOwnersThatSayNothingUseful(t *testing.T) {
	for value, want := range map[string]string{
		"{mongo_id}":                "mapping.owner.value: it must be the same for all points of a collection",
		"{database}/{fields.a}{id}": "mapping.owner.value: it must be the same for all points of a collection",
		"{fields.a}":                "mapping.owner.value: it must be the same for all points of a collection",
		"{chunk_index}":             "mapping.owner.value: it must be the same for all points of a collection",
		"{databse}":                 "mapping.owner.value: unknown placeholder {databse}",
		"{database":                 `mapping.owner.value: "{" without "}"`,
	} {
		m := mapping.Defaults()
		m.Owner = &mapping.Owner{Payload: "source", Value: value}
		m.Collections = mapping.Collections{{Name: "page", ContentType: "page"}, {Name: "epic", ContentType: "epic"}}
		d := spec.NewDecoder()
		mapping.Compile(m, "db", d, nil)
		if diags := d.Diagnostics(); len(diags) != 1 || diags[0].Message != want {
			t.Errorf("%s: %v", value, diags)
		}
	}
}
