package fastmongo_test

import (
	"bytes"
	"sort"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// Search, which is there to be fast, says the same as a search through the ids.
func TestDocumentsSearch(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 5000, 1<<24 + 5000} {
		g := fastmongo.Documents(n, 100)
		slow := func(id []byte) int {
			return sort.Search(n, func(i int) bool {
				_, got := g.ID(i, nil)
				return bytes.Compare(got, id) >= 0
			})
		}
		for _, i := range []int{0, 1, 1023, 1024, 1025, 4999, n - 1, n, n + 1, n + 5000, 1 << 23, 1<<24 - 1, 1 << 24, 1<<24 + 1} {
			if i < 0 {
				continue
			}
			_, id := g.ID(i, nil)
			for _, at := range []int{-1, 3, 4, 8, 9, 11} {
				for _, by := range []byte{1, 0xff, 0x80} {
					changed := bytes.Clone(id)
					if at >= 0 {
						changed[at] += by
					}
					if got, want := g.Search(bson.TypeObjectID, changed), slow(changed); got != want {
						t.Errorf("n %d, id %x: %d, want %d", n, changed, got, want)
					}
				}
			}
		}
		if got := g.Search(bson.TypeString, []byte("\x02\x00\x00\x00a\x00")); got != 0 {
			t.Errorf("n %d: %d ids below a string", n, got)
		}
		if got := g.Search(bson.TypeDateTime, make([]byte, 8)); got != n {
			t.Errorf("n %d: %d ids below a date", n, got)
		}
	}
}

func TestDocumentsSize(t *testing.T) {
	for _, size := range []int{100, 101, 500, 2000, 100_000} {
		doc := bson.Raw(fastmongo.Documents(10, size).Document(7, nil))
		if err := doc.Validate(); err != nil || len(doc) != size {
			t.Errorf("%d bytes instead of %d, %v", len(doc), size, err)
		}
	}
}
