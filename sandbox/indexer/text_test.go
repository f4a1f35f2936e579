package indexer

import (
	"math"
	"strings"
	"testing"
	"testing/quick"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd/sandbox/embedserver"
)

func TestPointID(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		key   docKey
		chunk int
		want  string
	}{
		{docKey{"507f1f77bcf86cd799439011", "page"}, 0, "7b619d45-93e1-5724-b96f-63c3ab25907c"},
		{docKey{"507f1f77bcf86cd799439011", "page"}, 1, "320c460b-5952-580d-84dc-60c5a44e076f"},
		{docKey{"507f1f77bcf86cd799439011", "work_item"}, 0, "7f83717a-824e-5e55-a60e-40b4d15ebd45"},
		{docKey{"Zoë/ø", "page"}, 12, "84710608-1fc0-5453-a9ab-e3498a63327d"},
	} {
		if got := pointID(tc.key, tc.chunk); got != tc.want {
			t.Errorf("point of chunk %d of %v is %s, want %s", tc.chunk, tc.key, got, tc.want)
		}
	}
}

func TestChunks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		size int
		want []string
	}{
		"empty":               {"", 5, []string{""}},
		"white space":         {" \n\t ", 5, []string{""}},
		"short":               {"one", 5, []string{"one"}},
		"exactly one":         {"12345", 5, []string{"12345"}},
		"exactly two":         {"12345 67890", 5, []string{"12345", "67890"}},
		"at the last space":   {"aa bb cc dd", 6, []string{"aa bb", "cc dd"}},
		"space at the limit":  {"aaa bb cc", 6, []string{"aaa bb", "cc"}},
		"long word":           {"abcdefghij kl", 4, []string{"abcd", "efgh", "ij", "kl"}},
		"runs of white space": {"  aa  \n\n  bb  ", 4, []string{"aa", "bb"}},
		"characters":          {"ééé ééé", 3, []string{"ééé", "ééé"}},
		"emoji":               {"😀😀😀😀", 3, []string{"😀😀😀", "😀"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, chunks(tc.text, tc.size)); diff != "" {
				t.Errorf("chunks (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChunksLoseNothing says that the chunks hold the text's characters, in order.
func TestChunksLoseNothing(t *testing.T) {
	t.Parallel()
	bare := func(s string) string { return strings.Join(strings.Fields(s), "") }
	property := func(text string, size uint8) bool {
		text = strings.ToValidUTF8(text, "�")
		limit := int(size%40) + 1
		parts := chunks(text, limit)
		for i, p := range parts {
			if utf8.RuneCountInString(p) > limit || (p == "" && (i > 0 || len(parts) > 1)) {
				return false
			}
		}
		return bare(strings.Join(parts, " ")) == bare(text)
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	spaced := func(words []uint8, size uint8) bool {
		var b strings.Builder
		for _, w := range words {
			b.WriteString(strings.Repeat("x", int(w%9)) + strings.Repeat(" ", int(w%3)))
		}
		return property(b.String(), size)
	}
	if err := quick.Check(spaced, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

func TestVector(t *testing.T) {
	t.Parallel()
	length := func(v []float32) float64 {
		var s float64
		for _, x := range v {
			s += float64(x) * float64(x)
		}
		return math.Sqrt(s)
	}
	dot := func(a, b []float32) float64 {
		var s float64
		for i := range a {
			s += float64(a[i]) * float64(b[i])
		}
		return s
	}
	for _, text := range []string{"", "!?", "one", "Invoice export rounds to the wrong cent", strings.Repeat("word other ", 500)} {
		v := embedserver.Vector(text, 32)
		if len(v) != 32 || math.Abs(length(v)-1) > 1e-6 {
			t.Errorf("vector of %.20q has %d components and length %f", text, len(v), length(v))
		}
		if diff := cmp.Diff(v, embedserver.Vector(text, 32)); diff != "" {
			t.Errorf("vector of %.20q is not the same twice", text)
		}
	}
	a, b := embedserver.Vector("Payment retry, charges twice!", 32), embedserver.Vector("charges twice payment RETRY", 32)
	if s := dot(a, b); s < 0.999 {
		t.Errorf("the same words in another order: similarity %f, want 1", s)
	}
	if s := dot(a, embedserver.Vector("the quiet hours of the push channel", 32)); s > 0.8 {
		t.Errorf("other words: similarity %f", s)
	}
}
