package reference

import (
	"fmt"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// diagnosticsPage describes every code: what it means, what to do, and a configuration that triggers it.
func diagnosticsPage(examples Examples) string {
	var b strings.Builder
	b.WriteString(generatedNote + "# Diagnostics\n\n" +
		"What `syncd validate` and `syncd run` say about a configuration ends with a code in brackets. Codes are stable.\n\n" +
		"| code | meaning |\n|---|---|\n")
	for _, c := range spec.Codes() {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", c.Code, c.Code, cell(c.Meaning))
	}
	for _, c := range spec.Codes() {
		fmt.Fprintf(&b, "\n## %s\n\n%s %s\n", c.Code, c.Meaning, c.Remedy)
		if e, ok := examples[c.Code]; ok {
			fmt.Fprintf(&b, "\nFor example, `%s`:\n\n%s\nsays\n\n%s", e.name, fenced("yaml ignore", e.text), fenced("text", said(e.diags)))
		}
	}
	return b.String()
}

// said is what validate prints.
func said(diags spec.Diagnostics) string {
	var b strings.Builder
	_ = diags.Write(&b, spec.FormatText) // writing to memory can't fail
	return b.String()
}
