package bsondoc

import "strconv"

const (
	msPerDay = 24 * 60 * 60 * 1000

	// The last millisecond of the year 9999, and of what Extended JSON writes as
	// a text.
	maxTextDate = 253402300799999
)

// appendDate appends a BSON date, which is milliseconds since 1970, as ISO 8601
// in UTC. It computes the calendar itself, as BSON dates reach further than the
// years that package time can format: ECMAScript's expanded years are used there.
// If millis is false, zeros at the end of the fraction are left out, and the
// point with them.
func appendDate(dst []byte, ms int64, millis bool) []byte {
	const yearDigits = 6
	return appendInstant(dst, ms, millis, yearDigits)
}

// appendInstant is appendDate, with a choice of how many digits a year outside
// of 0 to 9999 has at least.
func appendInstant(dst []byte, ms int64, millis bool, yearDigits int) []byte {
	days, inDay := ms/msPerDay, ms%msPerDay
	if inDay < 0 {
		days, inDay = days-1, inDay+msPerDay
	}
	year, month, day := civil(days)
	switch {
	case year > 9999:
		dst = appendPadded(append(dst, '+'), year, yearDigits)
	case year < 0:
		dst = appendPadded(append(dst, '-'), -year, yearDigits)
	default:
		dst = appendPadded(dst, year, 4)
	}
	dst = appendPadded(append(dst, '-'), month, 2)
	dst = appendPadded(append(dst, '-'), day, 2)
	dst = appendPadded(append(dst, 'T'), inDay/3600000, 2)
	dst = appendPadded(append(dst, ':'), inDay/60000%60, 2)
	dst = appendPadded(append(dst, ':'), inDay/1000%60, 2)
	if fraction := inDay % 1000; millis || fraction != 0 {
		dst = appendPadded(append(dst, '.'), fraction, 3)
		for !millis && dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
	}
	return append(dst, 'Z')
}

// civil returns the date in the Gregorian calendar of a day since 1970-01-01. It
// counts in eras of 400 years that begin on the first of March, so that the leap
// day is the last of its year.
func civil(days int64) (year, month, day int64) {
	const daysPerEra, marchOfYear0 = 146097, 719468
	days += marchOfYear0
	era := days / daysPerEra
	if days%daysPerEra < 0 {
		era--
	}
	inEra := days - era*daysPerEra
	yearInEra := (inEra - inEra/1460 + inEra/36524 - inEra/146096) / 365
	inYear := inEra - (365*yearInEra + yearInEra/4 - yearInEra/100)
	march := (5*inYear + 2) / 153 // months since March
	year, month, day = era*400+yearInEra, march+3, inYear-(153*march+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}

// appendPadded appends n, which is not negative, with at least width digits.
func appendPadded(dst []byte, n int64, width int) []byte {
	for limit := int64(10); width > 1; width-- {
		if n < limit {
			for range width - 1 {
				dst = append(dst, '0')
			}
			break
		}
		limit *= 10
	}
	return strconv.AppendInt(dst, n, 10)
}
