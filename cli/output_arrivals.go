package cli

import (
	"fmt"
	"time"

	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/sendlog"
)

// lag says what the consumers have not read yet, before anything else of a run.
func (p *printer) lag(l arrival.Lag, end bool) {
	switch {
	case !end:
		passed := ""
		if l.Waited > 0 {
			passed = " after " + round(l.Waited).String()
		}
		p.printf("Waiting for consumer group %s: %s to read%s\n", l.Group, events(l.Unread), passed)
	case l.Waited > 0:
		p.printf("Consumer group %s has read everything after %s\n", l.Group, round(l.Waited))
	default:
		p.printf("Consumer group %s has %s to read", l.Group, events(l.Unread))
		if l.Unread > 0 {
			p.printf("; until then their documents look as if they were missing")
		}
		if l.Unread > 0 && !l.Known {
			p.printf("; it has confirmed none, so it may be another group's name")
		}
		p.printf("\n")
	}
}

// arriving says how far the index has come with what was sent.
func (p *printer) arriving(a arrival.Arrivals) {
	rate := fmt.Sprintf("%.0f/s", a.PerSecond)
	if a.PerSecond < 10 {
		rate = fmt.Sprintf("%.1f/s", a.PerSecond)
	}
	after := ""
	if !a.Sending {
		after = " after " + round(a.Waited).String()
	}
	if a.Missing() == 0 && !a.Sending {
		p.printf("\n%s shows all %s sent%s (%s)\n", p.index, events(a.Sent), after, rate)
		return
	}
	p.printf("\n%s shows %d of %s sent%s (%s)\n", p.index, a.Arrived, events(a.Sent), after, rate)
}

// notArrived lists what was sent and never appeared. a is nil of a run that did not wait.
func (p *printer) notArrived(a *arrival.Arrivals) {
	if a == nil || len(a.Open) == 0 {
		return
	}
	if a.Known {
		p.printf("\nSent, but not in %s:\n", p.index)
	} else {
		p.printf("\nSent, but not known to be in %s:\n", p.index)
	}
	for _, n := range a.Open {
		p.printf("  %s %s: ", n.Rule.Collection.Name, text.Of(n.ID))
		if n.Deleted {
			p.printf("deleted, but still there; ")
		}
		switch {
		case n.Placement.Known:
			p.printf("topic %s, partition %d, offset %d, ", n.Place, n.Placement.Partition, n.Placement.Offset)
		case n.Place != "":
			p.printf("sent to %s, ", n.Place)
		}
		p.printf("point id %s\n", n.PointID)
	}
	if more := a.Missing() - int64(len(a.Open)); more > 0 {
		p.printf("  … and %d more\n", more)
	}
}

// unindexed prints which documents were left alone.
func (p *printer) unindexed(r job.Report, left []sendlog.Left) {
	n := r.Total.Unindexed + r.Deleted.Unindexed
	if n == 0 {
		return
	}
	p.printf("\nLeft alone, since %s never showed them (--retry-unindexed sends them again): %s\n", p.index, text.Plural(n, "document", "documents"))
	for _, l := range left {
		what := "sent"
		if l.Deleted {
			what = "delete sent"
		}
		p.printf("  %s %s: %s %s, last on %s\n", l.Rule.Collection.Name, text.Of(l.ID), what, text.Plural(l.Attempts, "time", "times"),
			l.Last.UTC().Format(time.DateTime))
	}
	if more := n - int64(len(left)); more > 0 && len(left) > 0 {
		p.printf("  … and %d more\n", more)
	}
}
