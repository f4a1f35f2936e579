// Package cli is the command line: it reads flags, loads the configuration, opens the plugins, runs the engine, and prints
// what happened. A program with plugins of its own is a main that calls Main with them.
//
// Standard output carries the result of a command; notices, warnings and errors go to standard error.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInvalid     = 3   // the configuration
	exitGuard       = 4   // stopped by a guard: drift, a limit, coverage
	exitDocErrors   = 5   // finished, but documents could not be handled
	exitInterrupted = 130 // 128 + SIGINT
	exitTerminated  = 143 // 128 + SIGTERM
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
	runID    atomic.Pointer[string]       // of the run that is under way, for the log
	bars     atomic.Pointer[mpb.Progress] // on the terminal, for the log to stand above
}

// codeError ends the program with a code of its own. What there was to say has been printed if err is nil.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *codeError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &codeError{exitUsage, fmt.Errorf(format, args...)}
}

func (p program) run(ctx context.Context) int {
	registry, err := syncd.NewRegistry(p.plugins...)
	if err != nil {
		fmt.Fprintf(p.stderr, "error: %v\n", err)
		return exitFailed
	}
	a := &app{program: p, registry: registry}
	root := &cobra.Command{
		Use:   "syncd",
		Short: "Send to Kafka the documents that a vector index lacks",
		Long: `syncd reads collections, computes every document's point id, asks the index which ids it holds,
and sends a change event for the rest.`,
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError("%w (see %s --help)", err, c.CommandPath())
	})
	root.AddCommand(a.runCommand(), a.planCommand(), a.verifyCommand(), a.explainCommand(), a.validateCommand(), a.pluginsCommand(), a.schemaCommand(), a.referenceCommand(), a.idCommand(), a.versionCommand())
	root.AddCommand(a.configCommand(), a.initCommand(), a.healthCommand(), a.stateCommand(), a.reportCommand())
	return a.exit(root.ExecuteContext(ctx))
}

// exit prints an error the way a person can act on it and returns the code.
func (a *app) exit(err error) int {
	if err == nil {
		return exitDone
	}
	code := exitUsage // cobra's own errors: an unknown command, a wrong number of arguments
	var coded *codeError
	if errors.As(err, &coded) {
		code = coded.code
		if coded.err == nil {
			return code
		}
	}
	paint := a.painter(a.stderr)
	fmt.Fprintf(a.stderr, "%s %v\n", paint(red, "error:"), err)
	if hint := syncd.HintOf(err); hint != "" {
		fmt.Fprintf(a.stderr, "%s %s\n", paint(yellow, "hint:"), hint)
	}
	return code
}

// onceFlag is the flag -c, which is refused if it is given twice: the last would win in silence.
type onceFlag struct{ path *string }

func (f onceFlag) String() string { return *f.path }
func (f onceFlag) Type() string   { return "string" }

func (f onceFlag) Set(path string) error {
	if *f.path != "" {
		return fmt.Errorf("there is %q already, and only one configuration can be given", *f.path)
	}
	*f.path = path
	return nil
}

func configFlag(c *cobra.Command, path *string) {
	c.Flags().VarP(onceFlag{path}, "config", "c", "the configuration file")
}

// configPath takes the configuration file from -c or from the one positional argument.
func configPath(flag string, args []string) (string, error) {
	switch {
	case flag != "" && len(args) > 0:
		return "", usageError("the configuration is given twice: %q with -c, and %q", flag, args[0])
	case flag != "":
		return flag, nil
	case len(args) == 1:
		return args[0], nil
	case len(args) > 1:
		return "", usageError("more than one configuration: %s", strings.Join(args, " "))
	}
	return "", usageError("which configuration? give one with -c FILE, or make one with syncd init")
}

// printDiagnostics writes the problems, on a terminal with the lines that they are about, and reports whether any is an
// error.
func (a *app) printDiagnostics(diags spec.Diagnostics) bool {
	_ = diags.Write(a.stderr, a.diagnosticFormat()) // there is nowhere to say that standard error is closed
	return diags.HasErrors()
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

func plural[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
