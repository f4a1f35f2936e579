// Package cli is the command line: it reads flags, loads the configuration, has package job do the work, and prints what
// happened. A program with plugins of its own is a main that calls Main with them.
//
// Where to look: a file for each command; flags.go has what several of them share; exit.go is the one table of exit codes;
// signals.go turns signals into an orderly end; output.go prints what a run does.
//
// Standard output carries the result of a command; notices, warnings and errors go to standard error.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
)

// Main runs the program with the given plugins on the process's arguments, environment and streams, and returns its exit
// code.
func Main(plugins ...syncd.Plugin) int {
	return program{
		args: os.Args[1:], environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, plugins: plugins,
	}.run(context.Background())
}

// program is one invocation.
type program struct {
	args           []string
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	plugins        []syncd.Plugin
}

// app is what the commands share.
type app struct {
	program
	registry *syncd.Registry
	notices  *progress.Output       // standard error, for the log and the progress of runs
	runID    atomic.Pointer[string] // of the run that is under way, for the log
	floor    []byte                 // see floorHeap; nil for commands that read no configuration of a run

	json     bool             // programs read what the command prints
	told     bool             // it has printed its result for them
	problems spec.Diagnostics // of the configuration
}

func newApp(p program, registry *syncd.Registry) *app {
	return &app{program: p, registry: registry, notices: progress.NewOutput(p.stderr)}
}

func (p program) run(ctx context.Context) int {
	registry, err := syncd.NewRegistry(p.plugins...)
	if err != nil {
		text.Fprintf(p.stderr, "error: %v\n", err)
		return exitFailed
	}
	out := &result{Writer: p.stdout}
	if !progress.IsTerminal(p.stdout) { // which is looked at elsewhere, and takes whatever is written
		p.stdout = out
	}
	a := newApp(p, registry)
	err = execute(ctx, a.root())
	if code := codeOf(err); err != nil && code != exitDone {
		a.tellFailure(err, code)
	}
	return a.exit(out.outcome(err))
}

// root is the program's command, with all others below it.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "syncd",
		Short: "Send to Kafka the documents that a vector index lacks",
		Long: `syncd reads collections, computes every document's point id, asks the index which ids it holds,
and sends a change event for the rest.`,
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(a.args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		// The flags of a command that there is not are unknown, which is not what is wrong.
		if _, rest, _ := root.Find(a.args); c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			return unknownCommand(c, rest[0])
		}
		return usageError("%w (see %s --help)", err, c.CommandPath())
	})
	root.AddCommand(a.runCommand(), a.serveCommand(), a.planCommand(), a.verifyCommand(), a.explainCommand(), a.searchCommand(), a.validateCommand(), a.pluginsCommand(), a.schemaCommand(), a.referenceCommand(), a.idCommand(), a.versionCommand())
	root.AddCommand(a.statusCommand(), a.wishCommand("pause", pauseText), a.wishCommand("resume", resumeText), a.wishCommand("stop", stopText), a.wishCommand("restart", restartText), a.triggerCommand())
	root.AddCommand(a.configCommand(), a.initCommand(), a.healthCommand(), a.stateCommand(), a.reportCommand(), a.deadLettersCommand(), a.settingsCommand(), a.manCommand())
	a.addCompletions(root)
	return root
}

// execute runs the command that the arguments name. An error that comes before it began is one of usage: an unknown command or
// a wrong number of arguments.
func execute(ctx context.Context, root *cobra.Command) error {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	began := false
	var mark func(c *cobra.Command)
	mark = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			mark(sub)
		}
		switch {
		case c == root:
		case c.HasSubCommands():
			group(c)
		case c.Name() == "help":
			c.Run, c.RunE = nil, help
		}
		if f := c.RunE; f != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				began = true
				return f(c, args)
			}
		}
	}
	mark(root)
	c, err := root.ExecuteContextC(ctx)
	if err != nil && !began {
		return &codeError{exitUsage, suggested(c, err)}
	}
	return err
}

// group makes c a command that is there for those below it: alone it shows its help, and a word that is none of them is an error.
func group(c *cobra.Command) {
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(c, args[0])
		}
		return nil
	}
}

// help shows the help of a command.
func help(c *cobra.Command, args []string) error {
	found, err := findCommand(c.Root(), args)
	if err != nil {
		return err
	}
	found.InitDefaultHelpFlag()
	return found.Help()
}

// findCommand is the command that the words name.
func findCommand(root *cobra.Command, words []string) (*cobra.Command, error) {
	found, rest, err := root.Find(words)
	if err == nil && len(rest) == 0 {
		return found, nil
	}
	word := words[0]
	if err == nil {
		word = rest[0]
	}
	return nil, &codeError{exitUsage, unknownCommand(found, word)}
}

// unknownCommand is the error about a word that is none of the commands below c.
func unknownCommand(c *cobra.Command, word string) error {
	var names, near []string
	for _, sub := range c.Commands() {
		if name := sub.Name(); sub.IsAvailableCommand() {
			names = append(names, name)
			if strings.HasPrefix(name, word) && word != "" {
				near = append(near, strconv.Quote(name))
			}
		}
	}
	if nearest := spec.Nearest(word, names); len(near) == 0 && nearest != "" {
		near = append(near, strconv.Quote(nearest))
	}
	err := fmt.Errorf("unknown command %q for %q", word, c.CommandPath())
	if len(near) == 0 {
		return syncd.Hint(err, "see %s --help", c.CommandPath())
	}
	return syncd.Hint(err, "did you mean %s?", strings.Join(near, " or "))
}

// suggested says how to go on after an unknown command of the root, or a wrong number of arguments of c. Cobra's own text of the former
// has lines with suggestions, and it takes every argument of a command that wants none for a command.
func suggested(c *cobra.Command, err error) error {
	rest, unknown := strings.CutPrefix(err.Error(), "unknown command ")
	quoted, _ := strconv.QuotedPrefix(rest)
	switch word, _ := strconv.Unquote(quoted); {
	case syncd.HintOf(err) != "":
	case unknown && c.HasSubCommands():
		return unknownCommand(c, word)
	case unknown:
		return syncd.Hint(fmt.Errorf("%s takes no argument such as %q", c.CommandPath(), word), "usage: %s", c.UseLine())
	case strings.HasPrefix(err.Error(), "accepts "), strings.HasPrefix(err.Error(), "requires "): // how many arguments, not which
		return syncd.Hint(err, "usage: %s", c.UseLine())
	}
	return err
}

// printDiagnostics writes the problems, on a terminal with the lines that they are about, and reports whether any is an
// error.
func (a *app) printDiagnostics(diags spec.Diagnostics) bool {
	a.problems = append(a.problems, diags...)
	_ = shown(diags).Write(a.stderr, a.diagnosticFormat()) // there is nowhere to say that standard error is closed
	return diags.HasErrors()
}

// shown are problems as people may see them: names and what others answered are in their texts.
func shown(diags spec.Diagnostics) spec.Diagnostics {
	out := slices.Clone(diags)
	for i := range out {
		d := &out[i]
		d.Message, d.Hint = text.Line(d.Message), text.Line(d.Hint)
		d.Pos.Source, d.Related.Source = text.Line(d.Pos.Source), text.Line(d.Related.Source)
	}
	return out
}

// diagnosticFormat is text for a person at a terminal, and one line a problem for everything that reads lines.
func (a *app) diagnosticFormat() spec.Format {
	if f, ok := a.stderr.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return spec.FormatText
		}
	}
	return spec.FormatShort
}
