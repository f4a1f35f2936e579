package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/reference"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

func (a *app) settingsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "settings [PATH]",
		Short: "Explain a setting, or a block of them, or list the sections of a configuration",
		Long: `Explain what can stand in a configuration: what a setting does, what it takes, its default, and the variables that set it. PATH is as
in messages, such as run.orphans; what stands in front may be left out where the rest says which is meant, as in kafka.security, and
the name of a collection too, as in mapping.collections.filter. Without PATH the sections are listed; validate --explain CODE explains what validate says.`,
		Example: "  syncd settings run.orphans\n  syncd settings kafka.security\n  syncd settings sink.kafka.security.sasl.mechanism -o json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all := a.allSettings()
			if len(args) == 0 {
				if a.json {
					return a.tell(settingsOf(all))
				}
				_, err := fmt.Fprint(a.stdout, reference.Sections(all))
				return err
			}
			s, err := a.findSetting(all, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.tell(settingsOf([]spec.Setting{s}))
			}
			_, err = fmt.Fprint(a.stdout, reference.SettingText(s))
			return err
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []string
			for _, s := range reference.Flat(a.allSettings()) {
				if path := spec.PathString(s.Path); strings.HasPrefix(path, begun) && !strings.Contains(strings.TrimPrefix(path, begun), ".") {
					out = append(out, path)
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
	}
	a.formatFlag(c)
	a.jsonFlag(c)
	return c
}

// allSettings are those of a configuration, and of a service's own file.
func (a *app) allSettings() []spec.Setting {
	return append(config.Describe(a.registry), config.DescribeServer()...)
}

// findSetting finds a setting by its path, of which free names may be left out, and the front where one setting ends like that.
func (a *app) findSetting(all []spec.Setting, path string) (spec.Setting, error) {
	var found, ending []spec.Setting
	var known []string
	for _, s := range reference.Flat(all) {
		whole := spec.PathString(s.Path)
		fixed := strings.NewReplacer("."+spec.FreeName, "", "."+spec.ItemNumber, "").Replace(whole)
		known = append(known, whole)
		switch {
		case whole == path || fixed == path:
			found = append(found, s)
		case strings.HasSuffix(fixed, "."+path):
			known, ending = append(known, path), append(ending, s)
		case len(s.Path) > 1:
			known = append(known, spec.PathString(s.Path[1:]))
		}
	}
	if len(found) == 0 {
		found = ending
		// What belongs to dead letters is described where it belongs to events.
		letters := func(s spec.Setting) bool { return len(s.Path) > 2 && s.Path[1] == "dead_letter" }
		if i := slices.IndexFunc(found, func(s spec.Setting) bool { return !letters(s) }); i >= 0 {
			found = slices.DeleteFunc(found, letters)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		hint := "syncd settings lists the sections"
		if near := spec.Nearest(path, known); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return spec.Setting{}, &codeError{exitUsage, syncd.Hint(fmt.Errorf("there is no setting %q", path), "%s", hint)}
	}
	var forms []string
	for _, s := range found {
		forms = append(forms, spec.PathString(s.Path))
	}
	return spec.Setting{}, usageError("there is more than one setting %q: write %s", path, strings.Join(forms, " or "))
}
