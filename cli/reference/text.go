package reference

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// textWidth is where sentences wrap: a terminal of the usual width shows them whole.
const textWidth = 100

// TextPage is a plugin's reference page for a terminal.
func TextPage(p syncd.Plugin) string {
	settings := Settings(p)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n%s.\n\nExample:\n\n%s", p.Kind(), p.Name(), p.Summary(), maturity(p), indented(pluginExample(p), "  "))
	if len(settings) == 0 {
		b.WriteString("\nIt has no settings.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "\nSettings of %s.%s:\n\n", p.Kind(), p.Name())
	textTable(&b, settings)
	fmt.Fprintf(&b, "\nEvery setting has a variable of its own as well: %s, then its name in capitals, with two\n"+
		"underscores between the names of a block and of a setting in it.\n",
		spec.EnvName([]string{string(p.Kind()), p.Name(), ""}))
	return b.String()
}

// textTable writes one row a setting and below it what it means; what a block holds is indented.
func textTable(b *strings.Builder, settings []spec.Setting) {
	type row struct {
		cells [4]string
		notes []string
		depth int
	}
	rows := []row{{cells: [4]string{"NAME", "TYPE", "DEFAULT", "RULES"}}}
	walk(settings, 0, func(s spec.Setting, depth int) {
		kind, rules := s.Shape.Type(), rulesOf(s)
		if words, ok := strings.CutPrefix(kind, "one of: "); ok { // too wide for a column, except the last
			kind = "one of"
			rules = strings.Trim(words+"; "+rules, "; ")
		}
		r := row{
			cells: [4]string{strings.Repeat("  ", depth) + s.Name, kind, s.Default, rules},
			notes: wrap(s.Doc, textWidth-4-2*depth), depth: depth,
		}
		if len(s.Env) > 1 {
			r.notes = append(r.notes, "Variable: "+s.Env[0])
		}
		rows = append(rows, r)
	})
	var width [3]int
	for _, r := range rows {
		for i := range width {
			width[i] = max(width[i], utf8.RuneCountInString(r.cells[i]))
		}
	}
	for _, r := range rows {
		line := fmt.Sprintf("%-*s  %-*s  %-*s  %s", width[0], r.cells[0], width[1], r.cells[1], width[2], r.cells[2], r.cells[3])
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, note := range r.notes {
			b.WriteString(strings.Repeat("  ", r.depth) + "    " + note + "\n")
		}
	}
}

// wrap breaks a text between words.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

func indented(text, by string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}
