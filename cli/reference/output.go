package reference

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// outputPage describes what commands print for programs, by the types that they print.
func (p *Program) outputPage() string {
	var b strings.Builder
	b.WriteString(generatedNote + "# Output for programs\n\n" +
		"With `-o json` a command prints one JSON value on standard output, and nothing else there. `[]` behind a name stands for a list.\n")
	for _, o := range p.Outputs {
		t := reflect.TypeOf(o.Value)
		list := ""
		if t.Kind() == reflect.Slice {
			t, list = t.Elem(), "A list of:\n\n"
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s| field | meaning |\n|---|---|\n", o.Command, list)
		fieldRows(&b, t, "", nil)
	}
	return b.String()
}

// fieldRows writes a row for each field of a struct, and for what is in it. inside are the types around it.
func fieldRows(b *strings.Builder, t reflect.Type, prefix string, inside []reflect.Type) {
	for _, outer := range inside {
		if outer == t {
			return
		}
	}
	for f := range t.Fields() {
		if f.Anonymous {
			fieldRows(b, f.Type, prefix, inside)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		inner, lists := f.Type, 0
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice && inner.Elem().Kind() != reflect.Uint8 {
			if inner.Kind() == reflect.Slice {
				lists++
			}
			inner = inner.Elem()
		}
		path := prefix + name + strings.Repeat("[]", lists)
		fmt.Fprintf(b, "| `%s` | %s |\n", path, cell(f.Tag.Get("doc")))
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() && inner.Name() != "Counts" {
			fieldRows(b, inner, path+".", append(inside, t))
		}
	}
}
