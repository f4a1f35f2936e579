package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
)

func (a *app) statusCommand() *cobra.Command {
	var file, dir string
	var flags *serverFlags
	c := &cobra.Command{
		Use:   "status [JOB]",
		Short: "Show how jobs stand: what runs, how far it is, what became of the last runs, and when the next comes",
		Long: `Show how jobs stand. A service is asked that runs them: the one that --server or ` + envServer + ` names, else the one of this machine.
Where none answers, and with -c or --state-dir, the state folder is read: it has what every run has said of itself, under a service or
by syncd run. A run whose process is gone shows as killed.`,
		Example: "  syncd status\n  syncd status pages -o json\n  syncd status -c configs/prod.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			if file != "" || dir != "" {
				if flags.url != "" {
					return usageError("--server asks a service, -c and --state-dir read a folder: leave one of them out")
				}
				return a.statusOf(file, dir, name)
			}
			asks, err := flags.client()
			if err != nil {
				return err
			}
			err = a.statusFrom(cmd.Context(), asks, name)
			if _, none := errors.AsType[*noServiceError](err); !none || flags.named() {
				return err
			}
			text.Fprintf(a.stderr, "No service answers at %s: this is what the state folder says\n", asks.base)
			return a.statusOf(a.usualConfig(), "", name)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return a.jobNames(cmd.Context(), flags, args), cobra.ShellCompDirectiveNoFileComp
		},
	}
	flags = a.serverFlags(c)
	configFlag(c, &file)
	c.Flags().StringVar(&dir, "state-dir", "", "read this folder, and ask no service (run.state_dir)")
	a.formatFlag(c)
	a.jsonFlag(c)
	return c
}

// statusFrom shows what a service says.
func (a *app) statusFrom(ctx context.Context, c *client, name string) error {
	if name != "" {
		var d api.Detail
		if err := c.ask(ctx, http.MethodGet, "jobs/"+url.PathEscape(name), nil, &d); err != nil {
			return err
		}
		return a.showDetail(&d)
	}
	var all api.Jobs
	if err := c.ask(ctx, http.MethodGet, "jobs", nil, &all); err != nil {
		return err
	}
	if a.json {
		return a.tell(&all)
	}
	if all.Problem != "" {
		text.Fprintf(a.stderr, "Jobs may be missing: %s\n", all.Problem)
	}
	if len(all.Jobs) == 0 {
		text.Fprintf(a.stdout, "The service has no jobs\n")
		return nil
	}
	a.showJobs(all.Jobs)
	return nil
}

// statusOf shows what a state folder says.
func (a *app) statusOf(file, dir, name string) error {
	s, err := a.states(file, dir)
	if err != nil {
		return err
	}
	if s.config != nil {
		name = cmp.Or(name, s.config.Name)
	}
	found, err := api.Kept(s.dir, time.Now(), processAlive)
	if err != nil {
		return err
	}
	if name == "" {
		all := api.Jobs{Jobs: []api.Job{}}
		for _, d := range found {
			all.Jobs = append(all.Jobs, d.Job)
		}
		switch {
		case a.json:
			return a.tell(&all)
		case len(found) == 0:
			text.Fprintf(a.stdout, "There are no jobs in %s\n", s.dir)
		default:
			a.showJobs(all.Jobs)
		}
		return nil
	}
	i := slices.IndexFunc(found, func(d api.Detail) bool { return d.Name == name })
	if i < 0 {
		return syncd.Hint(fmt.Errorf("nothing is kept of the job %s in %s", name, s.dir), "it has not run yet, or with another run.state_dir; syncd status lists what there is")
	}
	d := &found[i]
	if c := s.config; c != nil && c.Name == name {
		d.File, d.Follows, d.Schedule = file, c.Run.Follow, scheduleOf(c)
	}
	return a.showDetail(d)
}

// scheduleOf is when a job runs, in words.
func scheduleOf(c *config.Config) string {
	switch {
	case c.Run.Follow:
		return "follow"
	case c.Schedule.Every > 0:
		return "every " + c.Schedule.Every.String()
	case c.Schedule.Cron != "":
		return "cron " + c.Schedule.Cron
	}
	return "once"
}

// jobNames are the names that a command takes, as far as they are found out quickly.
func (a *app) jobNames(ctx context.Context, f *serverFlags, args []string) (names []string) {
	if len(args) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if c, err := f.client(); err == nil {
		var all api.Jobs
		if c.ask(ctx, http.MethodGet, "jobs", nil, &all) == nil {
			for i := range all.Jobs {
				names = append(names, text.Line(all.Jobs[i].Name))
			}
			return names
		}
	}
	if dir, err := job.StateDir(a.env(envStateDir), a.env); err == nil {
		names, _ = runlog.Jobs(dir) // without, there is nothing to complete
	}
	return names
}

// showJobs prints a line for each job.
func (a *app) showJobs(jobs []api.Job) {
	now := time.Now()
	rows := [][]string{text.Row("JOB", "STATE", "PROGRESS", "PHASE", "LEFT", "INDEX", "LAST RUN", "NEXT RUN")}
	for i := range jobs {
		j := &jobs[i]
		phase, left := "-", "-"
		if j.Live != nil {
			phase, left = j.Live.Phase, leftOf(j.Live)
		}
		last := "-"
		if j.Last != nil {
			last = string(j.Last.Outcome) + " " + text.Moment(j.Last.Ended)
		}
		rows = append(rows, text.Row(j.Name, string(j.State), progressOf(j.Live), phase, left, freshnessOf(&j.Freshness, now), last, nextOf(j, now)))
	}
	a.printRows(rows)
	for i := range jobs {
		if j := &jobs[i]; !j.Healthy() || j.State == api.Killed {
			text.Fprintf(a.stdout, "\n%s: %s\n", j.Name, cmp.Or(j.Reason, string(j.State)))
			a.printMore(j)
		}
	}
}

// printMore prints what is wrong with a job's file, and what to do.
func (a *app) printMore(j *api.Job) {
	for _, p := range j.Problems {
		text.Fprintf(a.stdout, "  %s\n", p)
	}
	if j.Hint != "" {
		text.Fprintf(a.stdout, "  hint: %s\n", j.Hint)
	}
}

// showDetail prints a job and its last runs.
func (a *app) showDetail(d *api.Detail) error {
	if a.json {
		return a.tell(d)
	}
	now := time.Now()
	state := string(d.State)
	if d.Reason != "" {
		state += ": " + d.Reason
	}
	text.Fprintf(a.stdout, "Job %s: %s\n", d.Name, state)
	a.printMore(&d.Job)
	row := func(name, value string) {
		if value != "" && value != "-" {
			text.Fprintf(a.stdout, "  %-13s  %s\n", name, value)
		}
	}
	row("file", d.File)
	row("schedule", d.Schedule)
	row("next run", nextOf(&d.Job, now))
	row("index", freshnessOf(&d.Freshness, now))
	if l := d.Live; l != nil {
		row("run", fmt.Sprintf("%s, process %d on %s", l.RunID, l.PID, l.Host))
		row("since", text.Moment(l.Started))
		row("phase", l.Phase)
		if len(l.Collections) > 0 || l.Counts.Scanned > 0 { // else it only follows
			row("progress", progressOf(l))
		}
		row("left", leftOf(l))
		if l.Cluster != nil {
			row("cluster", clusterOf(l.Cluster))
		}
		rows := [][]string{text.Row("COLLECTION", "DOCUMENTS", "HANDLED", "SENT", "FAILED", "SPLITS DONE")}
		for i := range l.Collections {
			c := &l.Collections[i]
			documents := "?"
			if c.Expected != nil {
				documents = strconv.FormatInt(*c.Expected, 10)
			}
			rows = append(rows, text.Row(c.Name, documents, c.Counts.Scanned, c.Counts.Acked, c.Counts.Failed(), fmt.Sprintf("%d of %d", c.SplitsDone, c.Splits)))
		}
		if len(l.Collections) > 0 {
			fmt.Fprintln(a.stdout)
			text.Table(a.stdout, rows)
		}
		if l.Cluster != nil && len(l.Cluster.Processes) > 0 {
			fmt.Fprintln(a.stdout)
			a.printRows(processesOf(l.Cluster, now))
		}
	}
	if len(d.Runs) == 0 {
		return nil
	}
	rows := [][]string{text.Row("STARTED", "TOOK", "OUTCOME", "SCOPE", "DOCUMENTS", "SENT", "FAILED", "WHY")}
	for i := range d.Runs {
		r := &d.Runs[i]
		done := r.Total
		done.Add(r.Deleted)
		if !r.Looked() {
			done = *r.Followed
		}
		rows = append(rows, text.Row(text.Moment(r.Started), span(r.Ended.Sub(r.Started)), string(r.Outcome), scopeOf(r), r.Total.Scanned,
			done.Acked, done.Failed(), cmp.Or(r.Error, "-")))
	}
	fmt.Fprintln(a.stdout)
	a.printRows(rows)
	return nil
}

// clusterOf is how the processes stand that share a job.
func clusterOf(c *runlog.Cluster) string {
	parts := []string{text.Plural(len(c.Processes), "process", "processes")}
	switch c.Leader {
	case "":
		parts = append(parts, "nobody is known to lead")
	case c.Process:
		parts = append(parts, "this one leads")
	default:
		parts = append(parts, c.Leader+" leads")
	}
	if c.Unowned > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d lanes without an owner", c.Unowned, c.Lanes))
	}
	return strings.Join(append(parts, text.Plural(c.Moves, "move", "moves")+" of lanes"), ", ")
}

// processesOf is a table of the processes that share a job.
func processesOf(c *runlog.Cluster, now time.Time) [][]string {
	rows := [][]string{text.Row("PROCESS", "HOST", "PID", "ADDRESS", "LANES", "SPLITS LEFT", "GAINED")}
	for i := range c.Processes {
		p := &c.Processes[i]
		name, gained := p.Name, "-"
		if name == c.Leader {
			name += " (leads)"
		}
		if p.Since != nil {
			gained = span(now.Sub(*p.Since)) + " ago"
		}
		rows = append(rows, text.Row(name, p.Host, p.PID, cmp.Or(p.Address, "-"), lanesOf(p.Lanes), p.Left(), gained))
	}
	return rows
}

// lanesOf names lanes, neighbours as a range.
func lanesOf(lanes []int) string {
	var parts []string
	for i := 0; i < len(lanes); {
		end := i + 1
		for end < len(lanes) && lanes[end] == lanes[end-1]+1 {
			end++
		}
		part := strconv.Itoa(lanes[i])
		if end > i+1 {
			part += "-" + strconv.Itoa(lanes[end-1])
		}
		parts, i = append(parts, part), end
	}
	return cmp.Or(strings.Join(parts, ","), "-")
}

// printRows prints columns of texts.
func (a *app) printRows(rows [][]string) {
	w := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	for _, cells := range rows {
		for i, cell := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			text.Fprintf(w, "%s", cell)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // what can't be written is told when the program ends
}

// scopeOf is what a run was about.
func scopeOf(r *runlog.Run) string {
	scope := cmp.Or(r.Mode, "?")
	switch {
	case r.Planned:
		scope = "plan"
	case !r.Looked():
		scope = "following"
	case len(r.Collections) > 0:
		scope += " of " + shortened(r.Collections)
	}
	if r.Resumed {
		scope += ", resumed"
	}
	if r.Follows && r.Looked() {
		scope += ", then follows"
	}
	return scope
}

// progressOf is how far a run is.
func progressOf(l *runlog.Live) string {
	switch {
	case l == nil:
		return "-"
	case l.Expected == nil || *l.Expected <= 0:
		return strconv.FormatInt(l.Counts.Scanned, 10)
	}
	share := min(100, math.Floor(100*float64(l.Counts.Scanned)/float64(*l.Expected)))
	return fmt.Sprintf("%d of %d, %.0f%%", l.Counts.Scanned, *l.Expected, share)
}

// leftOf is how long a run still takes.
func leftOf(l *runlog.Live) string {
	if l.ETA == nil || !(*l.ETA >= 0 && *l.ETA < 1e9) {
		return "-"
	}
	return span(time.Duration(*l.ETA * float64(time.Second)))
}

// freshnessOf is how complete and how fresh the index is.
func freshnessOf(f *api.Freshness, now time.Time) string {
	var parts []string
	if f.Behind != nil {
		parts = append(parts, fmt.Sprintf("%d behind", *f.Behind))
	}
	if f.OldestMissing != nil {
		parts = append(parts, "oldest missing "+span(now.Sub(*f.OldestMissing)))
	}
	if f.Lag != nil {
		parts = append(parts, "lag "+span(time.Duration(*f.Lag*float64(time.Second))))
	}
	if f.CompleteAt != nil {
		parts = append(parts, "complete at "+text.Moment(*f.CompleteAt))
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}

// nextOf is when a job runs again.
func nextOf(j *api.Job, now time.Time) string {
	switch {
	case j.Next == nil:
		return "-"
	case j.Next.Before(now):
		return "due"
	}
	return text.Moment(*j.Next)
}

// span is a time span for people.
func span(d time.Duration) string {
	d = max(0, d)
	if d < time.Second {
		return round(d).String()
	}
	return d.Round(time.Second).String()
}

// What people want of jobs.
const (
	pauseText   = "Have a job pause: what is under way is finished, and goes on where it was when the job is resumed"
	resumeText  = "Have a job run that was paused or stopped, or that failed"
	stopText    = "Have a job stop: meanwhile its state may be changed"
	restartText = "End a job's run and begin another, which resumes it"
)

// wishCommand asks a service to do something with a job.
func (a *app) wishCommand(do, about string) *cobra.Command {
	return a.drive(&cobra.Command{
		Use: do + " JOB", Short: about, Example: "  syncd " + do + " pages",
		Long: about + ".\n\nThe service is asked that runs the job; what is wanted is kept, also when the service is restarted.",
	}, do, func() any { return nil })
}

func (a *app) triggerCommand() *cobra.Command {
	var q api.RunRequest
	c := a.drive(&cobra.Command{
		Use: "trigger JOB", Short: "Start a run of a job now, or have one that follows look at all documents again", Example: "  syncd trigger pages\n  syncd trigger pages --fresh",
	}, "runs", func() any { return &q })
	c.Flags().BoolVar(&q.Fresh, "fresh", false, "read all documents again, even if there is an interrupted run to resume")
	c.Flags().StringVar(&q.Plan, "plan", "", "send what this plan of the service says, named by its id, and nothing else")
	return c
}

// drive completes a command that posts to a path of a job.
func (a *app) drive(c *cobra.Command, path string, says func() any) *cobra.Command {
	flags := a.serverFlags(c)
	a.formatFlag(c)
	a.jsonFlag(c)
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError("which job? name one; syncd status lists them")
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		asks, err := flags.client()
		if err != nil {
			return err
		}
		var j api.Job
		if err := asks.ask(cmd.Context(), http.MethodPost, "jobs/"+url.PathEscape(args[0])+"/"+path, says(), &j); err != nil {
			return err
		}
		if a.json {
			return a.tell(&j)
		}
		text.Fprintf(a.stdout, "Job %s: %s, and to be %s\n", j.Name, string(j.State), string(j.Wish.Desired))
		return nil
	}
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.jobNames(cmd.Context(), flags, args), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}
