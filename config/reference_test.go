package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// TestDescribedDefaults compares the defaults that the reference names with those that a configuration gets.
func TestDescribedDefaults(t *testing.T) {
	c, diags := load(t, minimal)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	got := map[string]string{}
	for name, section := range map[string]any{"run": &c.Run, "limits": &c.Limits, "errors": &c.Errors, "observe": &c.Observe} {
		for _, s := range spec.Describe(section, name) {
			got[spec.PathString(s.Path)] = s.Default
		}
	}
	n := 0
	for _, section := range config.Describe(registry(t)) {
		for _, s := range section.Shape.Fields {
			if want, ok := got[spec.PathString(s.Path)]; ok {
				n++
				if s.Default != want {
					t.Errorf("%s: the reference says %q, a configuration gets %q", spec.PathString(s.Path), s.Default, want)
				}
			}
		}
	}
	if n != len(got) || n < 10 {
		t.Errorf("%d of %d settings are described", n, len(got))
	}
}

// TestDescribedSections: the reference has every section, what extends is, and the plugins' settings with their variables.
func TestDescribedSections(t *testing.T) {
	names := ""
	for _, s := range config.Describe(registry(t)) {
		names += s.Name + " "
		if s.Name == "source" {
			uri := s.Shape.Fields[0].Shape.Fields[0]
			if !s.Required || fmt.Sprint(uri.Env) != "[MONGODB_URI SYNCD_SOURCE__MONGO__URI]" || !uri.Required {
				t.Errorf("source: %+v", uri)
			}
		}
	}
	if want := "extends name source checker stages sink mapping run stream schedule limits errors cluster observe "; names != want {
		t.Errorf("sections %s, want %s", names, want)
	}
}

// TestSchemaRequiresCollections: a file that stands alone must name what it reads; its name it may leave to the file's.
func TestSchemaRequiresCollections(t *testing.T) {
	whole := config.Schema(registry(t)).Then
	if got := fmt.Sprint(whole.Required); got != "[source sink mapping]" {
		t.Errorf("required: %s", got)
	}
	if m := whole.Properties["mapping"]; m == nil || fmt.Sprint(m.Required) != "[collections]" {
		t.Errorf("required of mapping: %+v", m)
	}
}

// TestExample: the example of a whole configuration is one.
func TestExample(t *testing.T) {
	text := spec.Example(config.Describe(registry(t)))
	for _, want := range []string{"name: pages-to-qdrant\n", "\n  collections: {workItem: work_item}\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
