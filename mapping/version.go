package mapping

import (
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
)

// Policy says when the index's version of a document counts as stale.
type Policy string

// The policies.
const (
	Differs Policy = "differs" // the two are not the same
	Newer   Policy = "newer"   // the document's is later or greater
)

// stale compares a document's version with the index's. Both are instants when both read as dates: ISO 8601, Extended JSON
// dates, or milliseconds since 1970; they are compared to the millisecond, which is what BSON keeps. Otherwise they are
// numbers when both read as such, else text. A document without a version can't be stale; an index without one is.
func (p Policy) stale(document, held syncd.Value) bool {
	switch {
	case !document.Set:
		return false
	case !held.Set:
		return true
	case document.Text == held.Text:
		return false
	}
	if a, ok := instant(document.Text); ok {
		if b, ok := instant(held.Text); ok {
			return a > b || p != Newer && a != b
		}
	}
	if a, err := strconv.ParseFloat(document.Text, 64); err == nil {
		if b, err := strconv.ParseFloat(held.Text, 64); err == nil {
			return a > b || p != Newer // their texts differ, even where rounding makes them equal
		}
	}
	return p != Newer || document.Text > held.Text
}

// layouts are the forms of ISO 8601 that databases and the isoformat functions of languages write. A time without a zone is
// UTC, as everywhere in syncd.
var layouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02T15:04Z07:00",
	time.DateOnly,
}

// instant reads a date as milliseconds since 1970.
func instant(text string) (int64, bool) {
	if inner, ok := strings.CutPrefix(text, `{"$date":`); ok {
		inner = strings.TrimSuffix(strings.TrimSpace(inner), "}")
		if long, ok := strings.CutPrefix(inner, `{"$numberLong":`); ok {
			inner = strings.TrimSuffix(strings.TrimSpace(long), "}")
			ms, err := strconv.ParseInt(strings.Trim(inner, `" `), 10, 64)
			return ms, err == nil
		}
		text = strings.Trim(inner, `" `)
	}
	if len(text) < 8 {
		return 0, false
	}
	// Twelve to fourteen digits are milliseconds from 1973 to the year 5138; fewer could be any number.
	if len(text) >= 12 && len(text) <= 14 {
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
			return ms, true
		}
	}
	if text[4] != '-' {
		return 0, false
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixMilli(), true
		}
	}
	return 0, false
}
