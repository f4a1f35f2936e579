package cli

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/reference"
	"github.com/syncd-io/syncd/spec"
)

func (a *app) pluginsCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "plugins [NAME | KIND/NAME]",
		Short: "List the sources, checkers and sinks that this program has, or describe one",
		Example: `  syncd plugins
  syncd plugins kafka
  syncd plugins sink/file --format markdown`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			page := reference.TextPage
			switch format {
			case "text":
			case "markdown":
				page = reference.MarkdownPage
			default:
				return usageError("--format must be text or markdown, not %q", format)
			}
			if len(args) == 0 {
				return a.listPlugins(format == "markdown")
			}
			p, err := a.findPlugin(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, page(p))
			return err
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.pluginNames(), cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&format, "format", "text", "how to write it: text or markdown")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "markdown"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) listPlugins(markdown bool) error {
	if markdown {
		_, err := fmt.Fprint(a.stdout, reference.PluginTable(reference.ByKind(a.registry), false))
		return err
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tVERSION\tSTABILITY\tSUMMARY")
	for _, p := range reference.ByKind(a.registry) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Kind(), p.Name(), cmp.Or(p.Version(), "-"), p.Stability(), p.Summary())
	}
	return w.Flush()
}

// pluginNames lists what findPlugin understands, the shortest form of each.
func (a *app) pluginNames() []string {
	var out []string
	for _, p := range reference.ByKind(a.registry) {
		if len(a.named(p.Name())) > 1 {
			out = append(out, longName(p))
		} else {
			out = append(out, p.Name())
		}
	}
	return out
}

func longName(p syncd.Plugin) string { return string(p.Kind()) + "/" + p.Name() }

func (a *app) named(name string) []syncd.Plugin {
	var out []syncd.Plugin
	for _, p := range reference.ByKind(a.registry) {
		if name == p.Name() || name == longName(p) {
			out = append(out, p)
		}
	}
	return out
}

// findPlugin finds a plugin by its name, or by kind/name where the name alone is not unique.
func (a *app) findPlugin(name string) (syncd.Plugin, error) {
	found := a.named(name)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return syncd.Plugin{}, &codeError{exitUsage, syncd.Hint(fmt.Errorf("there is no plugin %q", name),
			"%s", spec.DidYouMean(name, a.pluginNames()))}
	}
	var forms []string
	for _, p := range found {
		forms = append(forms, longName(p))
	}
	return syncd.Plugin{}, usageError("there is more than one plugin %q: write %s", name, strings.Join(forms, " or "))
}
