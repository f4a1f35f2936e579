package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "state",
		Short: "Show or clear what is kept of jobs",
		Long: `A run keeps in run.state_dir how far it came, under the name of its job, so that the next run of that job resumes where it
was interrupted. These commands read that folder: the one of the configuration or of SYNCD_RUN__STATE_DIR,
else the default one. A job that delivers exactly once keeps its state in the sink's transactions: with -c they
read that, too; a run that was cut off there shows as running until the next one.`,
	}
	c.AddCommand(a.stateListCommand(), a.stateShowCommand(), a.stateClearCommand())
	return c
}

// onStates has a command work on the states that its flags say, with the name of the job that it was given, if any.
func (a *app) onStates(c *cobra.Command, run func(ctx context.Context, s *states, job string) error) *cobra.Command {
	var file, dir string
	configFlag(c, &file)
	c.Flags().StringVar(&dir, "dir", "", "the folder, if no configuration names it (run.state_dir)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if file == "" && dir == "" {
			file = a.usualConfig()
		}
		s, err := a.states(file, dir)
		if err != nil {
			return err
		}
		return run(cmd.Context(), s, strings.Join(args, ""))
	}
	return c
}

// envStateDir is the variable that sets run.state_dir in each configuration, and so says where to look without one.
const envStateDir = "SYNCD_RUN__STATE_DIR"

// states is where to look for the states of jobs.
type states struct {
	dir    string
	config *config.Config // that was given; nil: none was
}

// inSink reports whether the job of the configuration keeps its state in the sink.
func (s *states) inSink() bool {
	if s.config == nil {
		return false
	}
	t, ok := s.config.Sink.Settings.(syncd.Transactor)
	return ok && t.Transactional()
}

func (a *app) states(file, dir string) (*states, error) {
	s := &states{dir: dir}
	if file != "" {
		loaded, found := config.Load(config.Input{Path: file, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true})
		if loaded == nil {
			a.printDiagnostics(found)
			return nil, &codeError{exitInvalid, fmt.Errorf("%s can't be used", file)}
		}
		s.config = loaded
	}
	if s.dir != "" {
		return s, nil
	}
	set := a.env(envStateDir)
	if s.config != nil {
		set = s.config.Run.StateDir
	}
	var err error
	s.dir, err = job.StateDir(set, a.env)
	return s, err
}

// list returns what is kept: first what is in the sink, then what is in the folder, the newest first.
func (s *states) list(ctx context.Context) ([]store.Entry, error) {
	entries, err := bolt.List(s.dir)
	if err != nil || !s.inSink() {
		return entries, err
	}
	e, err := s.peek(ctx)
	if err != nil {
		return nil, err
	}
	if e.Info.RunID == "" && e.Problem == nil {
		return entries, nil
	}
	return append([]store.Entry{e}, entries...), nil
}

// peek reads the state in the sink.
func (s *states) peek(ctx context.Context) (_ store.Entry, err error) {
	sink, err := s.config.Sink.OpenSink(ctx, s.config.Sink.Settings, syncd.Env{})
	if err != nil {
		return store.Entry{}, err
	}
	defer func() {
		if cerr := sink.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("closing the sink: %w", cerr)
		}
	}()
	return marks.Peek(ctx, sink.Abilities(), s.config.Name)
}

// find returns the entry of the named job; without a name that of the configuration's job, or else the newest.
func (s *states) find(ctx context.Context, name string) (store.Entry, error) {
	entries, err := s.list(ctx)
	if err != nil {
		return store.Entry{}, err
	}
	if len(entries) == 0 {
		return store.Entry{}, fmt.Errorf("there are no jobs in %s", s.dir)
	}
	wanted := name
	if wanted == "" && s.config != nil {
		wanted = s.config.Name
	}
	if i := slices.IndexFunc(entries, func(e store.Entry) bool { return e.Name == wanted }); i >= 0 {
		return entries[i], nil
	}
	if name == "" {
		return entries[0], nil
	}
	return store.Entry{}, s.noJob(name)
}

func (s *states) noJob(name string) error {
	hint := "syncd state list shows what there is"
	entries, _ := bolt.List(s.dir) // without, there is nothing to propose
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	if near := spec.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return syncd.Hint(fmt.Errorf("there is no job %s in %s", name, s.dir), "%s", hint)
}

func (a *app) stateListCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List the jobs of which something is kept", Args: cobra.NoArgs,
		Example: "  syncd state list -c configs/prod.yaml",
	}
	a.formatFlag(c)
	a.jsonFlag(c)
	return a.onStates(c, func(ctx context.Context, s *states, _ string) error {
		entries, err := s.list(ctx)
		switch {
		case err != nil:
			return err
		case a.json:
			return a.tell(shownEntries(entries))
		case len(entries) == 0:
			text.Fprintf(a.stdout, "There are no jobs in %s\n", s.dir)
			return nil
		}
		w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		fmt.Fprintln(w, "JOB\tOUTCOME\tUPDATED\tMODE\tCOLLECTIONS\tDOCUMENTS\tCONFIGURATION")
		for _, e := range entries {
			if e.Problem != nil {
				text.Fprintf(w, "%s\tdamaged\t\t\t\t\t%v\n", e.Name, e.Problem)
				continue
			}
			documents := strconv.FormatInt(e.Handled, 10)
			if e.Info.RunID == "" { // another process has the file
				documents = "?"
			}
			text.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Name, outcomeText(e.Info), text.Moment(e.Info.Updated), cmp.Or(e.Info.Scope.Mode, "?"),
				cmp.Or(shortened(e.Info.Scope.Collections), "?"), documents, e.Info.Config)
		}
		return w.Flush()
	})
}

func (a *app) stateShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "show [JOB]", Short: "Show how far a job's run came", Args: cobra.MaximumNArgs(1),
		Long:    "Show how far a job's run came: that of the named job, or of the configuration's, or of the one that was updated last.",
		Example: "  syncd state show -c configs/prod.yaml",
	}
	a.formatFlag(c)
	a.jsonFlag(c)
	c.ValidArgsFunction = a.keptJobs
	return a.onStates(c, func(ctx context.Context, s *states, job string) error {
		e, err := s.find(ctx, job)
		if err != nil {
			return err
		}
		if a.json {
			return a.tell(shownEntries([]store.Entry{e})[0])
		}
		printState(a.stdout, e)
		return nil
	})
}

func (a *app) stateClearCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "clear [JOB]", Short: "Forget a job's run, so that the next one starts from the beginning", Args: cobra.MaximumNArgs(1),
		Example: "  syncd state clear pages-to-qdrant\n  syncd state clear --all",
	}
	a.formatFlag(c)
	c.Flags().BoolVar(&all, "all", false, "forget every job of the folder")
	c.ValidArgsFunction = a.keptJobs
	return a.onStates(c, func(_ context.Context, s *states, job string) error {
		if all == (job != "") {
			return usageError("name one job, or say --all; syncd state list shows them")
		}
		return a.clearStates(s, job)
	})
}

// clearStates forgets the named job, or all of the folder.
func (a *app) clearStates(s *states, name string) error {
	entries, err := bolt.List(s.dir)
	if err != nil {
		return err
	}
	if name != "" {
		entries = slices.DeleteFunc(entries, func(e store.Entry) bool { return e.Name != name })
	}
	var problems []error
	cleared := Cleared{Cleared: []string{}}
	for _, e := range entries {
		if err := bolt.Clear(s.dir, e.Name); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", e.Name, err))
			continue
		}
		if cleared.Cleared = append(cleared.Cleared, e.Name); !a.json {
			text.Fprintf(a.stdout, "Cleared %s\n", e.Name)
		}
	}
	switch {
	case s.inSink() && (name == "" || name == s.config.Name):
		problems = append(problems, syncd.Hint(fmt.Errorf("the state of %s is in the transactions of the sink, where it stays until a run forgets it", s.config.Name),
			"syncd run --fresh starts from the beginning"))
	case name != "" && len(entries) == 0:
		return s.noJob(name)
	}
	if err := errors.Join(problems...); err != nil || !a.json {
		return err
	}
	return a.tell(cleared)
}

// Cleared is what was forgotten, for programs.
type Cleared struct {
	Cleared []string `json:"cleared" doc:"The names of the jobs."`
}

// printState prints an entry for a person.
func printState(w io.Writer, e store.Entry) {
	i := e.Info
	if e.Problem != nil {
		text.Fprintf(w, "%s: %v\n", e.Name, e.Problem)
		return
	}
	text.Fprintf(w, "Job %s: %s\n", e.Name, outcomeText(i))
	if i.RunID == "" { // another process has the file
		return
	}
	row := func(name, value string) { text.Fprintf(w, "  %-13s  %s\n", name, value) }
	row("run", i.RunID)
	row("configuration", i.Config)
	row("source", i.Scope.Source)
	row("index", cmp.Or(i.Scope.Index, "not asked"))
	row("sink", i.Scope.Sink)
	row("mode", i.Scope.Mode)
	row("collections", strings.Join(i.Scope.Collections, ", "))
	row("started", text.Moment(i.Started))
	row("updated", text.Moment(i.Updated))
	row("resumed", text.Plural(i.Resumes, "time", "times"))
	rows := [][]string{text.Row("COLLECTION", "DOCUMENTS", "HANDLED", "SENT", "FAILED", "SPLITS DONE")}
	for _, p := range partsOf(e) {
		n, done := p.state.Counts(), 0
		for _, s := range p.state.Splits {
			if s.Done {
				done++
			}
		}
		splits := fmt.Sprintf("%d of %d", done, len(p.state.Splits))
		if !p.state.Planned {
			splits += " so far"
		}
		before := "?"
		if p.state.Before >= 0 {
			before = strconv.FormatInt(p.state.Before, 10)
		}
		rows = append(rows, text.Row(p.name, before, n.Scanned, n.Acked, n.Failed(), splits))
	}
	fmt.Fprintln(w)
	text.Table(w, rows)
	streams := streamsOf(e)
	if len(streams) == 0 {
		return
	}
	rows = [][]string{text.Row("STREAM", "CHANGES", "SENT", "FAILED")}
	for _, p := range streams {
		n := p.state.Counts()
		rows = append(rows, text.Row(p.name, n.Scanned, n.Acked, n.Failed()))
	}
	fmt.Fprintln(w)
	text.Table(w, rows)
}

// part is a collection of an entry, the deletes of its orphans, or a stream.
type part struct {
	name  string
	state *store.Collection
}

// partsOf lists what an entry knows of collections, by name, the deletes of each behind it.
func partsOf(e store.Entry) []part {
	deletes := map[string]string{}
	for _, name := range e.Info.Scope.Collections {
		deletes[store.DeletesOf(name)] = name + ", deletes"
	}
	var out []part
	for name, c := range e.Collections {
		if !store.IsStream(name) {
			out = append(out, part{cmp.Or(deletes[name], name), c})
		}
	}
	slices.SortFunc(out, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return out
}

// streamsOf lists what an entry knows of streams, by name.
func streamsOf(e store.Entry) []part {
	var out []part
	for name, c := range e.Collections {
		if stream, ok := store.StreamName(name); ok {
			out = append(out, part{stream, c})
		}
	}
	slices.SortFunc(out, func(a, b part) int { return strings.Compare(a.name, b.name) })
	return out
}

// outcomeText is how a run ended, or where it runs.
func outcomeText(i store.Info) string {
	if i.Outcome == tally.Running && i.PID != 0 {
		return fmt.Sprintf("running, process %d on %s", i.PID, i.Host)
	}
	if i.Follows && i.Outcome == tally.Complete {
		return "stopped following"
	}
	return string(i.Outcome)
}

// maxNamed is how many collections a line names.
const maxNamed = 3

// shortened names the first of several.
func shortened(names []string) string {
	if len(names) <= maxNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
}

// shownEntry is an entry in the words of JSON.
type shownEntry struct {
	Name string `json:"name"`
	Path string `json:"path,omitempty"`
	store.Info
	Handled     int64                        `json:"handled"`
	Collections map[string]*store.Collection `json:"collections,omitempty"`
	Streams     map[string]*store.Collection `json:"streams,omitempty"` // that the job follows
	Problem     string                       `json:"problem,omitempty"`
}

func shownEntries(entries []store.Entry) []shownEntry {
	out := make([]shownEntry, 0, len(entries))
	for _, e := range entries {
		s := shownEntry{Name: e.Name, Path: e.Path, Info: e.Info, Handled: e.Handled, Collections: map[string]*store.Collection{}}
		for _, p := range partsOf(e) {
			s.Collections[p.name] = p.state
		}
		for _, p := range streamsOf(e) {
			if s.Streams == nil {
				s.Streams = map[string]*store.Collection{}
			}
			s.Streams[p.name] = p.state
		}
		if e.Problem != nil {
			s.Problem = e.Problem.Error()
		}
		out = append(out, s)
	}
	return out
}

// printJSON prints what JSON means, with escapes for all that would not show, with so much in front of what is inside; without, it is
// one line.
func printJSON(w io.Writer, v any, indent string) error {
	enc := json.NewEncoder(text.Escape(w))
	enc.SetIndent("", indent)
	return enc.Encode(v)
}
