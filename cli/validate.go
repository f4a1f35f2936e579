package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
)

func (a *app) validateCommand() *cobra.Command {
	var path string
	var allowUnset bool
	c := &cobra.Command{
		Use:   "validate [-c] FILE...",
		Short: "Check configurations without connecting to anything",
		RunE: func(cmd *cobra.Command, args []string) error {
			if path != "" {
				args = append(args, path)
			}
			if len(args) == 0 {
				return usageError("which configuration? give at least one file")
			}
			problems, invalid := 0, 0
			for _, file := range args {
				_, diags := config.Load(config.Input{
					Path: file, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: allowUnset,
				})
				problems += len(diags)
				if a.printDiagnostics(diags) {
					invalid++
					continue
				}
				fmt.Fprintf(a.stdout, "%s: valid\n", file)
			}
			if invalid > 0 {
				return &codeError{exitInvalid, fmt.Errorf("%s in %s",
					plural(problems, "problem", "problems"), plural(len(args), "file", "files"))}
			}
			return nil
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "the configuration file")
	c.Flags().BoolVar(&allowUnset, "allow-unset-env", false, "take environment variables that are not set as empty")
	return c
}
