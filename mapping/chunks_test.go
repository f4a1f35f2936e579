package mapping_test

import (
	"fmt"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/fixture"
	"github.com/syncd-io/syncd/mapping"
)

// TestNumberOfChunks: what can be read as one, and what can't, so that the document is partial.
func TestNumberOfChunks(t *testing.T) {
	rule := fixture.Versioned(t, "page")[0]
	for text, more := range map[string]int{
		"0": 0, "1": 0, "2": 1, "5": 4, "10000": 9999, "10001": 9999, "1000000000": 9999, "3.0": 2, "2e3": 1999, "+4": 3, "007": 6, "-0": 0, "1E1": 9,
		"-1": -1, "2.5": -1, "-2.0": -1, "1e300": -1, "1000000001": -1, "99999999999999999999": -1, "-9223372036854775808": -1, "9223372036854775807": -1,
		"": -1, " 3": -1, "3 ": -1, "three": -1, "true": -1, "NaN": -1, "Infinity": -1, "inf": -1, "0x10": -1, "0x1p4": -1, "1_000": -1, "1,000": -1,
		"[1,2,3]": -1, `{"n":3}`: -1, "e": -1, ".": -1, "٣": -1,
	} {
		found := syncd.Found{Present: true, Payload: []syncd.Value{{}, {Text: text, Set: true}}}
		verdict, n := rule.Judge(&syncd.Change{Fields: make([]syncd.Value, len(rule.Fields()))}, &found)
		want := fmt.Sprint(syncd.Present, " ", more)
		if more < 0 {
			want = fmt.Sprint(syncd.Partial, " ", 0)
		}
		if got := fmt.Sprint(verdict, " ", n); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	// A point without one has no further chunks.
	found := syncd.Found{Present: true, Payload: make([]syncd.Value, 2)}
	if verdict, n := rule.Judge(&syncd.Change{Fields: make([]syncd.Value, len(rule.Fields()))}, &found); verdict != syncd.Present || n != 0 {
		t.Errorf("none: %v, %d", verdict, n)
	}
}

// TestTheChunkBehindTheLast must not be there where the job writes the index itself.
func TestTheChunkBehindTheLast(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []*mapping.Rule
		count syncd.Value
		want  int
	}{
		{"three chunks", fixture.Indexed(t, "page"), syncd.Value{Text: "3", Set: true}, 3},
		{"none, which is one", fixture.Indexed(t, "page"), syncd.Value{Text: "0", Set: true}, 1},
		{"not known how many", fixture.Indexed(t, "page"), syncd.Value{}, 0},
		{"more than are looked for", fixture.Indexed(t, "page"), syncd.Value{Text: "10000", Set: true}, 0},
		{"another indexer, which may leave what it likes", fixture.Versioned(t, "page"), syncd.Value{Text: "3", Set: true}, 0},
	} {
		rule := c.rules[0]
		found := syncd.Found{Present: true, Payload: []syncd.Value{{}, c.count}[2-len(rule.PayloadKeys()):]}
		_, more := rule.Judge(&syncd.Change{Fields: make([]syncd.Value, len(rule.Fields()))}, &found)
		if got := rule.End(&found, more); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	oneChunk := mapping.Defaults()
	oneChunk.Seed = "{mongo_id}"
	oneChunk.Collections = mapping.Collections{{Name: "page", ContentType: "page"}}
	rule := fixture.Compile(t, oneChunk)[0]
	if got := rule.End(&syncd.Found{Present: true}, 0); got != 0 {
		t.Errorf("a seed that can't tell chunks apart: %d", got)
	}
}
