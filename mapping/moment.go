package mapping

import (
	"cmp"
	"strings"
	"time"
)

// moment is a version that reads as a date: milliseconds since 1970, which is what BSON keeps. What was finer is cut off.
type moment struct {
	ms    int64
	grain grain
}

// grain is the finest part that a date's form has.
type grain uint8

const (
	toMillisecond grain = iota // or finer
	toSecond
	toMinute
	toDay
)

// compare compares two dates. Where one was cut to the second, so is the other: an index that keeps no fractions can't tell more.
func (m moment) compare(o moment) int {
	if m.grain == toSecond || o.grain == toSecond {
		return cmp.Compare(cut(m.ms, msPerSecond), cut(o.ms, msPerSecond))
	}
	return cmp.Compare(m.ms, o.ms)
}

const (
	msPerSecond = 1000
	msPerMinute = 60 * msPerSecond
	msPerDay    = 24 * 60 * msPerMinute
)

// sameCut reports whether two dates are one when both are cut to what the coarser one has.
func (m moment) sameCut(o moment) bool {
	size := [...]int64{toMillisecond: 1, toSecond: msPerSecond, toMinute: msPerMinute, toDay: msPerDay}[max(m.grain, o.grain)]
	return cut(m.ms, size) == cut(o.ms, size)
}

// cut divides and rounds down.
func cut(n, size int64) int64 {
	q := n / size
	if n%size < 0 {
		q--
	}
	return q
}

// parseMoment reads the forms of ISO 8601 that databases and the standard functions of languages write:
//
//	2006-01-02[T15:04[:05[.999]][zone]]
//
// with T, t or a blank before the time, a point or a comma before any number of digits, and as zone Z, UTC, GMT, +hh, +hhmm or
// +hh:mm, with or without a blank before it and a name behind it. A time without a zone is UTC, as everywhere in syncd. Years outside of 0 to 9999 have a
// sign. It allocates nothing.
func parseMoment(text string) (moment, bool) {
	p := reader{text: text, ok: true}
	sign := p.either("+-")
	yearDigits := 4
	if sign != 0 {
		yearDigits = max(4, p.countDigits())
	}
	year := p.digits(yearDigits)
	if sign == '-' {
		year = -year
	}
	p.must('-')
	month := p.digits(2)
	p.must('-')
	day := p.digits(2)
	var hour, minute, second, ms, zone int
	g := toDay
	if p.ok && p.rest() != "" {
		if p.either("Tt ") == 0 {
			return moment{}, false
		}
		g = toMinute
		hour = p.digits(2)
		p.must(':')
		minute = p.digits(2)
		if p.either(":") != 0 {
			g = toSecond
			second = p.digits(2)
			if p.either(".,") != 0 {
				g = toMillisecond
				ms = p.fraction()
			}
		}
		zone = p.zone()
	}
	if !p.ok || p.rest() != "" || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return moment{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day { // there is no such day
		return moment{}, false
	}
	seconds := t.Unix() - int64(zone)
	m := moment{seconds*msPerSecond + int64(ms), g}
	return m, cut(m.ms, msPerSecond) == seconds // or no BSON date is so far away
}

// reader takes a text apart. After the first mismatch ok is false, and what is read means nothing.
type reader struct {
	text string
	at   int
	ok   bool
}

func (r *reader) rest() string { return r.text[r.at:] }

// either takes one of the characters, or none.
func (r *reader) either(set string) byte {
	if r.at < len(r.text) && strings.IndexByte(set, r.text[r.at]) >= 0 {
		r.at++
		return r.text[r.at-1]
	}
	return 0
}

func (r *reader) must(c byte) {
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return
	}
	r.ok = false
}

// countDigits says how many digits follow.
func (r *reader) countDigits() int {
	n := 0
	for r.at+n < len(r.text) && isDigit(r.text[r.at+n]) {
		n++
	}
	return n
}

// maxDigits is as many digits as the year of a BSON date has.
const maxDigits = 9

// digits takes exactly n digits.
func (r *reader) digits(n int) int {
	if !r.ok || n > maxDigits || r.countDigits() < n {
		r.ok = false
		return 0
	}
	out := 0
	for range n {
		out = 10*out + int(r.text[r.at]-'0')
		r.at++
	}
	return out
}

// fraction takes the digits of a second's fraction, and returns its milliseconds.
func (r *reader) fraction() int {
	n := r.countDigits()
	if n == 0 {
		r.ok = false
		return 0
	}
	out := 0
	for i := range 3 {
		out *= 10
		if i < n {
			out += int(r.text[r.at+i] - '0')
		}
	}
	r.at += n
	return out
}

// zone takes a zone, or nothing, and returns its seconds.
func (r *reader) zone() int {
	if r.rest() == "" {
		return 0
	}
	r.either(" ")
	if r.rest() == "UTC" || r.rest() == "GMT" {
		r.at = len(r.text)
		return 0
	}
	sign := r.either("Zz+-")
	if sign != '+' && sign != '-' {
		r.ok = r.ok && sign != 0
		return 0
	}
	hours, minutes := r.digits(2), 0
	if r.either(":") != 0 || r.countDigits() > 0 {
		minutes = r.digits(2)
	}
	if hours > 23 || minutes > 59 {
		r.ok = false
	}
	if r.either(" ") != 0 { // Go's String adds the name
		for r.either("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 0 {
		}
	}
	seconds := 3600*hours + 60*minutes
	if sign == '-' {
		return -seconds
	}
	return seconds
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
