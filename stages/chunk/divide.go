package chunk

import (
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/clipperhouse/uax29/v2/sentences"
	"github.com/clipperhouse/uax29/v2/words"
	"github.com/tiktoken-go/tokenizer/codec"

	"github.com/syncd-io/syncd"
)

// divider divides texts. It is safe for concurrent use.
type divider struct {
	measure func(string) int // of a part of a text; nil counts sentences
	size    int
	overlap int
	most    int // chunks of a document
}

// measureOf returns what counts by a unit; nil where sentences are counted.
func measureOf(unit Unit, name string) (func(string) int, error) {
	switch {
	case unit == Sentences:
		return nil, nil //nolint:nilnil // they are counted as they come
	case unit == Characters:
		return utf8.RuneCountInString, nil
	case name == "words":
		return countWords, nil
	}
	var c *codec.Codec
	switch name {
	case "cl100k_base":
		c = codec.NewCl100kBase()
	case "o200k_base":
		c = codec.NewO200kBase()
	default:
		return nil, fmt.Errorf("there is no tokenizer %q", name)
	}
	return func(s string) int { return countTokens(c, s) }, nil
}

// longWord is how many bytes without a space are counted at once: the tokenizer takes time by the square of a word's length.
const longWord = 200

// countTokens counts a text's tokens. A long word counts as what it is cut into.
func countTokens(c *codec.Codec, s string) (n int) {
	count := func(s string) {
		tokens, err := c.Count(s)
		if err != nil {
			tokens = len(s) // not reached: its expression has no limit
		}
		n += tokens
	}
	from, word := 0, 0
	for i := range len(s) {
		if s[i] == ' ' || s[i] == '\n' || s[i] == '\t' {
			word = i
			continue
		}
		if i-word >= longWord && utf8.RuneStart(s[i]) {
			count(s[from:i])
			from, word = i, i
		}
	}
	count(s[from:])
	return n
}

// countWords estimates tokens as the tokenizers of most small models make them: a word, or every six letters of a long one, and each
// other mark. A character of Chinese, Japanese or Korean counts as one.
func countWords(s string) (n int) {
	in := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul):
			n, in = n+1, 0
		case unicode.IsLetter(r), unicode.IsDigit(r), unicode.IsMark(r):
			if in%6 == 0 {
				n++
			}
			in++
		default:
			in = 0
			if !unicode.IsSpace(r) {
				n++
			}
		}
	}
	return n
}

// piece is a part of a text that is not divided, and how much it counts.
type piece struct{ from, to, size int }

// divide makes the chunks of a text.
func (d *divider) divide(prefix, text string) ([]syncd.Chunk, error) {
	if text == "" {
		return []syncd.Chunk{{}}, nil
	}
	room := d.size
	if d.measure != nil {
		// Nothing counts more than its bytes, so most short texts need not be measured.
		if len(prefix)+len(text) <= room {
			return []syncd.Chunk{{Text: text, Tokens: estimate(len(prefix) + len(text))}}, nil
		}
		room -= min(d.measure(prefix), d.size/2)
	}
	p := packing{text: text, room: max(room, 1), overlap: min(d.overlap, room/2), prefix: len(prefix)}
	for next := range d.pieces(text, p.room) {
		p.add(next)
		if len(p.chunks) > d.most {
			break
		}
	}
	p.flush()
	switch {
	case len(p.chunks) > d.most:
		return nil, syncd.Hint(fmt.Errorf("it has more than %d chunks", d.most), "raise stages.chunk.max_chunks or size, or leave such fields out of stages.chunk.text")
	case len(p.chunks) == 0:
		return []syncd.Chunk{{}}, nil
	}
	return p.chunks, nil
}

// estimate is about how many tokens so many bytes are.
func estimate(bytes int) int { return (bytes + 3) / 4 }

// pieces yields the sentences of a text; of one that is larger than room its words, and of such a word parts.
func (d *divider) pieces(text string, room int) iter.Seq[piece] {
	return func(yield func(piece) bool) {
		all := sentences.FromString(text)
		for from := 0; all.Next(); {
			sentence := all.Value()
			to := from + len(sentence)
			if d.measure == nil {
				if !yield(piece{from, to, 1}) {
					return
				}
			} else if n := d.measure(sentence); n <= room {
				if !yield(piece{from, to, n}) {
					return
				}
			} else if !d.words(sentence, from, room, yield) {
				return
			}
			from = to
		}
	}
}

func (d *divider) words(sentence string, at, room int, yield func(piece) bool) bool {
	all := words.FromString(sentence)
	for from := 0; all.Next(); {
		word := all.Value()
		to := from + len(word)
		if n := d.measure(word); n <= room {
			if !yield(piece{at + from, at + to, n}) {
				return false
			}
			from = to
			continue
		}
		for from < to { // nothing counts more than its bytes
			end := min(from+max(room, utf8.UTFMax), to)
			for end < to && !utf8.RuneStart(sentence[end]) {
				end--
			}
			if !yield(piece{at + from, at + end, min(room, end-from)}) {
				return false
			}
			from = end
		}
	}
	return true
}

// packing fills chunks with pieces, one after another.
type packing struct {
	text          string
	room, overlap int
	prefix        int // bytes

	chunks []syncd.Chunk
	pieces []piece // of the chunk at hand
	sum    int     // what they count
	fresh  bool    // not all of them are in the chunk before
}

func (p *packing) add(next piece) {
	if p.sum+next.size > p.room && p.fresh {
		p.flush()
		p.carry(next.size)
	}
	if p.sum+next.size > p.room {
		p.pieces, p.sum = p.pieces[:0], 0
	}
	p.pieces, p.sum = append(p.pieces, next), p.sum+next.size
	p.fresh = p.fresh || strings.TrimSpace(p.text[next.from:next.to]) != ""
}

// carry keeps the last pieces of a chunk for the beginning of the next one.
func (p *packing) carry(next int) {
	from, sum := len(p.pieces), 0
	for from > 0 && sum+p.pieces[from-1].size <= p.overlap && sum+p.pieces[from-1].size+next <= p.room {
		from--
		sum += p.pieces[from].size
	}
	p.pieces = p.pieces[:copy(p.pieces, p.pieces[from:])]
	p.sum = sum
}

// flush ends the chunk at hand.
func (p *packing) flush() {
	if !p.fresh {
		return
	}
	p.fresh = false
	if text := strings.TrimSpace(p.text[p.pieces[0].from:p.pieces[len(p.pieces)-1].to]); text != "" {
		p.chunks = append(p.chunks, syncd.Chunk{Text: text, Tokens: estimate(p.prefix + len(text))})
	}
}
