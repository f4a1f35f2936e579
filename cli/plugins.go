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
		Use:   "plugins [NAME | KIND/NAME | NAME.SETTING]",
		Short: "List the sources, checkers, stages and sinks that this program has, or describe one",
		Example: `  syncd plugins
  syncd plugins kafka
  syncd plugins kafka.security
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
			if err != nil && strings.Contains(args[0], ".") { // of a setting in a plugin
				s, found := a.findSetting(a.allSettings(), strings.ReplaceAll(args[0], "/", "."))
				if found != nil {
					return found
				}
				_, err := fmt.Fprint(a.stdout, reference.SettingText(s))
				return err
			}
			if err != nil {
				return err
			}
			if a.json {
				shown := shownPlugin(p)
				shown.Settings = settingsOf(reference.Settings(p))
				return a.tell(shown)
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
	a.formatFlag(c)
	a.jsonFlag(c)
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "markdown"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (a *app) listPlugins(markdown bool) error {
	if markdown {
		_, err := fmt.Fprint(a.stdout, reference.PluginTable(reference.ByKind(a.registry), false))
		return err
	}
	if a.json {
		list := []ShownPlugin{}
		for _, p := range reference.ByKind(a.registry) {
			list = append(list, shownPlugin(p))
		}
		return a.tell(list)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tNAME\tVERSION\tSTABILITY\tSUMMARY")
	for _, p := range reference.ByKind(a.registry) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.Kind(), p.Name(), cmp.Or(p.Version(), "-"), p.Stability(), p.Summary())
	}
	return w.Flush()
}

// ShownPlugin is a plugin of the program.
type ShownPlugin struct {
	Kind      string         `json:"kind" doc:"source, checker or sink."`
	Name      string         `json:"name" doc:"Its name in configurations."`
	Label     string         `json:"label" doc:"The name of its product."`
	Version   string         `json:"version,omitempty" doc:"Its version, where it has one of its own."`
	Stability string         `json:"stability" doc:"How settled it is."`
	Summary   string         `json:"summary" doc:"What it does, in a sentence."`
	Settings  []ShownSetting `json:"settings,omitempty" doc:"Its settings, where one plugin was asked for."`
}

// ShownSetting is one setting of a plugin.
type ShownSetting struct {
	Path       string `json:"path" doc:"Where it stands in a configuration."`
	About      string `json:"about" doc:"What it does."`
	Required   bool   `json:"required" doc:"It must be set."`
	Default    any    `json:"default" doc:"Its default; null where there is none or it takes words."`
	InWords    string `json:"default_in_words,omitempty" doc:"The default in words."`
	Deprecated string `json:"deprecated,omitempty" doc:"What to use instead."`
}

func shownPlugin(p syncd.Plugin) ShownPlugin {
	return ShownPlugin{
		Kind: string(p.Kind()), Name: p.Name(), Label: p.Label(), Version: p.Version(), Stability: string(p.Stability()), Summary: p.Summary(),
	}
}

// settingsOf lists settings, and those below them.
func settingsOf(settings []spec.Setting) (out []ShownSetting) {
	for i := range settings {
		s := &settings[i]
		out = append(out, ShownSetting{
			Path: spec.PathString(s.Path), About: s.Doc, Required: s.Required, Default: s.Value, InWords: s.Default, Deprecated: s.Deprecated,
		})
		out = append(out, settingsOf(s.Shape.Fields)...)
	}
	return out
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
