package mapping

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

// FormOf says what a version looks like, for people: "a date and time". Two versions of one field have one form.
func FormOf(v syncd.Value) string {
	switch v := form(v.Text).(type) {
	case scalar:
		return v.form()
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "null"
}

func (s scalar) form() string {
	if m, ok := s.moment(); ok {
		switch m.grain {
		case toDay:
			return "a date without a time"
		case toMinute:
			return "a date and time without seconds"
		}
		return "a date and time"
	}
	if n, ok := parseNumber(s.text); ok {
		return map[unit]string{
			noUnit: "a number", seconds: "a number of seconds since 1970", milliseconds: "a number of milliseconds since 1970",
			microseconds: "a number of microseconds since 1970", nanoseconds: "a number of nanoseconds since 1970",
		}[n.unit()]
	}
	switch {
	case s.text == "true" || s.text == "false":
		return "a switch"
	case len(s.text) == len(uuidForm) && uuid.Validate(s.text) == nil:
		return "a UUID"
	case len(s.text) >= 12 && strings.Trim(s.text, "0123456789abcdefABCDEF") == "":
		return fmt.Sprintf("%d hexadecimal digits", len(s.text))
	}
	return "a text"
}

// Unlike reports whether two versions differ because they are of different forms: a date and a counter, say, or a date with
// its time and the day alone. No change of the document makes such versions equal.
func Unlike(document, held syncd.Value) bool {
	if !document.Set || !held.Set || document.Text == held.Text {
		return false
	}
	x, y := form(document.Text), form(held.Text)
	a, aScalar := x.(scalar)
	b, bScalar := y.(scalar)
	c, by := order(document.Text, held.Text)
	switch by {
	case byNothing:
		return FormOf(document) != FormOf(held)
	case byNumber:
		m, _ := parseNumber(a.text)
		n, _ := parseNumber(b.text)
		return m.unit() != n.unit()
	case byInstant:
		m, aDate := a.moment()
		n, bDate := b.moment()
		return c != 0 && aScalar && bScalar && aDate && bDate && m.grain != n.grain && m.sameCut(n)
	}
	return false
}

// longestShift is how far a zone is from UTC at most, and quarter what all are multiples of.
const (
	longestShift = 14 * time.Hour
	quarter      = 15 * time.Minute
)

// Shift returns by how much the index's version is later than the document's where that may be the difference between two
// time zones; it is never 0.
func Shift(document, held syncd.Value) (time.Duration, bool) {
	x, xDate := Instant(document)
	y, yDate := Instant(held)
	if !document.Set || !held.Set || !xDate || !yDate {
		return 0, false
	}
	shift := y.Truncate(time.Second).Sub(x.Truncate(time.Second))
	return shift, shift != 0 && shift%quarter == 0 && shift.Abs() <= longestShift
}
