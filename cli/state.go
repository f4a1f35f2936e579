package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
	"github.com/syncd-io/syncd/state"
)

// openState opens the state of the job that the configuration describes and makes it the run's: the one that was interrupted,
// or a new one. It is nil where none is kept.
func (a *app) openState(cfg *config.Config, s session, job state.Info, fresh *bool, o *pipeline.Options, logger *slog.Logger) (*state.Run, error) {
	_, commits := s.sink.(syncd.Committer)
	needed := func(why string) (*state.Run, error) {
		if commits {
			return nil, usageError("exactly once needs the run's state: %s", why)
		}
		return nil, nil //nolint:nilnil // none is kept
	}
	switch {
	case !cfg.Run.Resume:
		return needed("set run.resume: true")
	case !continues(cfg.Sink):
		return needed("the sink does not keep what an interrupted run sent")
	case !continues(cfg.DeadLetter):
		return needed("errors.dead_letter does not keep what an interrupted run sent there")
	}
	dir, err := a.stateDir(cfg)
	if err != nil {
		if commits {
			return nil, err
		}
		logger.Warn("no state is kept: this run can't be resumed", "reason", err.Error(), "hint", "set run.state_dir")
		return nil, nil //nolint:nilnil // none is kept
	}
	path := filepath.Join(dir, state.FileName(fileName(job.Job), job.Fingerprint))
	if *fresh {
		if err := state.Clear(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		*fresh = false // the next run of a schedule goes on with this one
	}
	st, err := state.Open(path, job)
	if err != nil {
		if cfg.Run.StateDir == "" && !commits && (errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)) {
			logger.Warn("no state is kept: this run can't be resumed", "reason", err.Error(), "hint", syncd.HintOf(err))
			return nil, nil //nolint:nilnil // none is kept
		}
		return nil, err
	}
	if err := a.adopt(st, job, cfg, o); err != nil {
		return nil, errors.Join(err, st.Close(state.Interrupted))
	}
	o.Journal, o.Commit = st, commits
	return st, nil
}

// continues reports whether what an interrupted run sent to a sink is still there; where there is no sink, nothing is missing.
func continues(p config.Plugin) bool {
	c, ok := p.Settings.(syncd.Continuer)
	return !ok || c.Continues()
}

// adopt goes on with the run in the file if there is one to go on with, else begins anew.
func (a *app) adopt(st *state.Run, job state.Info, cfg *config.Config, o *pipeline.Options) error {
	old := st.Info()
	resumable := old.RunID != "" && old.Status != state.Complete && old.Status != state.Failed
	age := time.Since(old.Updated).Abs() // a clock may have been wrong
	switch {
	case resumable && age <= cfg.Run.ResumeWithin:
		o.RunID = old.RunID
		fmt.Fprintf(a.stdout, "Resuming the run that was interrupted on %s: %s were handled by then (--fresh begins anew)\n",
			old.Updated.UTC().Format("2006-01-02 15:04:05 UTC"), plural(st.Handled(), "document", "documents"))
		return st.Resume()
	case resumable:
		fmt.Fprintf(a.stdout, "The interrupted run of %s is older than run.resume_within, %s: beginning anew\n",
			old.Updated.UTC().Format("2006-01-02 15:04:05 UTC"), cfg.Run.ResumeWithin)
	}
	job.RunID = o.RunID
	if err := state.Tidy(filepath.Dir(st.Path()), time.Now()); err != nil {
		return err
	}
	return st.Begin(job)
}

// jobOf says what a run works on. The fingerprint changes with whatever would make the positions of one run mean something
// else in another; how fast a run works is not part of it.
func jobOf(ctx context.Context, cfg *config.Config, s session) (state.Info, error) {
	h := sha256.New()
	place := func(p config.Plugin) string {
		l, _ := p.Settings.(syncd.Locator)
		if l == nil {
			return p.Name()
		}
		return p.Name() + " " + l.Location()
	}
	fmt.Fprintf(h, "source %q\nsink %q\nmapping %s\nmode %s\nasked %t\n", place(cfg.Source), place(cfg.Sink), cfg.Mapping.Fingerprint(), cfg.Run.Mode, s.checker != nil)
	if s.checker != nil {
		index, _, err := indexOf(ctx, cfg, s.checker)
		if err != nil {
			return state.Info{}, err
		}
		fmt.Fprintf(h, "index %q\n", index)
	}
	router, _ := cfg.Sink.Settings.(syncd.Router)
	for _, r := range cfg.Mapping.Rules {
		route := r.Target().Topic
		if router != nil {
			route = router.Route(r.Target())
		}
		fmt.Fprintf(h, "%q %q %q %q %q\n", r.Collection.Name, r.Collection.Filter, r.Fields(), r.PayloadKeys(), route)
	}
	fmt.Fprintf(h, "events %+v\nmin age %s\nretry %t\n", cfg.Event, cfg.Run.MinAge, cfg.Run.Attempts.Retry)
	file := ""
	if n := len(cfg.Files); n > 0 {
		file = cfg.Files[n-1]
	}
	name := ""
	if len(cfg.Mapping.Rules) > 0 {
		name = cfg.Mapping.Rules[0].Database
	}
	if name == "" {
		name = cfg.Source.Name()
	}
	return state.Info{Job: name, Fingerprint: hex.EncodeToString(h.Sum(nil)[:6]), Config: file}, nil
}

// endOf is how a run's state is left.
func endOf(report pipeline.Report, err error) state.Status {
	var coverage *pipeline.CoverageError
	switch {
	case errors.As(err, &coverage), errors.Is(err, pipeline.ErrNotResumable):
		return state.Failed
	case err != nil || report.Interrupted:
		return state.Interrupted
	}
	return state.Complete
}

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "state",
		Short: "Show or clear what is kept of runs",
		Long: `A run keeps in run.state_dir how far it came, so that the next one with the same configuration goes on where it was
interrupted. These commands read that folder: the one of the configuration given with -c, else the default one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(a.stateListCommand(), a.stateShowCommand(), a.stateClearCommand())
	return c
}

// stateFlags say where the files are.
type stateFlags struct{ config, dir string }

func (f *stateFlags) add(c *cobra.Command) {
	configFlag(c, &f.config)
	c.Flags().StringVar(&f.dir, "dir", "", "the folder, if no configuration names it (run.state_dir)")
}

func (a *app) stateFolder(f *stateFlags) (string, error) {
	if f.dir != "" {
		return f.dir, nil
	}
	cfg := &config.Config{}
	if f.config != "" {
		loaded, found := config.Load(config.Input{Path: f.config, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true})
		if loaded == nil {
			a.printDiagnostics(found)
			return "", &codeError{exitInvalid, fmt.Errorf("%s can't be used", f.config)}
		}
		cfg = loaded
	}
	return a.stateDir(cfg)
}

func (a *app) stateListCommand() *cobra.Command {
	var flags stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the runs that are kept", Args: cobra.NoArgs,
		Example: "  syncd state list -c configs/prod.yaml",
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.stateFolder(&flags)
			if err != nil {
				return err
			}
			entries, err := state.List(dir)
			if err != nil {
				return failed(err)
			}
			if asJSON {
				return printJSON(a.stdout, keptRuns(entries))
			}
			if len(entries) == 0 {
				fmt.Fprintf(a.stdout, "There are no runs in %s\n", dir)
				return nil
			}
			w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tSTATUS\tUPDATED\tDOCUMENTS\tCONFIGURATION")
			for _, e := range entries {
				if e.Problem != nil {
					fmt.Fprintf(w, "%s\tdamaged\t\t\t%v\n", e.Name, e.Problem)
					continue
				}
				documents := strconv.FormatInt(e.Handled, 10)
				if e.Info.Status == state.Running {
					documents = "?"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", e.Name, statusText(e.Info), stamp(e.Info.Updated), documents, e.Info.Config)
			}
			return w.Flush()
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) stateShowCommand() *cobra.Command {
	var flags stateFlags
	var asJSON bool
	c := &cobra.Command{
		Use: "show [NAME]", Short: "Show how far a run came, the latest if none is named", Args: cobra.MaximumNArgs(1),
		Example: "  syncd state show -c configs/prod.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := a.stateEntry(&flags, args)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.stdout, keptRuns([]state.Entry{e})[0])
			}
			printState(a.stdout, e)
			return nil
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with every split")
	return c
}

func (a *app) stateClearCommand() *cobra.Command {
	var flags stateFlags
	var all bool
	c := &cobra.Command{
		Use: "clear [NAME]", Short: "Forget a run, so that the next one begins anew", Args: cobra.MaximumNArgs(1),
		Example: "  syncd state clear run-ProjectManagement-1f6d2c90ab4e\n  syncd state clear --all",
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.stateFolder(&flags)
			if err != nil {
				return err
			}
			if all == (len(args) == 1) {
				return usageError("name one run, or say --all; syncd state list shows them")
			}
			entries, err := state.List(dir)
			if err != nil {
				return failed(err)
			}
			cleared := 0
			var problems []error
			for _, e := range entries {
				if !all && e.Name != args[0] {
					continue
				}
				if err := state.Clear(e.Path); err != nil {
					problems = append(problems, fmt.Errorf("%s: %w", e.Name, err))
					continue
				}
				cleared++
				fmt.Fprintf(a.stdout, "Cleared %s\n", e.Name)
			}
			if len(problems) > 0 {
				return failed(errors.Join(problems...))
			}
			if cleared == 0 && !all {
				return failed(syncd.Hint(fmt.Errorf("there is no run %s in %s", args[0], dir), "syncd state list shows what there is"))
			}
			return nil
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&all, "all", false, "forget every run of the folder")
	return c
}

// stateEntry is the run that is named, or the latest.
func (a *app) stateEntry(flags *stateFlags, args []string) (state.Entry, error) {
	dir, err := a.stateFolder(flags)
	if err != nil {
		return state.Entry{}, err
	}
	entries, err := state.List(dir)
	if err != nil {
		return state.Entry{}, failed(err)
	}
	if len(entries) == 0 {
		return state.Entry{}, failed(fmt.Errorf("there are no runs in %s", dir))
	}
	if len(args) == 0 {
		return entries[0], nil
	}
	i := slices.IndexFunc(entries, func(e state.Entry) bool { return e.Name == args[0] })
	if i < 0 {
		return state.Entry{}, failed(syncd.Hint(fmt.Errorf("there is no run %s in %s", args[0], dir), "syncd state list shows what there is"))
	}
	return entries[i], nil
}

func printState(w io.Writer, e state.Entry) {
	i := e.Info
	if e.Problem != nil {
		fmt.Fprintf(w, "%s: %v\n", e.Name, e.Problem)
		return
	}
	if i.RunID == "" { // another process has the file
		fmt.Fprintf(w, "%s: %s\n", e.Name, statusText(i))
		return
	}
	fmt.Fprintf(w, "Run %s: %s\n", i.RunID, statusText(i))
	if i.Status == state.Running {
		return
	}
	fmt.Fprintf(w, "  configuration  %s\n  started        %s\n  updated        %s\n  resumed        %s\n\n", i.Config, stamp(i.Started), stamp(i.Updated), plural(i.Resumes, "time", "times"))
	width := len("COLLECTION")
	for name := range e.Collections {
		width = max(width, len(name))
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "%-*s\tDOCUMENTS\tHANDLED\tSENT\tFAILED\tSPLITS DONE\t\n", width, "COLLECTION")
	for _, name := range slices.Sorted(maps.Keys(e.Collections)) {
		c := e.Collections[name]
		var n pipeline.Counts
		done := 0
		for _, s := range c.Splits {
			n.Add(s.Counts)
			if s.Done {
				done++
			}
		}
		splits := fmt.Sprintf("%d of %d", done, len(c.Splits))
		if !c.Planned {
			splits += " so far"
		}
		before := "?"
		if c.Before >= 0 {
			before = strconv.FormatInt(c.Before, 10)
		}
		fmt.Fprintf(t, "%-*s\t%s\t%d\t%d\t%d\t%s\t\n", width, name, before, n.Scanned, n.Acked, n.Failed(), splits)
	}
	_ = t.Flush()
}

func statusText(i state.Info) string {
	if i.Status == state.Running && i.PID != 0 {
		return fmt.Sprintf("running, process %d on %s", i.PID, i.Host)
	}
	return string(i.Status)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// shownEntry is an entry in the words of JSON.
type shownEntry struct {
	Name string `json:"name"`
	Path string `json:"path"`
	state.Info
	Handled     int64                                `json:"handled"`
	Collections map[string]*pipeline.CollectionState `json:"collections,omitempty"`
	Problem     string                               `json:"problem,omitempty"`
}

func keptRuns(entries []state.Entry) []shownEntry {
	out := make([]shownEntry, 0, len(entries))
	for _, e := range entries {
		s := shownEntry{Name: e.Name, Path: e.Path, Info: e.Info, Handled: e.Handled, Collections: e.Collections}
		if e.Problem != nil {
			s.Problem = e.Problem.Error()
		}
		out = append(out, s)
	}
	return out
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// resumedLine says in the summary what an earlier run had done.
func resumedLine(r pipeline.Report) string {
	if r.Resumed == 0 {
		return ""
	}
	return fmt.Sprintf("Resumed: %s of these were handled before the interruption\n", plural(r.Resumed, "document", "documents"))
}
