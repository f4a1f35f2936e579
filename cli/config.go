package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
)

func (a *app) configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Show what a configuration amounts to",
	}
	c.AddCommand(a.configPrintCommand(), a.configDiffCommand())
	return c
}

func (a *app) configPrintCommand() *cobra.Command {
	var path, format string
	var allowUnset bool
	c := &cobra.Command{
		Use:   "print [-c] FILE",
		Short: "Print every setting that takes effect, defaults included, and where it was set",
		Long: `Print every setting that takes effect, defaults included, and where it was set: a place in a file, an environment
variable, a flag, or the default. It takes the flags of run, to show what they would change. Secrets are not shown. What is
printed as YAML can be loaded again.`,
		Example: `  syncd config print -c configs/prod.yaml
  syncd config print configs/dev.yaml --batch-size 50
  syncd config print configs/prod.yaml --format json | jq .config.run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := a.configPath(path, args)
			if err != nil {
				return err
			}
			if format != "yaml" && format != "json" {
				return usageError("--format must be yaml or json, not %q", format)
			}
			noIncremental, _ := cmd.Flags().GetBool("no-incremental")
			overrides, err := runOverrides(cmd, noIncremental)
			if err != nil {
				return err
			}
			effective, err := a.resolve(config.Input{Path: file, Overrides: overrides, AllowUnsetEnv: allowUnset})
			if err != nil {
				return err
			}
			if format == "json" || a.json {
				text, err := effective.JSON()
				if err != nil {
					return err
				}
				if a.json {
					return a.tell(json.RawMessage(text))
				}
				_, err = a.stdout.Write(text)
				return err
			}
			text, err := effective.YAML()
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, text)
			return err
		},
	}
	c.Flags().StringVar(&format, "format", "yaml", "how to print: yaml or json")
	a.loadFlags(c, &path, &allowUnset)
	a.runCommand().Flags().VisitAll(func(f *pflag.Flag) { // all that set something
		if c.Flags().Lookup(f.Name) == nil && !strings.HasPrefix(f.Name, "log-") {
			c.Flags().AddFlag(f)
		}
	})
	return c
}

func (a *app) configDiffCommand() *cobra.Command {
	var allowUnset bool
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Print the settings that differ between two configurations",
		Long: `Print the settings that differ in effect between two configurations, and where each was set. A line that begins with -
is a setting that only A has, one that begins with + a setting that only B has. Secrets are compared, but not shown.

The exit code is 0 if nothing differs, 1 if something does, and 3 if a configuration is invalid.`,
		Example: `  syncd config diff configs/staging.yaml configs/prod.yaml --allow-unset-env`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usageError("config diff takes two configurations: syncd config diff A B")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			var sides [2]*config.Effective
			var invalid error
			for i, file := range args {
				var err error
				if sides[i], err = a.resolve(config.Input{Path: file, AllowUnsetEnv: allowUnset}); err != nil {
					if invalid != nil {
						text.Fprintf(a.stderr, "error: %v\n", invalid)
					}
					invalid = err
				}
			}
			if invalid != nil {
				return invalid
			}
			differences, err := sides[0].Differences(sides[1])
			if err != nil {
				return err
			}
			if a.json {
				found := ConfigDifferences{Differences: []string{}}
				for _, d := range differences {
					found.Differences = append(found.Differences, fmt.Sprint(d))
				}
				if err := a.tell(found); err != nil || len(differences) == 0 {
					return err
				}
				return &codeError{exitFailed, nil}
			}
			for _, d := range differences {
				if _, err := fmt.Fprintln(a.stdout, d); err != nil {
					return err
				}
			}
			if len(differences) > 0 {
				return &codeError{exitFailed, nil}
			}
			return nil
		},
	}
	a.formatFlag(c)
	a.loadFlags(c, nil, &allowUnset)
	return c
}

// ConfigDifferences is what differs between two configurations, for programs.
type ConfigDifferences struct {
	Differences []string `json:"differences" doc:"The settings that differ, as lines: - is what only the first has, + what only the second has."`
}

// loadFlags adds the flags of commands that load a configuration and connect to nothing.
func (a *app) loadFlags(c *cobra.Command, path *string, allowUnset *bool) {
	if path != nil {
		configFlag(c, path)
	}
	c.Flags().BoolVar(allowUnset, "allow-unset-env", false, "accept environment variables and secret files that are not there")
}

// resolve loads a configuration and prints what is wrong with it.
func (a *app) resolve(in config.Input) (*config.Effective, error) {
	in.Environ, in.Registry = a.environ, a.registry
	effective, diags := config.Resolve(in)
	if a.printDiagnostics(diags) {
		return nil, unusable(in.Path, diags)
	}
	return effective, nil
}
