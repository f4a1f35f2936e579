package mapping

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// canCollide is collisions for two languages, by walking the product of their two automata.
func canCollide(a, b []symbol) bool {
	type state struct{ i, j int }
	seen := make(map[state]bool)
	todo := []state{{0, 0}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[s] {
			continue
		}
		seen[s] = true
		if s.i == len(a) && s.j == len(b) {
			return true
		}
		if s.i < len(a) && a[s.i].repeat {
			todo = append(todo, state{s.i + 1, s.j})
		}
		if s.j < len(b) && b[s.j].repeat {
			todo = append(todo, state{s.i, s.j + 1})
		}
		if s.i < len(a) && s.j < len(b) && a[s.i].meets(b[s.j]) {
			next := s
			if !a[s.i].repeat {
				next.i++
			}
			if !b[s.j].repeat {
				next.j++
			}
			if next != s {
				todo = append(todo, next)
			}
		}
	}
	return false
}

// languagesOf compiles seeds; {content_type} is the name.
func languagesOf(t testing.TB, seeds ...string) [][]symbol {
	t.Helper()
	out := make([][]symbol, len(seeds))
	for i, s := range seeds {
		tmpl, err := compile(s, nil)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		out[i] = tmpl.language()
	}
	return out
}

// TestCollisionsAgreeWithPairs compares with what every two of the languages say: each that collides is in one set, whose
// languages all collide with another of it, and the pair that is named does collide.
func TestCollisionsAgreeWithPairs(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	pieces := []string{"{id}", "{chunk_index}", "{fields.a}", "a", "b", "1", "/", "ab", "a", "/"}
	for range 3000 {
		seeds := make([]string, 1+r.IntN(7))
		for i := range seeds {
			id, length := r.IntN(4), r.IntN(6)
			for k := range max(id, length) + 1 {
				if k == id {
					seeds[i] += "{id}"
				} else {
					seeds[i] += pieces[r.IntN(len(pieces))]
				}
			}
		}
		languages := languagesOf(t, seeds...)
		want := map[int]bool{}
		for j := range languages {
			for i := range j {
				if canCollide(languages[i], languages[j]) {
					want[i], want[j] = true, true
				}
			}
		}
		found, _ := collisions(languages)
		got := map[int]bool{}
		for _, c := range found {
			if c.a >= c.b || !canCollide(languages[c.a], languages[c.b]) || !slices.Contains(c.all, c.a) || !slices.Contains(c.all, c.b) || !slices.IsSorted(c.all) {
				t.Fatalf("seed %d, %q: %+v", seed, seeds, c)
			}
			for _, i := range c.all {
				if got[i] || !slices.ContainsFunc(c.all, func(j int) bool { return i != j && canCollide(languages[i], languages[j]) }) {
					t.Fatalf("seed %d, %q: %d in %+v", seed, seeds, i, c)
				}
				got[i] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("seed %d, %q: %s", seed, seeds, diff)
		}
	}
}

// TestOneCollisionPerCause counts the findings: collections that share a content type are one cause, however many they are.
func TestOneCollisionPerCause(t *testing.T) {
	for _, c := range []struct {
		name  string
		seeds []string
		want  []collision
	}{
		{"none", []string{"{id}/a", "{id}/b"}, nil},
		{"one type", []string{"{id}/a", "{id}/b", "{id}/a", "{id}/a"}, []collision{{0, 2, []int{0, 2, 3}}}},
		{"two types", []string{"{id}/a", "{id}/b", "{id}/b", "{id}/a"}, []collision{{0, 3, []int{0, 3}}, {1, 2, []int{1, 2}}}},
		{"one that swallows all", []string{"{id}/a", "{id}/b", "{id}", "{id}/c"}, []collision{{0, 2, []int{0, 1, 2, 3}}}},
		{"the first that swallows all", []string{"{id}", "{id}/b", "{id}/c"}, []collision{{0, 1, []int{0, 1, 2}}}},
		{"a name that ends another's", []string{"{id}/x/a", "{id}/a", "{id}/b"}, []collision{{0, 1, []int{0, 1}}}},
		{"the same ends without separators", []string{"{id}page", "{id}homepage", "{id}epic"}, []collision{{0, 1, []int{0, 1}}}},
		{"a chunk against a literal", []string{"{id}/{chunk_index}", "{id}/7", "{id}/x"}, []collision{{0, 1, []int{0, 1}}}},
	} {
		got, _ := collisions(languagesOf(t, c.seeds...))
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(collision{})); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// hardSeeds are mappings of n collections, among them those that cost most.
func hardSeeds(n int) map[string][]string {
	out := map[string][]string{}
	for name, form := range map[string]string{
		"default":             "{id}/t%d/{chunk_index}",
		"one type":            "{id}/t/{chunk_index}%.0d",
		"no separators":       "{id}t%d{chunk_index}",
		"collection in front": "c%d/{id}/{chunk_index}",
		"both ends":           "c%[1]d/{id}/c%[1]d",
		"fields":              "{fields.a}/{id}/t%d-{fields.b}/{chunk_index}",
		"numbers at the end":  "{id}/%d",
	} {
		for i := range n {
			out[name] = append(out[name], fmt.Sprintf(form, i))
		}
	}
	for i := range n / 2 {
		out["either way"] = append(out["either way"], fmt.Sprintf("{id}-c%d", i), fmt.Sprintf("c%d-{id}", i))
	}
	out["one that swallows all"] = append(slices.Clone(out["default"]), "{id}")
	return out
}

// TestCollisionsTakeLinearWork counts the steps, not the time.
func TestCollisionsTakeLinearWork(t *testing.T) {
	const n = 2000
	for name, seeds := range hardSeeds(n) {
		symbols := 0
		languages := languagesOf(t, seeds...)
		for _, l := range languages {
			symbols += len(l)
		}
		if _, steps := collisions(languages); steps > 4*symbols {
			t.Errorf("%s: %d steps for %d symbols", name, steps, symbols)
		}
	}
}

func BenchmarkCollisions(b *testing.B) {
	for name, seeds := range hardSeeds(10_000) {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			languages := languagesOf(b, seeds...)
			for b.Loop() {
				collisions(languages)
			}
		})
	}
}
