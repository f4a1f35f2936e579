package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/reference"
	runreport "github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/spec"
)

// formatFlag is -o of commands whose result may be read by programs: one JSON value on standard output, in one line, and nothing else there. With
// file it takes the file to write something to as well, and may be given twice.
type formatFlag struct {
	app  *app
	file *string // nil: there is no such file
}

func (f formatFlag) Type() string { return "string" }

func (f formatFlag) String() string {
	if f.app != nil && f.app.json {
		return formatJSON
	}
	return ""
}

const (
	formatJSON  = "json"
	formatTable = "table"
)

func (f formatFlag) Set(value string) error {
	switch {
	case value == formatJSON:
		f.app.json = true
	case value == formatTable:
	case f.file == nil:
		return errors.New("it is json or table")
	case *f.file != "":
		return fmt.Errorf("there is the file %q already", *f.file)
	default:
		*f.file = value
	}
	return nil
}

// formatFlag adds -o to a command.
func (a *app) formatFlag(c *cobra.Command) {
	c.Flags().VarP(formatFlag{app: a}, "output", "o", "how the result is printed: table or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{formatTable, formatJSON}, cobra.ShellCompDirectiveNoFileComp))
}

// fileFlag adds -o to a command that writes a file as well.
func (a *app) fileFlag(c *cobra.Command, file *string, about string) {
	c.Flags().VarP(formatFlag{a, file}, "output", "o", about+"; or json, to print the result as JSON (./json is a file); it can be given twice")
}

// jsonFlag adds --json, the older word for -o json.
func (a *app) jsonFlag(c *cobra.Command) {
	c.Flags().BoolVar(&a.json, "json", false, "the same as -o json")
}

// tell prints the result of a command for programs.
func (a *app) tell(v any) error {
	a.told = true
	return printJSON(a.stdout, v, "")
}

// Failure is what a command prints with -o json that has no result.
type Failure struct {
	Error    string   `json:"error" doc:"What went wrong."`
	Hint     string   `json:"hint,omitempty" doc:"What to do about it."`
	Problems []string `json:"problems,omitempty" doc:"What is wrong with the configuration, each at its place."`
	ExitCode int      `json:"exit_code" doc:"The program's exit code."`
}

// tellFailure prints the error of a command, where programs read what it prints and it has printed nothing yet.
func (a *app) tellFailure(err error, code int) {
	if !a.json || a.told {
		return
	}
	f := Failure{Error: spec.ScrubURLs(err.Error()), Hint: spec.ScrubURLs(syncd.HintOf(err)), ExitCode: code}
	for _, d := range a.problems {
		f.Problems = append(f.Problems, d.String())
	}
	_ = a.tell(&f) // there is nowhere else to say it
}

// outputs are what commands print for programs.
func outputs() []reference.Output {
	return []reference.Output{
		{Command: "syncd run, deadletters retry", Value: runreport.Report{}},
		{Command: "syncd status", Value: api.Jobs{}},
		{Command: "syncd status JOB", Value: api.Detail{}},
		{Command: "syncd pause, resume, stop, restart, trigger", Value: api.Job{}},
		{Command: "syncd plan", Value: runreport.Plan{}},
		{Command: "syncd verify", Value: runreport.Audit{}},
		{Command: "syncd explain", Value: runreport.Explanation{}},
		{Command: "syncd report FILE", Value: runreport.Report{}},
		{Command: "syncd report FILE FILE", Value: runreport.Comparison{}},
		{Command: "syncd config diff", Value: ConfigDifferences{}},
		{Command: "syncd id", Value: []PointID{}},
		{Command: "syncd version", Value: Version{}},
		{Command: "syncd health", Value: Healthy{}},
		{Command: "syncd state clear", Value: Cleared{}},
		{Command: "syncd deadletters list, show", Value: []runreport.DeadLetter{}},
		{Command: "syncd search", Value: []SearchHit{}},
		{Command: "syncd plugins", Value: []ShownPlugin{}},
		{Command: "syncd validate", Value: Validation{}},
		{Command: "Errors", Value: Failure{}},
	}
}
