package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) manCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "man [COMMAND…]",
		Short: "Print the man page of the program or of a command, or write all of them",
		Long: `Print the man page of the program or of a command, in the form that man reads. With --dir all of them are written, for a folder
such as /usr/local/share/man/man1. Their date is that of SOURCE_DATE_EPOCH, where it is set.`,
		Example: "  syncd man run | man -l -\n  syncd man --dir ~/.local/share/man/man1",
		RunE: func(c *cobra.Command, args []string) error {
			if dir != "" && len(args) > 0 {
				return usageError("--dir writes all pages: leave one of them out")
			}
			if dir != "" {
				if err := makeDir(dir); err != nil {
					return err
				}
				return a.described(c).ManPages(dir)
			}
			if _, err := findCommand(c.Root(), args); err != nil {
				return err
			}
			return a.printManPage(c, args)
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			if at, rest, err := c.Root().Find(args); err == nil && len(rest) == 0 {
				for _, sub := range at.Commands() {
					if !sub.Hidden {
						names = append(names, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the folder to write all pages to")
	return c
}

// printManPage prints one page. They are written all together, since they refer to one another.
func (a *app) printManPage(c *cobra.Command, args []string) (err error) {
	tmp, err := os.MkdirTemp("", "syncd-man-")
	if err != nil {
		return fmt.Errorf("writing the man pages: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left of it does no harm
	if err := a.described(c).ManPages(tmp); err != nil {
		return err
	}
	page, err := os.ReadFile(filepath.Join(tmp, strings.Join(append([]string{"syncd"}, args...), "-")+".1"))
	if err != nil {
		return fmt.Errorf("reading a man page: %w", err)
	}
	_, err = a.stdout.Write(page)
	return err
}
