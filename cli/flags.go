package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/spec"
)

// onceFlag is the flag -c, which is refused if it is given twice: the last would win in silence. The same again does no harm;
// completion reads the flags twice.
type onceFlag struct{ path *string }

func (f onceFlag) String() string { return *f.path }
func (f onceFlag) Type() string   { return "string" }

func (f onceFlag) Set(path string) error {
	if *f.path != "" && *f.path != path {
		return fmt.Errorf("there is %q already, and only one configuration can be given", *f.path)
	}
	*f.path = path
	return nil
}

func configFlag(c *cobra.Command, path *string) {
	c.Flags().VarP(onceFlag{path}, "config", "c", "the configuration file (default $"+envConfig+", else "+defaultFile+" of this folder)")
}

// What a configuration is that no flag and no argument names: the file that the variable names, else this one, if it is there.
const (
	envConfig   = config.EnvFile
	defaultFile = "syncd.yaml"
)

// usualConfig is the configuration where none is named; empty where there is none.
func (a *app) usualConfig() string {
	if path := a.env(envConfig); path != "" {
		return path
	}
	if _, err := os.Stat(defaultFile); err == nil {
		return defaultFile
	}
	return ""
}

// configPath takes the configuration file from -c or from the one positional argument, or else the usual one.
func (a *app) configPath(flag string, args []string) (string, error) {
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
	if usual := a.usualConfig(); usual != "" {
		return usual, nil
	}
	return "", usageError("which configuration? give one with -c FILE or by the variable %s, or make one with syncd init, which writes %s", envConfig, defaultFile)
}

// commonFlags are those of every command that connects.
type commonFlags struct {
	path, logFormat, logLevel string
	quiet, verbose            bool
}

func (f *commonFlags) add(c *cobra.Command) {
	configFlag(c, &f.path)
	c.Flags().StringVar(&f.logFormat, "log-format", "text", "how notices are written: text (on a terminal for people, else as key=value) or json")
	c.Flags().StringVar(&f.logLevel, "log-level", "info", "the least important notice to write: debug, info, warn or error")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no progress, and no notices but errors; run prints its last line alone")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "the same as --log-level debug")
	c.MarkFlagsMutuallyExclusive("quiet", "verbose", "log-level")
	_ = c.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
}

func (f *commonFlags) level() string {
	switch {
	case f.quiet:
		return "error"
	case f.verbose:
		return "debug"
	}
	return f.logLevel
}

// narrates reports whether the log tells how a run goes: for programs that read it, and for people who ask for it. Standard
// output tells it to all others.
func (f *commonFlags) narrates(c *cobra.Command) bool {
	return !f.quiet && (f.logFormat == "json" || f.verbose || c.Flags().Changed("log-level"))
}

// load reads the configuration that the flags and the command's one free argument name.
func (a *app) load(f *commonFlags, args []string, overrides []config.Override) (*config.Config, *slog.Logger, error) {
	a.floorHeap()
	file, err := a.configPath(f.path, args)
	if err != nil {
		return nil, nil, err
	}
	logger, err := a.logger(f.logFormat, f.level())
	if err != nil {
		return nil, nil, err
	}
	cfg, diags := config.Load(config.Input{Path: file, Environ: a.environ, Overrides: overrides, Registry: a.registry})
	if f.quiet && !diags.HasErrors() {
		diags = nil // warnings are notices
	}
	if a.printDiagnostics(diags) {
		return nil, nil, unusable(file, diags)
	}
	return cfg, logger, nil
}

// unusable is the error about problems of a configuration, which were printed. Where all that is wrong was said by flags, the command
// line is.
func unusable(what string, diags spec.Diagnostics) error {
	code := exitInvalid
	if !slices.ContainsFunc(diags, func(d spec.Diagnostic) bool { return d.Severity == spec.Error && !d.Pos.FromFlag() }) {
		code, what = exitUsage, "the command line"
	}
	return &codeError{code, fmt.Errorf("%s can't be used: %s", what, text.Plural(len(diags), "problem", "problems"))}
}

// progressFlag is --progress, which commands have that look at all documents.
type progressFlag struct{ form string }

func (f *progressFlag) add(c *cobra.Command) {
	c.Flags().StringVar(&f.form, "progress", progress.Auto, "how to show progress on standard error: auto (bars on a terminal, else plain), bars, plain (a line every 30s), json (every second) or none; SIGUSR1 prints it at once")
	_ = c.RegisterFlagCompletionFunc("progress", cobra.FixedCompletions([]string{progress.Auto, progress.Bars, progress.Plain, progress.JSON, progress.None}, cobra.ShellCompDirectiveNoFileComp))
}

// check refuses a form that there is not, and gets ready to be asked by a signal.
func (f *progressFlag) check() error {
	if err := progress.Check(f.form); err != nil {
		return &codeError{exitUsage, err}
	}
	progress.IgnoreSignal()
	return nil
}

// formFor is the form that was asked for, if any is to be shown.
func (f *progressFlag) formFor(common *commonFlags) string {
	if common.quiet && f.form == progress.Auto {
		return progress.None
	}
	return f.form
}

// show shows what a monitor sees until stop is called.
func (f *progressFlag) show(a *app, common *commonFlags, m *job.Monitor, logger *slog.Logger) (stop func()) {
	o := progress.Options{Form: f.formFor(common), Monitor: m, Output: a.notices}
	if common.logFormat == "json" {
		o.Log = logger
	}
	return progress.Show(o).Stop
}
