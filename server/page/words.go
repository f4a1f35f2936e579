package page

import (
	"fmt"
	"strings"
	"time"

	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/report"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/tally"
)

// span is how long something took or takes, as one would say it: two units at most.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strings.Replace(fmt.Sprintf("%.1f s", d.Seconds()), ".0 ", " ", 1)
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// ago is how long before now something was.
func ago(t, now time.Time) string {
	if d := now.Sub(t); d >= time.Second {
		return span(d.Truncate(time.Second)) + " ago"
	}
	return "just now"
}

// in is how long after now something comes.
func in(t, now time.Time) string {
	if d := t.Sub(now); d >= time.Second {
		return "in " + span(d.Truncate(time.Second))
	}
	return "now"
}

// clock is a time of the day, with its date where that is not today's. All times of a page are in UTC.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	switch {
	case t.Year() != now.Year():
		return t.Format("2 Jan 2006 15:04")
	case t.YearDay() != now.YearDay():
		return t.Format("2 Jan 15:04")
	}
	return t.Format("15:04")
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return report.Number(n) + " " + many
}

// size is so many bytes.
func size(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.size), u.name)
		}
	}
	return plural(n, "byte", "bytes")
}

func documents(n int64) string { return plural(n, "document", "documents") }

// condition is what a job does, for people: a word, a sign that says the same without a colour, and how good it is.
type condition struct {
	Word, Sign string
	Tone       string // bad, odd, good or calm
	rank       int    // where it stands in the list: what needs somebody comes first
}

// conditionOf is a job's. last is its last run, nil where there was none.
func conditionOf(s *host.Status, last *runlog.Run) condition {
	c := condition{Word: string(s.State), Sign: "•", Tone: "calm", rank: 6}
	switch s.State {
	case host.Failed:
		c = condition{"failed", "✕", "bad", 0}
	case host.Invalid:
		c = condition{"file can't be used", "✕", "bad", 0}
	case host.Removed:
		c = condition{"file is gone", "✕", "bad", 0}
	case host.Retrying:
		c = condition{"failed, tries again", "↻", "odd", 2}
	case host.Running:
		c = condition{"running", "▶", "good", 4}
		if s.Live != nil && s.Live.Phase == following {
			c.Word = "following"
		}
	case host.Ending:
		c.Sign, c.rank = "◼", 4
		if s.Reason != "" {
			c = condition{"does not end", "!", "bad", 1}
		}
	case host.Waiting:
		c.Sign, c.rank = "◷", 5
		if s.Reason != "" {
			c.Tone = "odd"
		}
	case host.Done:
		c.Sign, c.Tone = "✓", "good"
	case host.Paused:
		c.Sign = "‖"
	case host.Stopped:
		c.Sign = "◼"
	}
	switch {
	case c.rank < 3:
	case s.Live != nil && s.Live.Stalled:
		c = condition{"stands still", "!", "bad", 1}
	case len(s.Problems) > 0:
		c.Sign, c.Tone, c.rank = "!", "odd", 3
	case s.Wish.Desired == host.WantRunning && s.Live == nil && last != nil && !good(last.Outcome):
		c.Sign, c.Tone, c.rank = "!", "odd", 3
	}
	return c
}

// good reports whether an outcome leaves nothing for somebody to do.
func good(o tally.Outcome) bool {
	return o == tally.Complete || o == tally.Interrupted || o == tally.Running || o == ""
}

// needs reports whether somebody should look at the job.
func (c condition) Needs() bool { return c.rank <= 3 }

// freshness says in one sentence how far an index is behind, and as of when it is known to be complete.
func freshness(s *host.Status, runs []runlog.Run, now time.Time) string {
	f := api.FreshnessOf(s.Live, runs)
	var parts []string
	if l := s.Live; l != nil {
		if l.Phase != following {
			parts = append(parts, under(l))
		}
		if b := behind(l, &f); b != "" {
			parts = append(parts, b)
		}
		if n := api.FailedSince(l, runs); n > 0 && l.Phase == following {
			parts = append(parts, plural(n, "change", "changes")+" could not be sent")
		}
		if f.OldestMissing != nil {
			parts = append(parts, "oldest missing "+span(now.Sub(*f.OldestMissing).Truncate(time.Second)))
		}
		if l.Paused {
			parts = append(parts, "changes wait")
		}
	} else if f.Behind != nil && *f.Behind > 0 {
		parts = append(parts, report.Number(*f.Behind)+" behind")
	}
	switch {
	case f.CompleteAt != nil:
		parts = append(parts, "complete at "+clock(*f.CompleteAt, now))
	case len(runs) == 0:
		parts = append(parts, "no run has ended yet")
	case len(runs) == 1:
		parts = append(parts, "its only run was not complete")
	default:
		parts = append(parts, "none of its last "+report.Number(int64(len(runs)))+" runs was complete")
	}
	return strings.Join(parts, ", ")
}

// following is the phase in which changes are followed.
const following = "following changes"

// under says how far the run under way came.
func under(l *runlog.Live) string {
	switch {
	case l.Expected != nil && *l.Expected > l.Counts.Scanned:
		return report.Number(*l.Expected-l.Counts.Scanned) + " of " + documents(*l.Expected) + " to look at"
	case l.Counts.Scanned > 0:
		return documents(l.Counts.Scanned) + " looked at"
	}
	return l.Phase
}

// behind says how much an index lacks that is known to; empty where nothing is known.
func behind(l *runlog.Live, f *api.Freshness) string {
	switch {
	case f.Behind == nil || l.Phase != following && *f.Behind == 0:
		return ""
	case *f.Behind == 0 && (f.Lag == nil || *f.Lag < 0.5):
		return "nothing behind"
	}
	out := report.Number(*f.Behind) + " behind"
	if f.Lag != nil && *f.Lag >= 0.5 {
		out += ", " + span(toSpan(*f.Lag).Truncate(time.Second)) + " late"
	}
	return out
}

// covered is how many of the documents that a run looked at the index had, or were sent and confirmed.
func covered(c *tally.Counts) int64 { return c.Present + c.Overtaken + c.Acked }

// coverage is the share of the documents of the last look at all of them that the index had, or that were sent and confirmed. Those
// that were deleted meanwhile are none. ok is false where it is not known.
func coverage(runs []runlog.Run) (share float64, run *runlog.Run, ok bool) {
	for i := range runs {
		r := &runs[i]
		if !r.Outcome.Finished() || !r.Looked() || r.Planned || len(r.Collections) > 0 {
			continue
		}
		if all := r.Total.Scanned - r.Total.Gone; all > 0 {
			return min(1, float64(covered(&r.Total))/float64(all)), r, true
		}
		return 1, r, true
	}
	return 0, nil, false
}

// outcomes say how a run ended: for people, as a sign, and as a tone.
var outcomes = map[tally.Outcome]struct{ Word, Sign, Tone string }{
	tally.Complete:    {"complete", "✓", "good"},
	tally.Failures:    {"some documents failed", "!", "odd"},
	tally.NotArrived:  {"not all arrived", "?", "odd"},
	tally.Stopped:     {"stopped by a guard", "S", "bad"},
	tally.Interrupted: {"interrupted", "–", "calm"},
	tally.Failed:      {"failed", "✕", "bad"},
}

// mark is a run in the strip of the last ones.
type mark struct{ Sign, Tone, Title string }

// strip are the last runs, the newest at the end, and what they say together.
func strip(runs []runlog.Run, now time.Time) (marks []mark, said string) {
	count := map[string]int64{}
	for i := range runs {
		r := &runs[len(runs)-1-i]
		o := outcomes[r.Outcome]
		if o.Sign == "" { // of a later version
			o.Word, o.Sign, o.Tone = string(r.Outcome), "•", "calm"
		}
		count[o.Word]++
		marks = append(marks, mark{o.Sign, o.Tone, fmt.Sprintf("%s, %s: %s", clock(r.Started, now), o.Word, did(r))})
	}
	if len(runs) == 0 {
		return nil, ""
	}
	var parts []string
	for _, o := range tally.Outcomes() {
		if n := count[outcomes[o].Word]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcomes[o].Word))
		}
	}
	last := runs[0]
	return marks, fmt.Sprintf("The last %s: %s. The newest, %s: %s", plural(int64(len(runs)), "run", "runs"), strings.Join(parts, ", "), clock(last.Started, now), outcomes[last.Outcome].Word)
}

// did says what a run did.
func did(r *runlog.Run) string {
	parts := []string{documents(r.Total.Scanned), plural(r.Total.Acked, "event", "events") + " sent"}
	if r.Deleted.Acked > 0 {
		parts = append(parts, plural(r.Deleted.Acked, "delete", "deletes")+" sent")
	}
	if n := r.Total.Failed() + r.Deleted.Failed(); n > 0 {
		parts = append(parts, report.Number(n)+" failed")
	}
	return strings.Join(parts, ", ") + ", in " + span(r.Ended.Sub(r.Started))
}
