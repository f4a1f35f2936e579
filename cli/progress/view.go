package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// view is a run at a moment, with how fast it goes.
type view struct {
	job.Snapshot
	rates map[string]float64 // documents per second, by collection; "" is the total
}

// find is the progress of a collection; "" is all of them together.
func (v *view) find(name string) engine.CollectionProgress {
	if name == "" {
		total, known := v.expected()
		if !known {
			total = -1
		}
		return engine.CollectionProgress{Before: total, Counts: v.Total, Started: true}
	}
	i := slices.IndexFunc(v.Collections, func(c engine.CollectionProgress) bool { return c.Name == name })
	if i < 0 {
		return engine.CollectionProgress{Before: -1}
	}
	return v.Collections[i]
}

// expected is how many documents there are in all, and whether every collection has said so.
func (v *view) expected() (n int64, known bool) {
	known = true
	for _, c := range v.Collections {
		switch {
		case c.Done:
			n += c.Counts.Scanned
		case c.Before < 0:
			known = false
		default:
			n += max(c.Before, c.Counts.Scanned)
		}
	}
	return n, known && len(v.Collections) > 0
}

func (v *view) sent(name string) int64 { return v.find(name).Counts.Acked }

// share is how much of it is done, in percent.
func (v *view) share(name string) string {
	c := v.find(name)
	if c.Before <= 0 {
		return "  - "
	}
	return fmt.Sprintf("%3.0f%%", 100*min(1, float64(c.Counts.Scanned)/float64(c.Before)))
}

func (v *view) doneOf(name string) string {
	c := v.find(name)
	if c.Before < 0 {
		return short(float64(c.Counts.Scanned))
	}
	return short(float64(c.Counts.Scanned)) + "/" + short(float64(c.Before))
}

// eta is how long it will take at the present rate.
func (v *view) eta(name string) string {
	c := v.find(name)
	rate := v.rates[name]
	if v.Phase > job.PhaseRead && name == "" {
		return v.Phase.String()
	}
	if c.Before < 0 || rate <= 0 {
		return "ETA -"
	}
	left := time.Duration(float64(max(0, c.Before-c.Counts.Scanned)) / rate * float64(time.Second))
	return "ETA " + brief(left)
}

// embedded is how much was embedded by now, and what it cost; empty where nothing was.
func (v *view) embedded() string {
	e := v.Embedded
	if e == nil || e.Texts == 0 {
		return ""
	}
	out := text.Short(e.Tokens) + " tokens"
	if e.Cost > 0 {
		out += " (" + text.Cost(e.Cost) + ")"
	}
	return out
}

// workers says what readers and workers are at.
func (v *view) workers() string {
	var parts []string
	for s := engine.StageScan; s < engine.StageCount; s++ {
		if s == engine.StageTransform && v.Working[s] == 0 {
			continue // most jobs have no stages
		}
		parts = append(parts, fmt.Sprintf("%s %d", s, v.Working[s]))
	}
	out := strings.Join(parts, " ")
	if v.Stalled {
		out += " STALLED"
	}
	return out
}

// silence is for how long a stream may be silent: one that has nothing says so about every second, and a server that is asked
// takes its time.
const silence = 15 * time.Second

// following is how the streams stand, on one line. Of several the one that is furthest behind counts.
func (v *view) following() string {
	var n tally.Counts
	var lag, silent, stuck time.Duration
	waiting, known, idle := 0, false, true
	for _, s := range v.Streams {
		n.Add(s.Counts)
		waiting += s.Waiting
		idle = idle && s.Current
		if behind, ok := v.Lag(s); ok {
			lag, known = max(lag, behind), true
		}
		// What waits for the sink keeps more from being read.
		if quiet := time.Since(s.Heard); s.Waiting > 0 {
			stuck = max(stuck, min(quiet, time.Since(v.LastMove)))
		} else {
			silent = max(silent, quiet)
		}
	}
	line := []string{"following: " + short(v.rates[followedRate]) + "/s"}
	switch {
	case silent >= silence:
		line = append(line, "nothing heard from the source for "+brief(silent))
	case stuck >= silence:
		line = append(line, "nothing confirmed for "+brief(stuck))
	case idle:
		line[0] = "following: idle"
	case known:
		line = append(line, behindText(lag)+" behind")
	}
	line = append(line, text.Plural(n.Scanned, "change", "changes")+" read", fmt.Sprintf("%d sent", n.Acked))
	for _, other := range []struct {
		n    int64
		what string
	}{
		{n.Unwatched, "not watched"}, {n.Unmatched, "not selected"}, {v.Merged, "merged"}, {n.Gone, "deleted since"}, {n.Failed(), "failed"}, {int64(waiting), "under way"},
	} {
		if other.n > 0 {
			line = append(line, fmt.Sprintf("%d %s", other.n, other.what))
		}
	}
	if e := v.embedded(); e != "" {
		line = append(line, e+" embedded")
	}
	return strings.Join(line, ", ")
}

// behindText writes how far a stream is behind, of which tenths of a second are of interest.
func behindText(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= 10*time.Minute && d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return brief(d)
}

// line is the run on one line.
func (v *view) line() string {
	if v.Phase == job.PhaseFollow {
		return v.following()
	}
	done := 0
	for _, c := range v.Collections {
		if c.Done {
			done++
		}
	}
	line := fmt.Sprintf("%s of documents (%s), %s/s, %d sent", strings.TrimSpace(v.share("")), v.doneOf(""), short(v.rates[""]), v.Total.Acked)
	if n := v.Total.Failed(); n > 0 {
		line += fmt.Sprintf(", %d failed", n)
	}
	if e := v.embedded(); e != "" {
		line += ", " + e + " embedded"
	}
	return fmt.Sprintf("%s, %d of %s done, %s", line, done, text.Plural(len(v.Collections), "collection", "collections"), v.eta(""))
}

// whole is the run on several lines, for whoever asks.
func (v *view) whole() string {
	var b strings.Builder
	text.Fprintf(&b, "run %s after %s: %s\n", v.RunID, brief(v.Elapsed), v.line())
	for _, f := range v.Followed {
		text.Fprintf(&b, "  %-20s %d inserts, %d updates, %d replaces, %d deletes read\n", f.Collection, f.Inserts, f.Updates, f.Replaces, f.Deletes)
	}
	for _, c := range v.Collections {
		if !c.Started {
			continue
		}
		state := fmt.Sprintf("%s, %s/s, %s", strings.TrimSpace(v.share(c.Name)), short(v.rates[c.Name]), v.eta(c.Name))
		if c.Done {
			state = "done in " + brief(c.Took)
		}
		text.Fprintf(&b, "  %-20s %s documents, %d present, %d sent, %d failed, %d of %d splits, %s\n", c.Name, v.doneOf(c.Name),
			c.Counts.Present, c.Counts.Acked, c.Counts.Failed(), c.SplitsDone, c.Splits, state)
	}
	text.Fprintf(&b, "  working: %s; %s waiting; nothing has moved for %s\n", v.workers(), text.Plural(v.Waiting, "batch", "batches"), brief(time.Since(v.LastMove)))
	return b.String()
}

// short writes a number in at most five characters.
func short(n float64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%.0f", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.0fk", n/1e3)
	case n < 100_000_000:
		return fmt.Sprintf("%.1fM", n/1e6)
	}
	return fmt.Sprintf("%.0fM", n/1e6)
}

// brief writes a duration with as much as a person wants to know.
func brief(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()+0.5))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
