package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/cli/reference"
)

// referenceCommand writes the reference pages. It is hidden: it serves those who build a program, not those who run it.
func (a *app) referenceCommand() *cobra.Command {
	var dir string
	var examples []string
	c := &cobra.Command{
		Use:    "reference --dir DIR",
		Short:  "Write reference pages in Markdown: configuration, plugins, commands, diagnostics",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if dir == "" {
				return usageError("where to? name a folder with --dir")
			}
			program := a.described(c)
			found, err := reference.FindExamples(a.registry, examples)
			if err != nil {
				return err
			}
			pages, err := program.Pages(found)
			if err != nil {
				return err
			}
			return writePages(dir, pages)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder to write to")
	c.Flags().StringArrayVar(&examples, "examples", nil, "a folder of *.bad.yaml from which the diagnostics take their examples")
	return c
}

// described is the program as its pages describe it.
func (a *app) described(c *cobra.Command) *reference.Program {
	p := &reference.Program{Root: c.Root(), Registry: a.registry, Plugins: a.plugins, ExitCodes: exitCodes(), Outputs: outputs()}
	p.Version, _ = built()
	return p
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documentation, for everybody
		return fmt.Errorf("writing the reference: %w", err)
	}
	return nil
}

func writePages(dir string, pages map[string]string) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(pages[name]), 0o644); err != nil { //nolint:gosec // as above
			return fmt.Errorf("writing the reference: %w", err)
		}
	}
	return nil
}
