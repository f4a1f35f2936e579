package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/verdict"
)

const (
	versionLook   = 200  // documents of a collection whose versions are compared before a run
	leastVersions = 20   // of them that must be in the index, with a version, for "almost all differ" to mean anything
	almostAll     = 0.95 // of the versions compared
)

// VersionDriftError says that the versions of the index are not those of the documents, whatever they are: almost all differ,
// and by their form. Every document would be sent, now and in every later run.
type VersionDriftError struct {
	Collection   string
	Payload      string // the payload key that holds the index's version
	ID           string // of one of the documents
	Document     string // its version
	DocumentForm string // what that looks like
	Held         string // the index's version of it
	HeldForm     string
	Shifted      bool // they look alike, and differ by as much as time zones do
	Looked       int  // documents compared
	Unlike       int  // of them
}

func (e *VersionDriftError) Error() string {
	document, held := fmt.Sprintf("%.100q", e.Document), fmt.Sprintf("%.100q", e.Held)
	if e.Shifted {
		held += " (another time zone, by the difference)"
	} else {
		document, held = e.DocumentForm+", "+document, e.HeldForm+", "+held
	}
	return fmt.Sprintf("the versions have drifted: for document %s of collection %s the source has %s, but the index has under %s %s (%d documents compared, %d differ like this and would be sent by every run)",
		text.Of(e.ID), e.Collection, document, e.Payload, held, e.Looked, e.Unlike)
}

// lookAtVersions compares the versions of a collection's first documents with the index's. That they are old is work; that they
// are something else is drift. It is no drift where the index holds other points whose versions look like the documents': then
// the indexer writes another form by now, and the old points are to be replaced. sample is some of the content type's points, with
// their versions behind the other keys.
func (p Preflight) lookAtVersions(ctx context.Context, rule *mapping.Rule, sample []syncd.Listed) error {
	if p.AllowDrift || rule.VersionKey() == "" || p.Checker.Abilities().Read == nil {
		return nil
	}
	changes, err := p.firstChanges(ctx, rule, versionLook)
	if err != nil {
		return err
	}
	var buf []byte
	known := changes[:0]
	for _, c := range changes {
		if c.PointID, err = rule.PointID(&buf, &c, 0); err == nil && rule.DocumentVersion(&c).Set {
			known = append(known, c)
		}
	}
	if len(known) < leastVersions {
		return nil
	}
	asker := verdict.New(p.Checker)
	if err := asker.AskFirst(ctx, rule, known); err != nil {
		return fmt.Errorf("comparing the versions of the first documents of collection %s: %w", rule.Collection.Name, err)
	}
	var unlike, shifted tallied
	shifts, times := map[time.Duration]int{}, map[string]bool{}
	compared := 0
	for i := range known {
		found, document := asker.Found(i), rule.DocumentVersion(&known[i])
		if !found.Present || len(found.Payload) == 0 || !found.Payload[0].Set {
			continue
		}
		held := found.Payload[0]
		compared++
		if shift, ok := mapping.Shift(document, held); ok {
			shifts[shift]++
			times[document.Text] = true
			shifted.add(known[i].ID, document, held)
		} else if mapping.Unlike(document, held) {
			unlike.add(known[i].ID, document, held)
		}
	}
	if compared < leastVersions {
		return nil
	}
	drift := VersionDriftError{Collection: rule.Collection.Name, Payload: rule.VersionKey(), Looked: compared}
	least := int(almostAll * float64(compared))
	switch n := twoLargest(shifts); {
	case n >= least && len(times) >= leastVersions/2: // one change of all documents, an hour later, is no zone
		drift.Shifted = true
		shifted.n = n
		shifted.tell(&drift)
	case unlike.n >= least && !holdsForm(sample, mapping.FormOf(unlike.document)):
		unlike.tell(&drift)
	default:
		return nil
	}
	return &drift
}

// tallied counts versions, and keeps the first of them.
type tallied struct {
	n              int
	id             string
	document, held syncd.Value
}

func (t *tallied) add(id string, document, held syncd.Value) {
	if t.n++; t.n == 1 {
		t.id, t.document, t.held = id, document, held
	}
}

func (t *tallied) tell(e *VersionDriftError) {
	e.ID, e.Document, e.Held, e.Unlike = t.id, t.document.Text, t.held.Text, t.n
	e.DocumentForm, e.HeldForm = mapping.FormOf(t.document), mapping.FormOf(t.held)
}

// twoLargest sums up the two shifts that are most common: a zone has a winter and a summer time.
func twoLargest(shifts map[time.Duration]int) int {
	first, second := 0, 0
	for _, n := range shifts {
		switch {
		case n > first:
			first, second = n, first
		case n > second:
			second = n
		}
	}
	return first + second
}

// holdsForm reports whether some point's version looks like that.
func holdsForm(sample []syncd.Listed, form string) bool {
	for _, l := range sample {
		if v := l.Payload[len(l.Payload)-1]; v.Set && mapping.FormOf(v) == form {
			return true
		}
	}
	return false
}
