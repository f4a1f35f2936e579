package mapping

import (
	"cmp"
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
	switch c, by := order(document.Text, held.Text); by {
	case byInstant:
		return c > 0 || p != Newer && c != 0
	case byNumber:
		return c > 0 || p != Newer // their texts differ, even where rounding makes them equal
	}
	return p != Newer || document.Text > held.Text
}

// Later reports whether a version is after another one. Versions that are neither dates nor numbers have no order.
func Later(a, b syncd.Value) bool {
	if !a.Set || !b.Set {
		return false
	}
	c, by := order(a.Text, b.Text)
	return by != byText && c > 0
}

// ordering is what two versions were compared as.
type ordering uint8

const (
	byText ordering = iota // they were not
	byInstant
	byNumber
)

// order compares two versions as instants when both read as dates, as numbers when both do, and else not at all.
func order(a, b string) (c int, by ordering) {
	if x, ok := instant(a); ok {
		if y, ok := instant(b); ok {
			return cmp.Compare(x, y), byInstant
		}
	}
	if x, err := strconv.ParseFloat(a, 64); err == nil {
		if y, err := strconv.ParseFloat(b, 64); err == nil {
			switch {
			case x > y:
				return 1, byNumber
			case x < y:
				return -1, byNumber
			}
			return 0, byNumber // or one is no number at all
		}
	}
	return 0, byText
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
