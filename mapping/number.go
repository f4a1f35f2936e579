package mapping

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
)

// number is a decimal number, exact however long it is: sign × 0.digits × 10^exp.
type number struct {
	text   string
	sign   int    // -1, 0, 1
	digits []byte // without zeros at either end
	exp    int
}

// maxExponentDigits bounds an exponent: 34 digits and an exponent of four are all that BSON has, and a hash can look like more.
const maxExponentDigits = 5

// parseNumber reads a decimal number, with or without an exponent.
func parseNumber(text string) (number, bool) {
	p := reader{text: text, ok: true}
	n := number{text: text, sign: 1}
	if p.either("+-") == '-' {
		n.sign = -1
	}
	seen, point := false, false
	for ; p.at < len(text); p.at++ {
		c := text[p.at]
		if c == '.' && !point {
			point = true
			continue
		}
		if !isDigit(c) {
			break
		}
		seen = true
		switch {
		case c != '0' || len(n.digits) > 0:
			n.digits = append(n.digits, c)
			if !point {
				n.exp++
			}
		case point:
			n.exp--
		}
	}
	if p.either("eE") != 0 {
		sign := p.either("+-")
		k := p.countDigits()
		if k < 1 || k > maxExponentDigits {
			return number{}, false
		}
		e := p.digits(k)
		if sign == '-' {
			e = -e
		}
		n.exp += e
	}
	if !seen || !p.ok || p.rest() != "" {
		return number{}, false
	}
	if n.digits = bytes.TrimRight(n.digits, "0"); len(n.digits) == 0 {
		n.sign, n.exp = 0, 0
	}
	return n, true
}

func (n number) compare(o number) int {
	if n.sign != o.sign || n.sign == 0 {
		return cmp.Compare(n.sign, o.sign)
	}
	return n.sign * cmp.Or(cmp.Compare(n.exp, o.exp), bytes.Compare(n.digits, o.digits))
}

// unit is what a number counts since 1970, as microseconds.
type unit float64

const (
	noUnit       unit = 0
	seconds      unit = 1e6
	milliseconds unit = 1e3
	microseconds unit = 1
	nanoseconds  unit = 1e-3
)

// unit says what a number counts, if it is as large as the times from 1973 to 2286 are in that unit. No number can be of two
// units, and no counter comes from one to the next in one step.
func (n number) unit() unit {
	if n.sign != 1 {
		return noUnit
	}
	switch n.exp { // the number of digits before the point
	case 9, 10:
		return seconds
	case 12, 13:
		return milliseconds
	case 15, 16:
		return microseconds
	case 18, 19:
		return nanoseconds
	}
	return noUnit
}

// in reads the number as a time in the unit, if BSON has such a date. Seconds and milliseconds are often kept as floating point
// numbers, which miss the millisecond by a little, so they are rounded to the microsecond before they are cut.
func (n number) in(u unit) (m moment, ok bool) {
	if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
		switch u {
		case seconds:
			return moment{i * msPerSecond, toSecond}, cut(i*msPerSecond, msPerSecond) == i
		case milliseconds:
			return moment{ms: i}, true
		case microseconds:
			return moment{ms: cut(i, 1e3)}, true
		case nanoseconds:
			return moment{ms: cut(i, 1e6)}, true
		}
	}
	f, err := strconv.ParseFloat(n.text, 64)
	us := math.Round(f * float64(u))
	if err != nil || math.Abs(us) >= math.MaxInt64 {
		return moment{}, false
	}
	m.ms = cut(int64(us), 1000)
	if u == seconds && f == math.Trunc(f) {
		m.grain = toSecond
	}
	return m, true
}

const (
	// farApart is how far a number may be from a date to be taken for one: about 30 years. Beyond that it is no time.
	farApart = 1_000_000_000_000
	// firstDay is what is too small to be a time in seconds.
	firstDay = 24 * 60 * 60
)

// near reads the number as the time that a date suggests: as milliseconds where these are the date's, in the unit that its size
// tells, or else in seconds if that is the date.
func (n number) near(to moment) (moment, bool) {
	if ms, err := strconv.ParseInt(n.text, 10, 64); err == nil && ms == to.ms {
		return moment{ms: ms}, true
	}
	u := n.unit()
	m, ok := n.in(cmp.Or(u, seconds))
	if u == noUnit {
		return m, ok && m.compare(to) == 0 && max(m.ms, -m.ms) >= firstDay*msPerSecond
	}
	return m, ok && apart(m.ms, to.ms) < farApart
}

// apart is the distance of two times.
func apart(a, b int64) uint64 {
	if a < b {
		a, b = b, a
	}
	return uint64(a) - uint64(b)
}
