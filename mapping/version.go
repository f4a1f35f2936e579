package mapping

import "github.com/syncd-io/syncd"

// Policy says when the index's version of a document counts as stale.
type Policy string

// The policies.
const (
	Differs Policy = "differs" // the two are not the same
	Newer   Policy = "newer"   // the document's is later or greater
)

// stale compares a document's version with the index's: see order. A document without a version can't be stale; an index
// without one is.
func (p Policy) stale(document, held syncd.Value) bool {
	switch {
	case !document.Set:
		return false
	case !held.Set:
		return true
	case document.Text == held.Text:
		return false
	}
	c, by := order(document.Text, held.Text)
	if by == byNothing {
		return p != Newer || document.Text > held.Text
	}
	return c > 0 || p != Newer && c != 0
}

// Later reports whether a version is after another one. Versions that are neither dates nor numbers have no order.
func Later(a, b syncd.Value) bool {
	if !a.Set || !b.Set {
		return false
	}
	c, by := order(a.Text, b.Text)
	return by != byNothing && c > 0
}

// ordering is what two versions were compared as.
type ordering uint8

const (
	byNothing ordering = iota // they are text, and were not
	byInstant
	byNumber
	byForm // they are the same in two forms
)

// order compares two versions as instants when both read as dates, as numbers when both do, and as the same value where one is
// the form in which an event carries the other. Versions are compared like this because an indexer keeps what an event held, or
// what its language made of it.
func order(a, b string) (c int, by ordering) {
	if isJSON(a) || isJSON(b) {
		return orderForms(a, b)
	}
	return orderScalars(scalar{text: a}, scalar{text: b})
}

// scalar is a version that is neither an object nor a list: a text, or a date that was marked as one.
type scalar struct {
	text string // of a date that was marked: ""
	date moment
	set  bool // date is set
}

// moment reads the scalar as a date.
func (s scalar) moment() (moment, bool) {
	if s.set {
		return s.date, true
	}
	return parseMoment(s.text)
}

func orderScalars(a, b scalar) (int, ordering) {
	x, aDate := a.moment()
	y, bDate := b.moment()
	if aDate && bDate {
		return x.compare(y), byInstant
	}
	m, aNumber := parseNumber(a.text)
	n, bNumber := parseNumber(b.text)
	switch {
	case aDate && bNumber:
		if at, ok := n.near(x); ok {
			return x.compare(at), byInstant
		}
	case aNumber && bDate:
		if at, ok := m.near(y); ok {
			return at.compare(y), byInstant
		}
	case aNumber && bNumber:
		// Two counters are compared as what they are; a time in seconds and one in milliseconds are not two counters.
		if u, v := m.unit(), n.unit(); u != v && u != noUnit && v != noUnit {
			x, _ := m.in(u) // what has a unit is a date
			y, _ := n.in(v)
			return x.compare(y), byInstant
		}
		return m.compare(n), byNumber
	case sameUUID(a.text, b.text), sameUUID(b.text, a.text):
		return 0, byForm
	}
	return 0, byNothing
}
