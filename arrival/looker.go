package arrival

import (
	"context"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/verdict"
)

// looker asks about segments, one at a time. Its slices are reused.
type looker struct {
	checker syncd.Checker
	asker   *verdict.Asker
	arrived []bool // of the events of the segment last asked about

	plain    []int   // events about whose points only presence matters
	judged   [][]int // events of each rule that looks at more
	points   []syncd.Point
	verdicts []syncd.Verdict
	changes  []syncd.Change
	fields   []syncd.Value // of changes
}

func newLooker(checker syncd.Checker) *looker {
	return &looker{checker: checker, asker: verdict.New(checker)}
}

// look finds out which events of a segment have arrived.
func (l *looker) look(ctx context.Context, s *segment, rules []*mapping.Rule) error {
	l.arrived = resize(l.arrived, len(s.points))
	clear(l.arrived)
	l.plain, l.judged = l.plain[:0], resize(l.judged, len(rules))
	for i := range l.judged {
		l.judged[i] = l.judged[i][:0]
	}
	for i := range s.points {
		if at := &s.places[i]; len(rules[at.rule].PayloadKeys()) > 0 && !at.deleted {
			l.judged[at.rule] = append(l.judged[at.rule], i)
		} else {
			l.plain = append(l.plain, i)
		}
	}
	if err := l.present(ctx, s); err != nil {
		return err
	}
	for r, events := range l.judged {
		if len(events) == 0 {
			continue
		}
		if err := l.judge(ctx, s, rules[r], events); err != nil {
			return err
		}
	}
	return nil
}

// present asks about the plain events: whether their points are there, or gone where they were deleted.
func (l *looker) present(ctx context.Context, s *segment) error {
	if len(l.plain) == 0 {
		return nil
	}
	points := s.points
	if len(l.plain) < len(points) {
		l.points = l.points[:0]
		for _, i := range l.plain {
			l.points = append(l.points, s.points[i])
		}
		points = l.points
	}
	l.verdicts = resize(l.verdicts, len(points))
	clear(l.verdicts)
	if err := l.checker.Check(ctx, points, l.verdicts); err != nil {
		return err
	}
	for k, i := range l.plain {
		want := syncd.Present
		if s.places[i].deleted {
			want = syncd.Missing
		}
		l.arrived[i] = l.verdicts[k] == want
	}
	return nil
}

// judge asks about events whose rule looks at what points carry. Their changes are made again from what is remembered: the
// id, and the version as if every field held it. That is enough for the ids of chunks unless a seed has fields; of such a
// rule the chunks are not looked at.
func (l *looker) judge(ctx context.Context, s *segment, rule *mapping.Rule, events []int) error {
	l.changes = l.changes[:0]
	width := len(rule.Fields())
	l.fields = resize(l.fields, len(events)*width)
	for k, i := range events {
		id, version := s.text(i)
		own := l.fields[k*width : (k+1)*width]
		for f := range own {
			own[f] = version
		}
		l.changes = append(l.changes, syncd.Change{ID: id, PointID: s.points[i].ID, Fields: own})
	}
	ask := l.asker.Ask
	if rule.SeedFields() > 0 {
		ask = l.asker.AskFirst
	}
	if err := ask(ctx, rule, l.changes); err != nil {
		return err
	}
	for k, i := range events {
		c := &l.changes[k]
		// The document may have changed between its reading and its sending, or since: then the index holds a later version.
		later := c.Verdict == syncd.Stale && mapping.Later(l.asker.Found(k).Payload[0], rule.DocumentVersion(c))
		l.arrived[i] = c.Verdict == syncd.Present || later
	}
	return nil
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
