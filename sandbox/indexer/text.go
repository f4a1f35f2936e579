package indexer

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"unicode"

	"github.com/google/uuid"
)

// pointID returns the id of the point of a document's chunk.
func pointID(key docKey, chunk int) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s/%s/%d", key.id, key.contentType, chunk)).String()
}

// chunks divides a text into parts of at most size characters, at white space where there
// is some. There is always at least one, which is empty if the text is.
func chunks(text string, size int) []string {
	rest := []rune(strings.TrimSpace(text))
	var out []string
	for len(rest) > size {
		cut := size // a word longer than a chunk is cut
		for i := size; i > 0; i-- {
			if unicode.IsSpace(rest[i]) {
				cut = i
				break
			}
		}
		out = append(out, strings.TrimSpace(string(rest[:cut])))
		for cut < len(rest) && unicode.IsSpace(rest[cut]) {
			cut++
		}
		rest = rest[cut:]
	}
	return append(out, string(rest))
}

// vector embeds a text as a bag of words: each word adds 1 or -1 to the component that
// its hash names. The length is 1, so that texts compare by their words, not their size.
func vector(text string, size int) []float32 {
	sums := make([]float64, size)
	for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}) {
		h := fnv.New64a()
		_, _ = h.Write([]byte(word))
		sum := h.Sum64()
		sums[sum>>1%uint64(size)] += float64(sum&1)*2 - 1
	}
	var squares float64
	for _, s := range sums {
		squares += s * s
	}
	if squares == 0 { // no direction is as good as another, but the cosine needs one
		sums[0], squares = 1, 1
	}
	out := make([]float32, size)
	for i, s := range sums {
		out[i] = float32(s / math.Sqrt(squares))
	}
	return out
}
