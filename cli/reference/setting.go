package reference

import (
	"fmt"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// Flat are the settings and all that are below them, each once.
func Flat(settings []spec.Setting) (out []spec.Setting) {
	seen := map[string]bool{}
	walk(settings, 0, func(s spec.Setting, _ int) {
		if path := spec.PathString(s.Path); !seen[path] {
			seen[path] = true
			out = append(out, s)
		}
	})
	return out
}

// Sections lists settings with what each is about, for a terminal.
func Sections(settings []spec.Setting) string {
	var b strings.Builder
	for _, s := range settings {
		fmt.Fprintf(&b, "%-10s %s\n", s.Name, strings.Join(wrap(s.Doc, textWidth-11), "\n"+strings.Repeat(" ", 11)))
	}
	b.WriteString("\nsyncd settings SECTION lists what can stand in one, and syncd settings run.orphans explains one setting.\n")
	return b.String()
}

// SettingText explains one setting, for a terminal, and lists what is in it if it is a block.
func SettingText(s spec.Setting) string {
	var b strings.Builder
	b.WriteString(spec.PathString(s.Path) + "\n\n")
	for _, line := range wrap(s.Doc, textWidth-2) {
		b.WriteString("  " + line + "\n")
	}
	b.WriteString("\n")
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-10s%s\n", name, value)
		}
	}
	below := s.Shape.Fields
	if s.Shape.Item != nil {
		below = append(slices.Clone(below), s.Shape.Item.Fields...)
	}
	if s.Shape.Form == spec.OneOfForm { // what each can hold is a page of its own
		below = slices.Clone(below)
		for i := range below {
			below[i].Shape.Fields = nil
		}
	}
	row("takes", s.Shape.Type())
	row("rules", rulesOf(s))
	row("default", s.Default)
	row("example", s.Example)
	row("variable", strings.Join(s.Env, ", "))
	if len(below) > 0 {
		b.WriteString("\n")
		textTable(&b, below)
	}
	return b.String()
}

// CodeText explains a diagnostic's code, for a terminal; false if there is none of that name.
func CodeText(name string) (text string, found bool) {
	for _, c := range spec.Codes() {
		if string(c.Code) == name {
			return fmt.Sprintf("%s\n\n  %s\n\n  %s\n", c.Code, strings.Join(wrap(c.Meaning, textWidth-2), "\n  "), strings.Join(wrap(c.Remedy, textWidth-2), "\n  ")), true
		}
	}
	return "", false
}
