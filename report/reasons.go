package report

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/tally"
)

const (
	maxReasons  = 100 // different ones; all that come later are one
	maxExamples = 3   // of each
	maxText     = 500 // bytes of a reason
	minID       = 4   // a shorter id may be part of any word
)

// otherReasons stands for those that there was no room for, and earlierReasons for those of the run that was resumed.
const (
	otherReasons   = "other reasons"
	earlierReasons = "failed before the interruption; the summary of that run names them"
)

// particular matches what differs between two errors with one reason: quoted text, ids, numbers. It is compiled at the first error.
var particular = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\b[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}\b|\b[0-9a-fA-F]{24,}\b|\b[0-9]+(?:[.,:][0-9]+)*[a-zA-Z]{0,2}\b`)
})

// reasonOf is what errors have in common that differ only in the documents they are about.
func reasonOf(f tally.Failure) string {
	reason := spec.ScrubURLs(f.Reason)
	reason = reason[:min(len(reason), 4*maxText)] // more is not looked at
	if len(f.ID) >= minID {
		reason = strings.ReplaceAll(reason, f.ID, "…")
	}
	if reason = particular().ReplaceAllString(reason, "…"); len(reason) > maxText {
		reason = strings.ToValidUTF8(reason[:maxText], "") + "…" // without its length, which differs
	}
	return text.Line(reason)
}

// reasons counts failures by stage and reason.
type reasons struct{ groups []Error }

func (r *reasons) add(collection string, f tally.Failure) {
	reason := reasonOf(f)
	g := r.group(f.Stage, reason)
	if g == nil && len(r.groups) >= maxReasons {
		reason = otherReasons
		g = r.group(f.Stage, reason)
	}
	if g == nil {
		r.groups = append(r.groups, Error{Stage: f.Stage, Reason: reason})
		g = &r.groups[len(r.groups)-1]
	}
	g.Count++
	if len(g.Examples) < maxExamples {
		g.Examples = append(g.Examples, Example{Collection: collection, ID: f.ID, NoID: f.NoID, Reason: text.Line(spec.ScrubURLs(f.Reason))})
	}
}

func (r *reasons) group(stage, reason string) *Error {
	for i := range r.groups {
		if g := &r.groups[i]; g.Stage == stage && g.Reason == reason {
			return g
		}
	}
	return nil
}

// list gives the groups, the largest first. failed is how many there are in all: those that were not seen were an earlier
// run's.
func (r *reasons) list(failed int64) []Error {
	out := slices.Clone(r.groups)
	for _, g := range out {
		failed -= g.Count
	}
	slices.SortStableFunc(out, func(a, b Error) int { return cmp.Compare(b.Count, a.Count) })
	if failed > 0 {
		out = append(out, Error{Reason: earlierReasons, Count: failed})
	}
	return out
}
