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
	"errors"
	"io"
	"os"
	"slices"
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
	began := false
	var mark func(c *cobra.Command)
	mark = func(c *cobra.Command) {
		if f := c.RunE; f != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				began = true
				return f(c, args)
			}
		}
		for _, sub := range c.Commands() {
			mark(sub)
		}
	}
	mark(root)
	c, err := root.ExecuteContextC(ctx)
	if err != nil && !began {
		return &codeError{exitUsage, suggested(c, err)}
	}
	return err
}

// suggested says how to go on after an unknown command of c, or a wrong number of arguments: the lines that cobra adds to some of
// these errors become a hint.
func suggested(c *cobra.Command, err error) error {
	message, names, found := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	switch {
	case found:
		return syncd.Hint(errors.New(message), "did you mean %s?", strings.Join(strings.Fields(names), " or "))
	case strings.HasPrefix(message, "unknown command "):
		return syncd.Hint(err, "see %s --help", c.CommandPath())
	case strings.HasPrefix(message, "accepts "), strings.HasPrefix(message, "requires "): // how many arguments, not which
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
