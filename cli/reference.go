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
	var dir, man string
	var examples []string
	c := &cobra.Command{
		Use:    "reference --dir DIR | --man DIR",
		Short:  "Write reference pages in Markdown (configuration, plugins, commands, diagnostics), or man pages of the commands",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if (dir == "") == (man == "") {
				return usageError("where to? name a folder with --dir, or one for man pages with --man")
			}
			program := reference.Program{Root: c.Root(), Registry: a.registry, Plugins: a.plugins, ExitCodes: exitCodes(), Outputs: outputs()}
			program.Version, _ = built()
			if man != "" {
				if err := makeDir(man); err != nil {
					return err
				}
				return program.ManPages(man)
			}
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
	c.Flags().StringVar(&man, "man", "", "the folder to write man pages to; their date is SOURCE_DATE_EPOCH")
	c.Flags().StringArrayVar(&examples, "examples", nil, "a folder of *.bad.yaml from which the diagnostics take their examples")
	return c
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
