package reference

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// MarkdownPage is a plugin's reference page for documentation.
func MarkdownPage(p syncd.Plugin) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n\n%s\n\n%s.\n\n%s", p.Kind(), p.Name(), p.Summary(), maturity(p), fenced("yaml fragment", pluginExample(p)))
	settings := Settings(p)
	if len(settings) == 0 {
		b.WriteString("\nIt has no settings.\n")
		return b.String()
	}
	fmt.Fprintf(&b, "\n## Settings of `%s.%s`\n\n", p.Kind(), p.Name())
	markdownTable(&b, settings, 2)
	return b.String()
}

// maturity says how far a plugin has come.
func maturity(p syncd.Plugin) string {
	if p.Version() == "" {
		return "Stability: " + string(p.Stability())
	}
	return fmt.Sprintf("Version %s; stability: %s", p.Version(), p.Stability())
}

// markdownTable writes one row a setting, with what blocks hold below them. skip is the number of names at the beginning of
// every path that the heading says already.
func markdownTable(b *strings.Builder, settings []spec.Setting, skip int) {
	b.WriteString("| setting | type | default | rules | variables | meaning |\n|---|---|---|---|---|---|\n")
	walk(settings, 0, func(s spec.Setting, _ int) {
		var variables []string
		for _, name := range s.Env {
			variables = append(variables, code(name))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n",
			code(spec.PathString(s.Path[skip:])), cell(s.Shape.Type()), code(s.Default), cell(rulesOf(s)),
			strings.Join(variables, "<br>"), cell(s.Doc))
	})
}

func indexPage(registry *syncd.Registry) string {
	var b strings.Builder
	b.WriteString(generatedNote + "# Reference\n\n" +
		"- [Configuration](configuration.md): every setting that is not a plugin's, and the environment variables\n" +
		"- [Service](service.md): the settings of a service of many jobs\n" +
		"- [Commands](cli.md): every command and flag\n" +
		"- [Output for programs](output.md): what commands print with `-o json`\n" +
		"- [Diagnostics](diagnostics.md): every code, with an example\n\n")
	b.WriteString(PluginTable(ByKind(registry), true))
	return b.String()
}

// PluginTable lists plugins, with links to their pages or without.
func PluginTable(plugins []syncd.Plugin, links bool) string {
	var b strings.Builder
	b.WriteString("| kind | name | version | stability | summary |\n|---|---|---|---|---|\n")
	for _, p := range plugins {
		name := p.Name()
		if links {
			name = "[" + name + "](" + pageName(p) + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", p.Kind(), name, cmp.Or(p.Version(), "-"), p.Stability(), cell(p.Summary()))
	}
	return b.String()
}

// configurationPage describes everything that stands outside the plugins' blocks.
func (p *Program) configurationPage() string {
	var b strings.Builder
	b.WriteString(generatedNote + "# Configuration\n\n" + fenced("yaml", p.fileExample()))
	settings := config.Describe(p.Registry)
	var single []spec.Setting
	for _, s := range settings {
		if s.Shape.Form != spec.BlockForm && s.Shape.Form != spec.OneOfForm {
			single = append(single, s)
		}
	}
	b.WriteString("\n## The file\n\n")
	markdownTable(&b, single, 0)
	for _, s := range settings {
		stages := s.Name == syncd.KindStage.Section()
		switch {
		case s.Shape.Form == spec.BlockForm && !stages:
			fmt.Fprintf(&b, "\n## `%s`\n\n%s\n\n", s.Name, s.Doc)
			markdownTable(&b, s.Shape.Fields, 1)
		case s.Shape.Form == spec.OneOfForm, stages:
			holds := "the name of one plugin, and below it the plugin's settings"
			if stages {
				holds = "the names of plugins, and below each the plugin's settings"
			}
			fmt.Fprintf(&b, "\n## `%s`\n\n%s It holds %s.\n\n", s.Name, s.Doc, holds)
			var plugins []syncd.Plugin
			for _, p := range ByKind(p.Registry) {
				if p.Section() == s.Name {
					plugins = append(plugins, p)
				}
			}
			b.WriteString(PluginTable(plugins, true))
		default:
		}
	}
	b.WriteString("\n## Environment variables\n\n" +
		"Every setting has a variable of its own: " + code(spec.EnvPrefix) + ", then its path in capitals with two underscores between the\n" +
		"names, such as " + code(spec.EnvName([]string{"run", "batch_size"})) + ". These settings have a second one:\n\n" +
		"| variable | setting |\n|---|---|\n")
	walk(settings, 0, func(s spec.Setting, _ int) {
		if len(s.Env) > 1 {
			fmt.Fprintf(&b, "| %s | %s |\n", code(s.Env[0]), code(spec.PathString(s.Path)))
		}
	})
	b.WriteString("\n`INCREMENTAL_BACKFILL` is `true` for incremental and `false` for full. A variable that is set but empty counts as unset. A list is written with commas. " +
		"A variable of a plugin's setting counts\nwhere the configuration names the plugin.\n")
	return b.String()
}

// servicePage describes a service's own file.
func servicePage() string {
	var b strings.Builder
	b.WriteString(generatedNote + "# Service\n\nThe settings of `syncd serve` have a file of their own, which `-c` names; without one the defaults count. " +
		"Each has a variable, such as " + code(spec.EnvName([]string{"server", "listen"})) + ".\n")
	for _, s := range config.DescribeServer() {
		fmt.Fprintf(&b, "\n## `%s`\n\n%s\n\n", s.Name, s.Doc)
		markdownTable(&b, s.Shape.Fields, 1)
	}
	return b.String()
}

// fenced writes a code block. validate reads those of yaml: a fragment may be incomplete, and what has a mistake on purpose
// is to be ignored.
func fenced(language, text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + language + "\n" + text + fence + "\n"
}

// code marks a text as literal; nothing stays nothing.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", "\\|") + "`"
}

// cell is a text inside a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "*", "\\*").Replace(text)
}
