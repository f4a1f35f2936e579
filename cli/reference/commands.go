package reference

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commandsPage describes every command that a user can call, from the commands themselves.
func commandsPage(root *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s# Commands\n\n%s\n\n| command | what it does |\n|---|---|\n", generatedNote, root.Long)
	commands := visible(root)
	for _, c := range commands {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", c.CommandPath(), anchor(c.CommandPath()), cell(c.Short))
	}
	for _, c := range commands {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
		if c.Long != "" && c.Name() != "completion" {
			b.WriteString(fenced("text", strings.TrimSpace(c.Long)+"\n") + "\n")
		}
		b.WriteString(fenced("text", useLine(c)+"\n"))
		if c.Example != "" {
			b.WriteString("\nExamples:\n\n" + fenced("sh", unindented(c.Example)+"\n"))
		}
		flagTable(&b, c)
	}
	return b.String()
}

// visible lists the commands below c, each before those below it. The shells of completion are its own affair.
func visible(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" {
			continue
		}
		if sub.Runnable() || sub.Name() == "completion" {
			out = append(out, sub)
		}
		if sub.Name() != "completion" {
			out = append(out, visible(sub)...)
		}
	}
	return out
}

func useLine(c *cobra.Command) string {
	if c.Name() == "completion" {
		return c.CommandPath() + " bash | fish | powershell | zsh"
	}
	return c.UseLine()
}

func flagTable(b *strings.Builder, c *cobra.Command) {
	var rows strings.Builder
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		kind, def := flagType(f), f.DefValue
		if def == "[]" || def == "false" || def == "0s" {
			def = ""
		}
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&rows, "| %s | %s | %s | %s |\n", name, kind, code(def), cell(usage))
	})
	if rows.Len() > 0 {
		b.WriteString("\n| flag | value | default | meaning |\n|---|---|---|---|\n" + rows.String())
	}
}

// flagType names a flag's type in a user's words.
func flagType(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "bool":
		return "none"
	case "stringArray":
		return "text; may be given several times"
	case "stringSlice":
		return "texts with commas between; may be given several times"
	case "int", "int64", "uint", "count":
		return "whole number"
	case "float64":
		return "number"
	case "duration":
		return "time span"
	}
	return "text"
}

func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }

func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	return b.String()
}
