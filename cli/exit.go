package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/reference"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// The exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInvalid     = 3   // the configuration
	exitStopped     = 4   // a guard ended the run (drift, a limit, coverage), or there are differences
	exitFailures    = 5   // the run is complete, but documents could not be sent
	exitInterrupted = 130 // 128 + SIGINT
	exitTerminated  = 143 // 128 + SIGTERM
)

// exitCodes says what they mean.
func exitCodes() []reference.ExitCode {
	return []reference.ExitCode{
		{Code: strconv.Itoa(exitDone), Meaning: "Done."},
		{Code: strconv.Itoa(exitFailed), Meaning: "Failed; the error says why."},
		{Code: strconv.Itoa(exitUsage), Meaning: "A mistake on the command line."},
		{Code: strconv.Itoa(exitInvalid), Meaning: "The configuration is invalid."},
		{Code: strconv.Itoa(exitStopped), Meaning: "Stopped by a guard (drift, a limit, coverage), or a difference was found."},
		{Code: strconv.Itoa(exitFailures), Meaning: "Done, but some documents could not be sent; they are named."},
		{Code: fmt.Sprintf("%d, %d", exitInterrupted, exitTerminated), Meaning: "Interrupted by Ctrl-C, by SIGTERM; what was under way was finished."},
	}
}

// exitOf is the exit code of a run that ended so. A signal that interrupted it gives a code of its own: see connected.
func exitOf(o tally.Outcome) int {
	switch o {
	case tally.Complete:
		return exitDone
	case tally.Failures:
		return exitFailures
	case tally.NotArrived, tally.Stopped:
		return exitStopped
	case tally.Interrupted:
		return exitInterrupted
	}
	return exitFailed
}

// codeOf is the exit code that an error ends the program with.
func codeOf(err error) int {
	var coded *codeError
	var usage *job.UsageError
	var invalid *job.InvalidError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &invalid):
		return exitInvalid
	}
	return exitOf(job.OutcomeOf(err))
}

// codeError ends the program with a code that says something else than how a run ended. What there was to say has been printed
// if err is nil.
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

// exit prints an error the way a person can act on it and returns the code.
func (a *app) exit(err error) int {
	code := codeOf(err)
	var coded *codeError
	if err == nil || errors.As(err, &coded) && coded.err == nil {
		return code
	}
	paint := a.painter(a.stderr)
	text.Fprintf(a.stderr, "%s %v\n", text.Safe(paint(red, "error:")), err)
	if p, ok := errors.AsType[*panics.Error](err); ok {
		_, _ = a.stderr.Write(p.Stack) // for a report of the fault
	}
	if hint := syncd.HintOf(err); hint != "" {
		text.Fprintf(a.stderr, "%s %s\n", text.Safe(paint(yellow, "hint:")), hint)
	}
	return code
}
