package config

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/knadh/koanf/v2"

	"github.com/syncd-io/syncd/spec"
)

// TestMergeAgreesWithKoanf merges random layers of plain values with koanf alone and compares. Sections of plugins are left
// out, since choosing another plugin is more than merging.
func TestMergeAgreesWithKoanf(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 2000 {
		var layers []*spec.Node
		plain := koanf.New(separator)
		for i := range 1 + r.IntN(4) {
			n := randomBlock(r, i, 0)
			layers = append(layers, n)
			if err := plain.Load(mapProvider(plainOf(n).(map[string]any)), nil); err != nil {
				t.Fatal(err)
			}
		}
		root, _, err := merge(layers)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain.Raw(), plainOf(root)); diff != "" {
			t.Fatalf("seed %d (-koanf +ours):\n%s", seed, diff)
		}
		checkPlaces(t, root, layers)
	}
}

func randomBlock(r *rand.Rand, layer, depth int) *spec.Node {
	n := &spec.Node{Kind: spec.Map, Pos: randomPos(r, layer)}
	for _, i := range r.Perm(4)[:r.IntN(5)] {
		var v *spec.Node
		switch kind := r.IntN(5); {
		case kind < 2 && depth < 3:
			v = randomBlock(r, layer, depth+1)
		case kind == 2:
			v = &spec.Node{Kind: spec.List, Pos: randomPos(r, layer)}
			for range r.IntN(3) {
				v.Items = append(v.Items, randomScalar(r, layer))
			}
		default:
			v = randomScalar(r, layer)
		}
		v.Key = randomPos(r, layer)
		n.Entries = append(n.Entries, spec.Entry{Name: []string{"a", "b.c", "d/e", "é"}[i], Value: v})
	}
	return n
}

func randomPos(r *rand.Rand, layer int) spec.Pos {
	return spec.Pos{Source: fmt.Sprint("layer ", layer), Line: 1 + r.IntN(1000), Column: 1 + r.IntN(100)}
}

func randomScalar(r *rand.Rand, layer int) *spec.Node {
	n := &spec.Node{Kind: spec.Scalar, Pos: randomPos(r, layer), Text: fmt.Sprint(r.IntN(100))}
	if r.IntN(10) == 0 {
		n.Type, n.Text = spec.Null, ""
	}
	return n
}

// plainOf gives the tree as koanf's users would load it.
func plainOf(n *spec.Node) any {
	switch {
	case n.Kind == spec.Map:
		out := map[string]any{}
		for _, e := range n.Entries {
			out[e.Name] = plainOf(e.Value)
		}
		return out
	case n.Kind == spec.List:
		out := []any{}
		for _, item := range n.Items {
			out = append(out, plainOf(item))
		}
		return out
	case n.Type == spec.Null:
		return nil
	}
	return n.Text
}

// checkPlaces checks that every value is where the last layer that has its path set it.
func checkPlaces(t *testing.T, root *spec.Node, layers []*spec.Node) {
	t.Helper()
	var walk func(n *spec.Node, path []string)
	walk = func(n *spec.Node, path []string) {
		for _, e := range n.Entries {
			p := append(path[:len(path):len(path)], e.Name)
			for i := len(layers) - 1; i >= 0; i-- {
				if set, whole := layers[i].Nearest(p); whole {
					if e.Value.Pos != set.Pos || e.Value.Key != set.Key {
						t.Errorf("%v is at %s and %s, but was set at %s and %s", p, e.Value.Key, e.Value.Pos, set.Key, set.Pos)
					}
					break
				}
			}
			walk(e.Value, p)
		}
	}
	walk(root, nil)
}
