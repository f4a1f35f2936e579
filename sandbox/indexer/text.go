package indexer

import (
	"fmt"
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
