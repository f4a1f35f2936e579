package mapping

import (
	"testing"
	"time"

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
		{"9007199254740993", "9007199254740992", true, true},

		// Seconds since 1970, as a number and as text, against a date and against another unit.
		{"2024-05-06T07:08:09.000Z", "1714979289", false, false},
		{"2024-05-06T07:08:09.999Z", "1714979289", false, false}, // the index keeps no fraction
		{"2024-05-06T07:08:10.000Z", "1714979289", true, true},
		{"2024-05-06T07:08:08.999Z", "1714979289", true, false},
		{"2024-05-06T07:08:09.010Z", "1714979289.01", false, false},
		{"2024-05-06T07:08:09.010Z", "1714979289.0099999", false, false}, // what floating point makes of it
		{"2024-05-06T07:08:09.010Z", "1714979289.0099997", false, false},
		{"2024-05-06T07:08:09.010Z", "1714979289.010999", false, false},
		{"2024-05-06T07:08:09.010Z", "1714979289.011", true, false},
		{"2024-05-06T07:08:09.010Z", "1.71497928901E9", false, false},
		{"2024-05-06T07:08:09.010Z", "1714979289010.0", false, false},
		{"2024-05-06T07:08:09.010Z", "1714979289010999", false, false},    // microseconds
		{"2024-05-06T07:08:09.010Z", "1714979289010999999", false, false}, // nanoseconds
		{"2024-05-06T07:08:09.010Z", "1714979289011000", true, false},
		{"1714979289", "1714979289010", false, false},
		{"1714979289010", "1714979289", false, false},
		{"1714979289010", "1714979289010000", false, false},
		{"1714979289010", "1714979290", true, false},
		{"1714979289010", "2024-05-06T07:08:09.010Z", false, false},
		{"9999-12-31T23:59:59.999Z", "253402300799999", false, false},
		{"1970-01-01T00:00:00.000Z", "0", false, false},
		{"1970-02-01T00:00:00.000Z", "2678400", false, false},

		// Any fraction, and none.
		{"2024-05-06T07:08:09.100Z", "2024-05-06T07:08:09.1Z", false, false},
		{"2024-05-06T07:08:09.100Z", "2024-05-06T07:08:09,100Z", false, false},
		{"2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.123456789+00:00", false, false},
		{"2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.12345678901234Z", false, false},
		{"2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09Z", false, false},
		{"2024-05-06T07:08:09.123Z", "2024-05-06 07:08:09", false, false},
		{"2024-05-06T07:08:09.123Z", "2024-05-06T07:08:09.1Z", true, true}, // it keeps fractions
		{"2024-05-06T07:08:09.123Z", "2024-05-06T07:08:10Z", true, false},
		{"2024-05-06T07:08:09.123Z", `{"$date":"2024-05-06T07:08:09Z"}`, false, false},

		// Zones.
		{"2024-05-06T07:08:09.010Z", "2024-05-06 07:08:09.010+00", false, false}, // PostgreSQL
		{"2024-05-06T07:08:09.010Z", "2024-05-06T02:38:09.010-0430", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06 07:08:09.010 +00:00", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06t07:08:09.010z", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06 07:08:09.01 +0000 UTC", false, false}, // Go's String
		{"2024-05-06T07:08:09.010Z", "2024-05-06 09:08:09.01 +0200 CEST", false, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06 07:08:09 UTC", false, false}, // Ruby
		{"2024-05-06T07:08:00.000Z", "2024-05-06T07:08Z", false, false},
		{"2024-05-06T23:30:00.000Z", "2024-05-07T00:30:00+01:00", false, false},

		// What is no date.
		{"2024-05-06T07:08:09.010Z", "2024-13-06T07:08:09.010Z", true, false},
		{"2023-02-28T00:00:00.000Z", "2023-02-29", true, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.Z", true, false},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010ZZ", true, false},
		{"2024-05-06T07:08:09.010Z", "17", true, true}, // a revision

		// Numbers, exact.
		{"1.5", "1.50", false, false},
		{"1000", "1E+3", false, false},
		{"0", "-0.00", false, false},
		{"0.1", "1e-1", false, false},
		{"-2", "-10", true, true},
		{"1234567890123456789012345678901235", "1234567890123456789012345678901234", true, true},
		{"0.00000000000000000001", "0.00000000000000000002", true, false},
		{"99999999", "100000000", true, false},                                                // a counter on its way into what could be seconds
		{"9999999999", "10000000000", true, false},                                            // … and out of it
		{"0e462097431906509019562988736854", "0e830400451993494058024219903391", true, false}, // hashes
		{"0e462097", "0e830400", true, false},
		{".", "0", true, false},
		{"", "0", true, false},

		// The forms of events.
		{`{"$numberLong":"5"}`, "5", false, false},
		{"5", `{"$numberInt":"6"}`, true, false},
		{"659c68d3f5446a0648000008", `{"$oid": "659c68d3f5446a0648000008"}`, false, false},
		{"a1b2c3d4-e5f6-7890-abcd-ef1234567890", "obLD1OX2eJCrze8SNFZ4kA==", false, false},
		{"a1b2c3d4-e5f6-7890-abcd-ef1234567891", "obLD1OX2eJCrze8SNFZ4kA==", true, false},
		{`{"b":{"$numberInt":"1"},"a":{"$numberInt":"2"}}`, `{"a":2,"b":1}`, false, false},
		{`{"b":{"$numberInt":"1"},"a":{"$numberInt":"2"}}`, `{"a":2,"b":1,"c":null}`, true, true},
		{`{"$symbol":"a"}`, "b", true, true},
		{`{`, `{ `, true, false},
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
	f.Add("1714979289", "1714979289010")
	f.Add("1.50", "1.5e0")
	f.Add(`{"a":[1,{"$binary":"","$type":"04"}]}`, `{"a":null}`)
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

func TestInstant(t *testing.T) {
	for text, want := range map[string]string{
		"2024-05-06T07:08:09.010Z":      "2024-05-06T07:08:09.01Z",
		"2024-05-06":                    "2024-05-06T00:00:00Z",
		"1714979289":                    "2024-05-06T07:08:09Z",
		"1714979289010":                 "2024-05-06T07:08:09.01Z",
		"1714979289010000":              "2024-05-06T07:08:09.01Z",
		`{"$date":1714979289010}`:       "2024-05-06T07:08:09.01Z",
		`{"$numberLong":"1714979289"}`:  "2024-05-06T07:08:09Z",
		"-0001-01-01T00:00:00Z":         "-0001-01-01T00:00:00Z",
		"+10000-01-01T00:00:00.000Z":    "10000-01-01T00:00:00Z",
		"17":                            "",
		"99999999":                      "",
		"10000000000":                   "",
		"":                              "",
		"[]":                            "",
		"2024":                          "",
		"2024-05":                       "",
		"2024-05-06T":                   "",
		"2024-05-06T07":                 "",
		"2024-05-06T24:00:00Z":          "",
		"2024-05-06T07:08:60Z":          "",
		"2024-05-06T07:08:09+24:00":     "",
		"2024-05-06T07:08:09+1":         "",
		"2024-00-06":                    "",
		"2024-02-30":                    "",
		"+292278995-01-01T00:00:00Z":    "",
		"+9999999999-01-01T00:00:00Z":   "",
		"+00000000002024-01-01T00:00:0": "",
	} {
		got, ok := Instant(syncd.Value{Text: text, Set: true})
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v; want %s", text, got.UTC(), ok, want)
		}
	}
}

func TestUnlike(t *testing.T) {
	for _, c := range []struct {
		document, held string
		want           bool
	}{
		{"2024-05-06T07:08:09.010Z", "17", true},
		{"2024-05-06T07:08:09.010Z", "v17", true},
		{"2024-05-06T07:08:09.010Z", "2024-05-06", true},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08", true},
		{"2024-05-06T07:08:09.010Z", "20240506", true},
		{"2024-05-06T07:08:09.010Z", "638000000000000000", true}, // ticks of .NET
		{"2024-05-06T07:08:09.010Z", "45418.29", true},           // days of a spreadsheet
		{"2024-05-06T07:08:09.010Z", "Mon, 06 May 2024 07:08:09 GMT", true},
		{"2024-05-06T07:08:09.010Z", "d41d8cd98f00b204e9800998ecf8427e", true},
		{"17", "1714979289", true},
		{"17", "2024-05-06T07:08:09.010Z", true},
		{"d41d8cd98f00b204e9800998ecf8427e", "da39a3ee5e6b4b0d3255bfef95601890afd80709", true}, // of two kinds
		{`{"major":{"$numberInt":"1"}}`, "1", true},

		// These differ by what they say, or not at all.
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010Z", false},
		{"2024-05-06T07:08:09.010Z", "1714979289", false},
		{"2024-05-06T07:08:09.010Z", "1704067200", false},
		{"2024-05-06T07:08:09.010Z", "2023-05-06T07:08:09", false},
		{"2024-05-06T07:08:09.010Z", "2023-05-06", false}, // another day
		{"2024-05-06T00:00:00.000Z", "2024-05-06", false},
		{"18", "17", false},
		{"v18", "v17", false},
		{"d41d8cd98f00b204e9800998ecf8427e", "900150983cd24fb0d6963f7d28e17f72", false},
		{`{"major":{"$numberInt":"1"}}`, `{"major":2}`, false},
	} {
		if got := Unlike(syncd.Value{Text: c.document, Set: true}, syncd.Value{Text: c.held, Set: true}); got != c.want {
			t.Errorf("%q and %q are unlike: %v", c.document, c.held, got)
		}
	}
	if Unlike(syncd.Value{}, syncd.Value{Text: "1", Set: true}) || Unlike(syncd.Value{Text: "1", Set: true}, syncd.Value{}) {
		t.Error("what is not there has no form")
	}
}

func TestShift(t *testing.T) {
	for _, c := range []struct {
		document, held string
		want           time.Duration
	}{
		{"2024-05-06T07:08:09.010Z", "2024-05-06T09:08:09.010", 2 * time.Hour},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T12:53:09Z", 5*time.Hour + 45*time.Minute},
		{"2024-05-06T07:08:09.010Z", "1714975689", -time.Hour},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T07:08:09.010", 0},
		{"2024-05-06T07:08:09.010Z", "2024-05-06T09:08:10.010", 0},
		{"2024-05-06T07:08:09.010Z", "2024-05-07T07:08:09.010", 0}, // a day
		{"2024-05-06T07:08:09.010Z", "v1", 0},
	} {
		got, ok := Shift(syncd.Value{Text: c.document, Set: true}, syncd.Value{Text: c.held, Set: true})
		if ok != (c.want != 0) || ok && got != c.want {
			t.Errorf("%q and %q are shifted by %v, %v", c.document, c.held, got, ok)
		}
	}
}

// TestVersionsCostNothing: comparing dates of two forms, which is done for every document, allocates nothing.
func TestVersionsCostNothing(t *testing.T) {
	a, b := syncd.Value{Text: "2024-05-06T07:08:09.010Z", Set: true}, syncd.Value{Text: "2024-05-06T07:08:09.010000+00:00", Set: true}
	if n := testing.AllocsPerRun(100, func() { Differs.stale(a, b) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
