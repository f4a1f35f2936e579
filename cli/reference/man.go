package reference

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ManPages makes a man page of the program and one of each command, by file name, in the macros of man(7). A zero date leaves
// the date out.
func (p *Program) ManPages(date time.Time) map[string]string {
	out := map[string]string{}
	all := append([]*cobra.Command{p.Root}, visible(p.Root)...)
	for _, c := range all {
		out[manName(c)+".1"] = p.manPage(c, all, date)
	}
	return out
}

func manName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (p *Program) manPage(c *cobra.Command, all []*cobra.Command, date time.Time) string {
	day := ""
	if !date.IsZero() {
		day = date.UTC().Format(time.DateOnly)
	}
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %q %q \"User Commands\"\n", strings.ToUpper(manName(c)), day, "syncd "+p.Version)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(c)), roff(strings.TrimSuffix(c.Short, ".")))
	line := useLine(c)
	if !c.HasParent() {
		line = "syncd COMMAND [flags]"
	}
	fmt.Fprintf(&b, ".SH SYNOPSIS\n%s\n", roff(line))
	text := c.Long
	if text == "" {
		text = strings.TrimSuffix(c.Short, ".") + "."
	}
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s", manParagraphs(text))
	manFlags(&b, c)
	if c.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.nf\n%s\n.fi\n", roff(unindented(strings.Trim(c.Example, "\n"))))
	}
	b.WriteString(".SH EXIT STATUS\n")
	for _, e := range p.ExitCodes {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", e.Code, roff(e.Meaning))
	}
	if c.HasParent() {
		b.WriteString(".SH SEE ALSO\n.BR syncd (1)\n")
		return b.String()
	}
	b.WriteString(".SH ENVIRONMENT\n" + roff("Every setting has a variable of its own: SYNCD_, then its path in capitals with two underscores "+
		"between the names, such as SYNCD_RUN__BATCH_SIZE. A flag counts before a variable, and a variable before the file.") + "\n")
	b.WriteString(".SH SEE ALSO\n")
	for i, sub := range all[1:] {
		end := ","
		if i == len(all)-2 {
			end = ""
		}
		fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(manName(sub)), end)
	}
	return b.String()
}

func manFlags(b *strings.Builder, c *cobra.Command) {
	var flags strings.Builder
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := `\fB` + roff("--"+f.Name) + `\fR`
		if f.Shorthand != "" {
			name = `\fB` + roff("-"+f.Shorthand) + `\fR, ` + name
		}
		value, usage := pflag.UnquoteUsage(f)
		if value == "string" || value == "strings" || value == "stringArray" {
			value = "text" // a type's name is a programmer's word
		}
		if value != "" {
			name += ` \fI` + roff(value) + `\fR`
		}
		if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" && f.DefValue != "0s" {
			usage += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		fmt.Fprintf(&flags, ".TP\n%s\n%s\n", name, roff(usage))
	})
	if flags.Len() > 0 {
		b.WriteString(".SH OPTIONS\n" + flags.String())
	}
}

// manParagraphs keeps paragraphs and, in those that are indented, lines.
func manParagraphs(text string) string {
	var b strings.Builder
	for i, p := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		if strings.HasPrefix(p, " ") || strings.HasPrefix(p, "\t") {
			fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(p))
		} else {
			b.WriteString(roff(p) + "\n")
		}
	}
	return b.String()
}

// roff escapes what roff would read as its own: backslashes, hyphens that are to stay hyphens, and a full stop or an
// apostrophe at the start of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "…", "...", "→", `\(->`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
