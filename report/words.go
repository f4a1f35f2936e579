package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/tally"
)

// verdict is the outcome in a sentence.
func (r *Report) verdict() string {
	t := &r.Totals
	if len(r.Collections) == 0 && r.Outcome != tally.Interrupted {
		return r.notBegun()
	}
	checked := Number(t.Documents) + " of " + documents(t.Expected) + " checked"
	if t.Expected < 0 || t.Documents >= t.Expected {
		checked = documents(t.Documents) + " checked"
	}
	switch r.Outcome {
	case tally.Complete:
		if r.DryRun {
			return fmt.Sprintf("Dry run: %s, nothing sent; a run would send %s", checked, events(t.WouldSend))
		}
		return fmt.Sprintf("Complete: %s, %s", checked, r.delivery())
	case tally.Failures:
		return fmt.Sprintf("Finished, but %s: %s, %s", t.failures(), checked, r.delivery())
	case tally.NotArrived:
		if r.Arrivals == nil || !r.Arrivals.Known {
			return fmt.Sprintf("Sent, but it is not known whether all arrived: %s, %s", checked, r.delivery())
		}
		return fmt.Sprintf("Sent, but not all arrived: %s, %s, %s in the index", checked, r.delivery(), Number(r.Arrivals.Arrived))
	case tally.Interrupted:
		return fmt.Sprintf("Interrupted: %s, %s; run it again to do the rest", checked, r.delivery())
	case tally.Stopped:
		return fmt.Sprintf("Stopped by a guard: %s, %s", checked, r.delivery())
	}
	return fmt.Sprintf("Failed: %s, %s", checked, r.delivery())
}

// failures says what a run that came to its end could not do.
func (t *Counts) failures() string {
	var out []string
	if t.Failed > 0 || t.Collisions == 0 {
		out = append(out, documents(t.Failed)+" could not be sent")
	}
	if t.Collisions > 0 {
		have := "have"
		if t.Collisions == 1 {
			have = "has"
		}
		out = append(out, documents(t.Collisions)+" "+have+" the point id of another document")
	}
	return strings.Join(out, ", and ")
}

// notBegun is the verdict of a run that did not come to read anything.
func (r *Report) notBegun() string {
	switch {
	case len(r.Streams) == 0:
	case r.Outcome == tally.Complete:
		return "Complete: changes were followed; all documents had been looked at by an earlier process"
	default:
		return "Failed while changes were followed"
	}
	switch r.Outcome {
	case tally.Complete:
		return "Complete: there was nothing to do"
	case tally.Stopped:
		return "Stopped by a guard before anything was read"
	default:
		return "Failed before anything was read"
	}
}

// delivery says what became of what had to be sent.
func (r *Report) delivery() string {
	t := &r.Totals
	deletes, failed := int64(0), int64(0)
	for _, o := range r.Orphans {
		deletes += o.Deleted
		failed += o.Failed
	}
	refused := int64(0) // of documents
	for i := range r.Collections {
		refused += r.Collections[i].FailedWrite
	}
	var out string
	switch {
	case r.DryRun:
		return "nothing sent"
	case t.Sent == 0 && failed > 0:
		out = fmt.Sprintf("%s confirmed, %s failed", plural(deletes, "delete", "deletes"), Number(failed))
	case t.Sent == 0 && deletes > 0:
		out = plural(deletes, "delete", "deletes") + " sent, all confirmed"
	case t.Sent == 0:
		out = "nothing sent"
	case t.Sent == t.Acked && refused > 0:
		out = Number(t.Sent) + " sent and confirmed"
	case t.Sent == t.Acked:
		out = Number(t.Sent) + " sent, all confirmed"
	default:
		out = fmt.Sprintf("%s sent, %s confirmed", Number(t.Sent), Number(t.Acked))
		if t.Unconfirmed > 0 {
			out += ", " + Number(t.Unconfirmed) + " perhaps arrived"
		}
	}
	if refused > 0 {
		out += ", " + Number(refused) + " refused"
	}
	if t.Sent == 0 { // which says what became of deletes
		return out
	}
	if deletes > 0 || failed > 0 {
		out += ", " + plural(deletes, "delete", "deletes") + " confirmed"
	}
	if failed > 0 {
		out += ", " + plural(failed, "delete", "deletes") + " failed"
	}
	return out
}

func documents(n int64) string { return plural(n, "document", "documents") }
func events(n int64) string    { return plural(n, "event", "events") }

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + many
}

// Number writes a number with commas between thousands.
func Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// Percent writes a share with one decimal. Only all is 100%, and only nothing is 0%.
func Percent(share float64) string {
	tenths := share * 1000
	switch {
	case share <= 0:
		return "0%"
	case share >= 1:
		return "100%"
	case tenths < 1:
		return "<0.1%"
	}
	return trimZero(math.Floor(tenths+1e-9)/10) + "%"
}

// percentOf writes a coverage, which may not be known.
func percentOf(share *float64) string {
	if share == nil {
		return "-"
	}
	return Percent(*share)
}

func trimZero(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x, 'f', 1, 64), ".0")
}

// Span writes a number of seconds as a person would.
func Span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d <= 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return trimZero(math.Floor(seconds*10+1e-9)/10) + "s"
	}
	d = d.Round(time.Second)
	h, m, s := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
	switch {
	case h > 0:
		return fmt.Sprintf("%dh%02dm", h, m)
	default:
		return fmt.Sprintf("%dm%02ds", m, s)
	}
}

// rate writes so many a second: whole where that is enough.
func rate(perSecond float64) string {
	if perSecond > 0 && perSecond < 10 {
		return trimZero(math.Round(perSecond*10) / 10)
	}
	return Number(int64(math.Round(perSecond)))
}

// size writes bytes.
func size(bytes int64) string {
	x, unit := float64(bytes), 0
	for ; x >= 1000 && unit < 4; unit++ {
		x /= 1000
	}
	if unit == 0 {
		return plural(bytes, "byte", "bytes")
	}
	return trimZero(math.Round(x*10)/10) + [...]string{"", " kB", " MB", " GB", " TB"}[unit]
}

// mode says in words what kind of run it was.
func (r *Report) mode() string {
	out := r.Mode
	switch {
	case r.Plan:
		out = "of a plan"
	case !r.Asked && r.Mode == "incremental" && len(r.Collections) > 0:
		out = "full, since the index could not be asked"
	}
	if r.DryRun {
		out += ", dry run"
	}
	return out
}
