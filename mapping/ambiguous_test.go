package mapping

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd/spec"
)

func TestSeedsThatTellChunksApart(t *testing.T) {
	for _, c := range []struct {
		seed    string
		chunks  bool
		code    spec.Severity
		message string // "" is none
	}{
		{"{mongo_id}", true, spec.Error, "the seed has no {chunk_index}"},
		{"{mongo_id}/{content_type}", true, spec.Error, "the seed has no {chunk_index}"},
		{"{mongo_id}/{{chunk_index}}", true, spec.Error, "the seed has no {chunk_index}"},
		{"{mongo_id}", false, "", ""},
		{"{mongo_id}/{content_type}", false, "", ""},
		{DefaultSeed, true, "", ""},
		{"{chunk_index}:{mongo_id}", true, "", ""},
		{"{mongo_id}-{chunk_index}", true, "", ""},
		{"{mongo_id}{content_type}{chunk_index}", true, "", ""},
		{"{content_type}{mongo_id}#{chunk_index}", true, "", ""},
		{"{fields.tenant}/{mongo_id}/{chunk_index}", true, "", ""},
		{"{mongo_id}.0.{chunk_index}", true, "", ""},
		{"{mongo_id}/{chunk_index}{content_type}", true, "", ""},
		{"{mongo_id}{chunk_index}", true, spec.Warning, `chunk 11 of id 1 and chunk 1 of id 11 both have "111"`},
		{"{mongo_id}{chunk_index}", false, spec.Warning, `both have "111"`},
		{"{id}{chunk_index}/{content_type}", true, spec.Warning, `both have "111/page"`},
		{"{content_type}:{chunk_index}{id}", true, spec.Warning, "both have"},
		{"{mongo_id}0{chunk_index}", true, spec.Warning, "both have"},
		{"{mongo_id}7{chunk_index}", true, spec.Warning, "both have"},
		{"{mongo_id}2024{chunk_index}", true, spec.Warning, "both have"},
		{"{fields.tenant}{mongo_id}/{chunk_index}", true, spec.Warning, "with tenant"},
		{"{fields.tenant}{mongo_id}", false, spec.Warning, `id 11 with tenant 1 and id 1 with tenant 11 both have "111"`},
		{"{mongo_id}/{fields.n}{chunk_index}", true, spec.Warning, "both have"},
	} {
		config := described()
		config.Collections = config.Collections[:1]
		config.Seed = c.seed
		if c.chunks {
			config.Chunks = &Chunks{Payload: "n"}
		}
		m, diags := compiled(t, config, "db")
		if c.message == "" {
			if len(diags) > 0 {
				t.Errorf("%s with chunks=%v: %v", c.seed, c.chunks, diags)
			}
			continue
		}
		if len(diags) != 1 || diags[0].Severity != c.code || diags[0].Code != spec.CodeSeed || !strings.Contains(diags[0].Message, c.message) {
			t.Errorf("%s with chunks=%v: %v, want %q", c.seed, c.chunks, diags, c.message)
		}
		if c.code == spec.Warning && len(m.Rules) != 1 {
			t.Errorf("%s: it is no mapping any more", c.seed)
		}
	}
}

// FuzzAmbiguity: any template that compiles is looked at without a panic, and an id alone is never ambiguous.
func FuzzAmbiguity(f *testing.F) {
	for _, seed := range []string{"{id}{chunk_index}", "{id}0{chunk_index}", "{fields.a}{id}/{chunk_index}", "{id}{id}", "{fields.a}{fields.b}{id}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, terr := compile(text, nil)
		if terr != nil {
			return
		}
		example := tmpl.ambiguity()
		if example != "" && !strings.Contains(example, " both have ") {
			t.Errorf("%q: %s", text, example)
		}
		if len(tmpl.parts) == 1 && tmpl.parts[0].kind == partID && example != "" {
			t.Errorf("%q is an id alone: %s", text, example)
		}
	})
}

// TestASeedOfOneCollection is warned of at its own place, and a shared one once.
func TestASeedOfOneCollection(t *testing.T) {
	config := described()
	config.Collections[2].Seed = "{mongo_id}{chunk_index}"
	_, diags := compiled(t, config, "db")
	if len(diags) == 0 || diags[0].Path != "mapping.collections.project.seed" {
		t.Errorf("%v", diags)
	}
	config = described()
	config.Seed, config.Chunks = "{mongo_id}/{content_type}", &Chunks{Payload: "n"}
	if _, diags = compiled(t, config, "db"); len(diags) != 1 || diags[0].Path != "mapping.seed" {
		t.Errorf("%v", diags)
	}
}
