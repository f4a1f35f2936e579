package cli

import (
	"fmt"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

// version is set by the linker for a release.
var version = ""

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

func (a *app) pluginsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plugins",
		Short: "List the sources, checkers and sinks that this program has",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KIND\tNAME\tSUMMARY")
			for _, kind := range []syncd.Kind{syncd.KindSource, syncd.KindChecker, syncd.KindSink} {
				for _, p := range a.registry.Plugins() {
					if p.Kind() == kind {
						fmt.Fprintf(w, "%s\t%s\t%s\n", kind, p.Name(), p.Summary())
					}
				}
			}
			return failed(w.Flush())
		},
	}
}

func (a *app) idCommand() *cobra.Command {
	var path, collection string
	var fields []string
	var chunk int
	c := &cobra.Command{
		Use:     "id -c FILE --collection NAME ID...",
		Short:   "Print the seed and the point id of documents, without connecting to anything",
		Example: `  syncd id -c configs/base.yaml --collection workItem 507f1f77bcf86cd799439011`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, ids []string) error {
			if path == "" {
				return usageError("which configuration? give one with -c FILE")
			}
			if collection == "" {
				return usageError("which collection? give one with --collection NAME")
			}
			if chunk < 0 {
				return usageError("--chunk must be at least 0")
			}
			cfg, diags := config.Load(config.Input{Path: path, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true})
			if a.printDiagnostics(diags) {
				return &codeError{exitInvalid, fmt.Errorf("%s can't be used: %s", path, plural(len(diags), "problem", "problems"))}
			}
			selected, err := cfg.Mapping.Select([]string{collection})
			if err != nil {
				return &codeError{exitUsage, err}
			}
			rule := selected.Rules[0]
			values, err := fieldValues(rule.Fields(), fields)
			if err != nil {
				return err
			}
			var buf []byte
			for _, id := range ids {
				rec := &syncd.Record{ID: id, Fields: values}
				seed, err := rule.AppendSeed(nil, rec, chunk)
				if err != nil {
					return failed(err)
				}
				point, err := rule.PointID(&buf, rec, chunk)
				if err != nil {
					return failed(err)
				}
				fmt.Fprintf(a.stdout, "seed:     %s\npoint id: %s\n", seed, point)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&path, "config", "c", "", "the configuration file")
	c.Flags().StringVar(&collection, "collection", "", "the documents' collection")
	c.Flags().IntVar(&chunk, "chunk", 0, "the chunk's index; 0 stands for the document")
	c.Flags().StringArrayVar(&fields, "field", nil, "a field that the seed uses, as NAME=TEXT")
	return c
}

// fieldValues aligns NAME=TEXT pairs with the fields that a seed uses.
func fieldValues(names, pairs []string) ([]syncd.Value, error) {
	given := map[string]string{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usageError("--field must be NAME=TEXT, not %q", pair)
		}
		given[name] = text
	}
	out := make([]syncd.Value, len(names))
	for i, name := range names {
		text, ok := given[name]
		if !ok {
			return nil, usageError("the seed uses the field %q: give it with --field %s=TEXT", name, name)
		}
		out[i] = syncd.Value{Text: text, Set: true}
	}
	return out, nil
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v, goVersion := version, ""
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
				if v == "" {
					v = info.Main.Version
				}
			}
			_, err := fmt.Fprintf(a.stdout, "syncd %s %s\n", v, goVersion)
			return failed(err)
		},
	}
}
