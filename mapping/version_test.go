package mapping

import (
	"testing"

	"github.com/syncd-io/syncd"
)

func TestStale(t *testing.T) {
	const none = "\x00"
	value := func(s string) syncd.Value { return syncd.Value{Text: s, Set: s != none} }
	for _, c := range []struct {
		document, held string
		differs, newer bool
	}{
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010Z", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010000+00:00", false, false}, // Python's isoformat
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010000", false, false},       // … without a zone
		{"2024-05-06T07:08:09.010Z", "2024-05-06T09:08:09.010+02:00", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06 07:08:09.010", false, false},
		{"2024-05-06T07:08:09.000Z", "2024-05-06T07:08:09Z", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010999Z", false, false}, // BSON keeps milliseconds
		{"2024-05-06T07:08:09.010Z", "1714979289010", false, false},
		{"2024-05-06T07:08:09.010Z", `{"$date":"2024-05-06T07:08:09.010Z"}`, false, false},
		{"2024-05-06T07:08:09.010Z", `{"$date":{"$numberLong":"1714979289010"}}`, false, false},
		{"2024-05-06T00:00:00.000Z", "2024-05-06", false, false},
		{"2024-05-06T07:08:09.011Z", "2024-05-06T07:08:09.010Z", true, true},
		{"2024-05-06T07:08:09.009Z", "2024-05-06T07:08:09.010Z", true, false},
		{none, "2024-05-06", false, false},
		{none, none, false, false},
		{"2024-05-06", none, true, true},
		{"10", "9", true, true},
		{"9", "10", true, false},
		{"b", "a", true, true},
		{"a", "b", true, false},
		{"v1", "2024-05-06", true, true},
		{"9007199254740993", "9007199254740992", true, false},
	} {
		if got := Differs.stale(value(c.document), value(c.held)); got != c.differs {
			t.Errorf("%q against %q differs: %v", c.document, c.held, got)
		}
		if got := Newer.stale(value(c.document), value(c.held)); got != c.newer {
			t.Errorf("%q against %q newer: %v", c.document, c.held, got)
		}
	}
}

func TestLater(t *testing.T) {
	const none = "\x00"
	value := func(s string) syncd.Value { return syncd.Value{Text: s, Set: s != none} }
	for _, c := range []struct {
		a, b  string
		later bool
	}{
		{"2024-05-07", "2024-05-06T07:08:09.010Z", true},
		{"2024-05-06", "2024-05-06T07:08:09.010Z", false},
		{"2024-05-06T07:08:09.010Z", "1714979289010", false}, // the same instant
		{"10", "9", true},
		{"9", "10", false},
		{"NaN", "9", false},
		{"9", "NaN", false},
		{"b", "a", false}, // no order
		{none, "1", false},
		{"1", none, false},
	} {
		if got := Later(value(c.a), value(c.b)); got != c.later {
			t.Errorf("%q later than %q: %v", c.a, c.b, got)
		}
	}
}

func FuzzStale(f *testing.F) {
	f.Add("2024-05-06T07:08:09.010Z", `{"$date":{"$numberLong":"1"}}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		va, vb := syncd.Value{Text: a, Set: true}, syncd.Value{Text: b, Set: true}
		if Differs.stale(va, vb) != Differs.stale(vb, va) {
			t.Errorf("differing is not symmetric for %q and %q", a, b)
		}
		if Newer.stale(va, vb) && !Differs.stale(va, vb) {
			t.Errorf("%q is newer than %q but does not differ", a, b)
		}
		if Differs.stale(va, va) {
			t.Errorf("%q differs from itself", a)
		}
	})
}
