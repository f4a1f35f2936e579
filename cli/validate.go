package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/reference"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
)

func (a *app) validateCommand() *cobra.Command {
	var path, format, explain string
	var allowUnset, strict bool
	var servers *connectFlags
	c := &cobra.Command{
		Use:   "validate [-c] FILE|FOLDER|PATTERN...",
		Short: "Check configurations, and with --connect the servers that they name",
		Long: `validate reports every problem of every file at its place, and connects to nothing unless it is told to.

A folder stands for all YAML and Markdown files in it, folders in it included, but for hidden ones; - is standard input.
What another of the given files extends is checked as a part of that one, so it need not be complete itself. Of a Markdown
file the blocks fenced with ` + "```yaml" + ` are checked that hold a section of a configuration; one fenced with
` + "```yaml fragment" + ` need not be complete, and one fenced with ` + "```yaml ignore" + ` is passed over.`,
		Example: `  syncd validate configs/
  syncd validate --strict --format github configs/*.yaml docs/
  syncd validate --connect configs/prod.yaml
  syncd validate --explain seed-collision
  cat config.yaml | syncd validate -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if explain != "" {
				return a.explainCode(explain)
			}
			if path != "" {
				args = append(args, path)
			}
			if len(args) == 0 {
				usual, err := a.configPath("", nil)
				if err != nil {
					return err
				}
				args = []string{usual}
			}
			if format == "" {
				format = string(a.diagnosticFormat())
			}
			if !slices.Contains(spec.Formats(), spec.Format(format)) {
				return usageError("--format must be text, short, json or github, not %q", format)
			}
			v := &validation{app: a, allowUnset: allowUnset, format: spec.Format(format)}
			v.find(args)
			valid := v.check()
			invalid := v.diags.HasErrors() || strict && len(v.diags) > 0
			if a.json {
				return v.tell(cmd, servers, valid, invalid)
			}
			if err := v.print(); err != nil {
				return err
			}
			if invalid {
				return &codeError{code: exitInvalid}
			}
			return servers.check(cmd, valid)
		},
	}
	servers = a.connectFlags(c)
	a.formatFlag(c)
	a.jsonFlag(c)
	configFlag(c, &path)
	c.Flags().BoolVar(&allowUnset, "allow-unset-env", false, "don't report environment variables that are not set, nor what depends on them")
	c.Flags().BoolVar(&strict, "strict", false, "count warnings as errors")
	c.Flags().StringVar(&format, "format", "", "how problems are written: text (with the lines they are about), short, json or github (default text on a terminal, else short)")
	c.Flags().StringVar(&explain, "explain", "", "explain a `CODE` that stands behind a problem, such as seed-collision, and check nothing")
	_ = c.RegisterFlagCompletionFunc("explain", cobra.FixedCompletions(codeNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"text", "short", "json", "github"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// explainCode prints what a diagnostic's code means and what to do about it.
func (a *app) explainCode(name string) error {
	explained, found := reference.CodeText(strings.Trim(name, "[]"))
	if !found {
		return &codeError{exitUsage, syncd.Hint(fmt.Errorf("there is no code %q", name), "%s", spec.DidYouMean(name, codeNames()))}
	}
	_, err := fmt.Fprint(a.stdout, explained)
	return err
}

func codeNames() (names []string) {
	for _, c := range spec.Codes() {
		names = append(names, string(c.Code))
	}
	return names
}

// validation is one run of validate.
type validation struct {
	app        *app
	allowUnset bool
	format     spec.Format

	targets []*target
	diags   spec.Diagnostics
}

// target is something to check.
type target struct {
	name     string // of the file, for people
	text     []byte // what was read already; nil for a file that is to be read
	document bool   // an example in a document, where no variable is set
	scope    config.Scope
	result   config.Result
}

// problem reports what has no line.
func (v *validation) problem(name, hint, format string, args ...any) {
	v.diags = append(v.diags, spec.Diagnostic{
		Severity: spec.Error, Code: spec.CodeMissingFile, Pos: spec.Pos{Source: name},
		Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// check loads every target and gathers what is wrong, each problem once. It returns the configurations that can be used.
func (v *validation) check() (valid []usable) {
	extended := map[string]bool{}
	for _, t := range v.targets {
		t.result = v.load(t)
		if n := len(t.result.Files); n > 1 {
			for _, name := range t.result.Files[:n-1] {
				extended[absolute(name)] = true
			}
		}
	}
	for _, t := range v.targets {
		// What a base lacks may come from the files that extend it.
		if t.text == nil && extended[absolute(t.name)] && t.result.Diagnostics.HasErrors() {
			t.scope = config.Base
			t.result = v.load(t)
		}
		v.diags = append(v.diags, t.result.Diagnostics...)
		if t.result.Config != nil && !t.document {
			valid = append(valid, usable{t.name, t.result.Config})
		}
	}
	v.diags = v.diags.Sorted()
	return valid
}

func (v *validation) load(t *target) config.Result {
	in := config.Input{
		Path: t.name, Text: t.text, Scope: t.scope, Registry: v.app.registry,
		Environ: v.app.environ, AllowUnsetEnv: v.allowUnset,
	}
	if t.document {
		in.Environ, in.AllowUnsetEnv = nil, true
	}
	return config.Check(in)
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// print writes the problems: for people to standard error, beside a line for each file without errors and a sum; as data to
// standard output, and nothing else.
func (v *validation) print() error {
	if v.format == spec.FormatJSON || v.format == spec.FormatGitHub {
		return v.diags.Write(text.Escape(v.app.stdout), v.format)
	}
	if err := shown(v.diags).Write(v.app.stderr, v.format); err != nil {
		return err
	}
	var names []string
	examples, invalid := map[string]int{}, map[string]bool{}
	for _, t := range v.targets {
		if !slices.Contains(names, t.name) {
			names = append(names, t.name)
		}
		if t.document {
			examples[t.name]++
		}
		invalid[t.name] = invalid[t.name] || t.result.Diagnostics.HasErrors()
	}
	for _, name := range names {
		switch n := examples[name]; {
		case invalid[name]:
		case n > 0:
			text.Fprintf(v.app.stdout, "%s: %s, valid\n", name, text.Plural(n, "example", "examples"))
		default:
			text.Fprintf(v.app.stdout, "%s: valid\n", name)
		}
	}
	if len(v.diags) > 0 {
		fmt.Fprintln(v.app.stderr, summary(v.diags))
	}
	return nil
}

// Validation is what validate found, for programs.
type Validation struct {
	Valid    bool            `json:"valid" doc:"Nothing that was checked has an error, or a warning with --strict; servers count as well."`
	Files    []string        `json:"files" doc:"The configurations that can be used."`
	Problems json.RawMessage `json:"problems" doc:"What is wrong, as with --format json."`
	Servers  []Server        `json:"servers,omitempty" doc:"What was found out about the servers, with --connect."`
}

// Server is what was found out about one of the servers of a configuration.
type Server struct {
	File     string   `json:"file" doc:"The configuration's file."`
	Kind     string   `json:"kind" doc:"source, checker or sink."`
	Name     string   `json:"name" doc:"The name of its product, and where it is."`
	Findings []Looked `json:"findings" doc:"What was looked at."`
}

// Looked is one thing that was looked at.
type Looked struct {
	Subject string `json:"subject" doc:"What was looked at."`
	Status  string `json:"status" doc:"ok, warning, failed or skipped."`
	Detail  string `json:"detail" doc:"What was found."`
	Hint    string `json:"hint,omitempty" doc:"What to do about it."`
}

// tell prints what was found for programs, and has the servers looked at where the files are valid.
func (v *validation) tell(cmd *cobra.Command, servers *connectFlags, valid []usable, invalid bool) error {
	found := Validation{Files: []string{}}
	for _, u := range valid {
		found.Files = append(found.Files, u.name)
	}
	var problems bytes.Buffer
	if err := v.diags.Write(&problems, spec.FormatJSON); err != nil {
		return err
	}
	found.Problems = problems.Bytes()
	var ended error
	if invalid {
		ended = &codeError{code: exitInvalid}
	} else {
		var bad bool
		var err error
		if bad, err = servers.look(cmd, valid, func(u usable, c *connection) (counts, error) {
			total := counts{}
			reports, err := c.look(cmd.Context())
			if err != nil {
				return total, err
			}
			for _, r := range reports {
				s := Server{File: u.name, Kind: string(r.kind), Name: r.name, Findings: []Looked{}}
				for _, f := range r.findings {
					s.Findings = append(s.Findings, Looked{f.Subject, strings.ToLower(total.add(f.Status)), f.Detail, f.Hint})
				}
				found.Servers = append(found.Servers, s)
			}
			return total, nil
		}); err != nil {
			return err
		}
		if bad {
			ended = &codeError{code: exitFailed}
		}
	}
	found.Valid = ended == nil
	return errors.Join(ended, v.app.tell(&found))
}

// summary counts: 3 problems (2 errors, 1 warning) in 2 files.
func summary(diags spec.Diagnostics) string {
	failures, warnings := diags.Count()
	var kinds []string
	if failures > 0 {
		kinds = append(kinds, text.Plural(failures, "error", "errors"))
	}
	if warnings > 0 {
		kinds = append(kinds, text.Plural(warnings, "warning", "warnings"))
	}
	sources, one, many := map[string]bool{}, "file", "files"
	for _, d := range diags {
		sources[d.Pos.Source] = true
		if d.Pos.Line == 0 && d.Code != spec.CodeMissingFile { // a variable, say
			one, many = "place", "places"
		}
	}
	return fmt.Sprintf("%s (%s) in %s", text.Plural(len(diags), "problem", "problems"), strings.Join(kinds, ", "), text.Plural(len(sources), one, many))
}

// stdinName stands for standard input in messages.
const stdinName = "stdin"

// maxInput bounds what is read of standard input and of documents.
const maxInput = 8 << 20

var errTooLarge = errors.New("it is too large")

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = errTooLarge
	}
	return data, err
}
