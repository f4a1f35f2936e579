package sample

import (
	"encoding/binary"
	"hash/fnv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// dice is SplitMix64, written out because the documents must stay the same when the
// standard library's way from random bits to a choice changes.
type dice struct{ state uint64 }

// dice returns the dice for one purpose of one document.
func (g Generator) dice(index int, purpose string) *dice {
	h := fnv.New64a()
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], g.Seed)
	binary.BigEndian.PutUint64(b[8:], uint64(index))
	_, _ = h.Write(b[:])
	_, _ = h.Write([]byte(purpose))
	return &dice{state: h.Sum64()}
}

func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	z := d.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n returns a number from 0 up to limit; 0 if limit is 0.
func (d *dice) n(limit int) int {
	if limit <= 0 {
		return 0
	}
	return int(d.next() % uint64(limit))
}

func (d *dice) bytes(n int) []byte {
	b := make([]byte, 0, n+7)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, d.next())
	}
	return b[:n]
}

func pick[T any](d *dice, of ...T) T { return of[d.n(len(of))] }

// sample picks n different elements, or all if there are fewer, in random order.
func sample[T any](d *dice, of []T, n int) []T {
	rest := append([]T(nil), of...)
	n = min(n, len(rest))
	for i := range n {
		j := i + d.n(len(rest)-i)
		rest[i], rest[j] = rest[j], rest[i]
	}
	return rest[:n]
}

// text writes between low and high different sentences of the kind given.
func (w writer) text(kind []string, low, high int) string {
	sentences := w.shuffled(kind)
	return w.paragraphs(sentences[:min(low+w.n(high-low+1), len(sentences))])
}

// textOf is text, but in one of n cases the text is long.
func (w writer) textOf(kind []string, low, high, n, longLow, longHigh int) string {
	if w.n(n) == 0 {
		low, high = longLow, longHigh
	}
	return w.text(kind, low, high)
}

// shuffled returns the sentences of a kind, and after them those that fit anywhere.
func (w writer) shuffled(kind []string) []string {
	return append(sample(w.dice, kind, len(kind)), sample(w.dice, anywhere, len(anywhere))...)
}

// paragraphs writes sentences. A long text is broken into paragraphs.
func (w writer) paragraphs(sentences []string) string {
	var b strings.Builder
	for i, s := range sentences {
		switch {
		case i == 0:
		case i%6 == 0:
			b.WriteString("\n\n")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(w.fill(s))
	}
	return b.String()
}

// fill replaces the names in braces by words of the document's area. A name with a
// capital gives a word with a capital.
func (w writer) fill(template string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		word := w.word(strings.ToLower(name))
		if unicode.IsUpper(rune(name[0])) {
			word = upperFirst(word)
		}
		b.WriteString(word)
		template = after
	}
}

func (w writer) word(name string) string {
	switch name {
	case "area":
		return w.area.name
	case "thing":
		return pick(w.dice, w.area.things...)
	case "fault":
		return pick(w.dice, w.area.faults...)
	case "person":
		return pick(w.dice, people...)
	case "team":
		return pick(w.dice, teams...)
	case "customer":
		return pick(w.dice, customers...)
	case "count":
		return pick(w.dice, "two", "three", "four", "five", "a dozen", "about thirty", "over a hundred", "nearly a thousand")
	case "percent":
		return pick(w.dice, "2", "5", "8", "12", "15", "20", "30", "40", "60") + " %"
	case "when":
		return pick(w.dice, "last week", "on Monday", "since the March release", "during the last incident", "at the end of the quarter", "in the night of the migration", "in the spring review", "after the last deployment")
	}
	panic("sample: no words for {" + name + "}") // a mistake in words.go, found by its test
}

func upperFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}
