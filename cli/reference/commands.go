package reference

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// commandsPage describes every command that a user can call, from the commands themselves.
func (p *Program) commandsPage() (string, error) {
	var b strings.Builder
	b.WriteString(generatedNote + "# Commands\n\n")
	err := eachCommand(p.Root, func(c *cobra.Command) error {
		c.DisableAutoGenTag = true // which has the date
		return doc.GenMarkdownCustom(c, &b, func(page string) string {
			return "#" + strings.ReplaceAll(strings.TrimSuffix(page, ".md"), "_", "-")
		})
	})
	return b.String(), err
}

// eachCommand calls f with a command and with all that are below it, each before those below it, but for hidden ones.
func eachCommand(c *cobra.Command, f func(*cobra.Command) error) error {
	if err := f(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			if err := eachCommand(sub, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// ManPages writes a man page of the program and one of each command to a folder. Their date is SOURCE_DATE_EPOCH.
func (p *Program) ManPages(dir string) error {
	var codes strings.Builder
	for _, e := range p.ExitCodes {
		fmt.Fprintf(&codes, "\n**%s**\n: %s\n", e.Code, e.Meaning)
	}
	if err := eachCommand(p.Root, func(c *cobra.Command) error {
		c.DisableAutoGenTag = true
		text := c.Long
		if text == "" {
			text = strings.TrimSuffix(c.Short, ".") + "."
		}
		c.Long = text + "\n\n# EXIT STATUS\n" + codes.String()
		return nil
	}); err != nil {
		return err
	}
	p.Root.Long += "\n# ENVIRONMENT\n\nEvery setting has a variable of its own: SYNCD_, then its path in capitals with two underscores " +
		"between the names, such as `SYNCD_RUN__BATCH_SIZE`. A flag counts before a variable, and a variable before the file."
	header := doc.GenManHeader{Source: "syncd " + p.Version, Manual: "User Commands"}
	return doc.GenManTreeFromOpts(p.Root, doc.GenManTreeOptions{Header: &header, Path: dir, CommandSeparator: "-"})
}
