package qdrantserver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const someUUID = "550e8400-e29b-41d4-a716-446655440000"

func TestParseUUID(t *testing.T) {
	simple := strings.ReplaceAll(someUUID, "-", "")
	for _, text := range []string{
		someUUID, simple, "{" + someUUID + "}", "urn:uuid:" + someUUID,
		strings.ToUpper(someUUID), strings.ToUpper(simple), "{" + strings.ToUpper(someUUID) + "}", "urn:uuid:" + strings.ToUpper(someUUID),
	} {
		id, ok := parseUUID(text)
		if got := string(appendUUID(nil, id[:])); !ok || got != someUUID {
			t.Errorf("%s: got %s, %v", text, got, ok)
		}
	}
	for _, text := range []string{
		"", "42", "not-a-uuid", "{" + simple + "}", "URN:UUID:" + someUUID, "Urn:uuid:" + someUUID, "urn:uuid:" + simple,
		"x" + someUUID + "y", "{" + someUUID + ")", " " + someUUID, someUUID + " ", someUUID[:35] + "g", someUUID[:35] + "é",
		strings.Replace(someUUID, "-", "_", 1), simple[:31] + "G", "550e8400e-29b-41d4-a716-446655440000",
	} {
		if _, ok := parseUUID(text); ok {
			t.Errorf("%q is accepted", text)
		}
	}
	if _, ok := parseUUID(uuid.Nil.String()); !ok {
		t.Error("the nil UUID is refused")
	}
}

// TestHashContract has values that Qdrant documents as never changing.
func TestHashContract(t *testing.T) {
	parsed, _ := parseUUID(someUUID)
	for _, c := range []struct {
		id   pointID
		want uint64
	}{{numberID(42), 0x0fc2553f07619dd3}, {uuidID(parsed), 0xf5d0ca21ba34d504}} {
		if got := c.id.hash(); got != c.want {
			t.Errorf("%s: got %#x, want %#x", c.id, got, c.want)
		}
	}
}

func TestIDSet(t *testing.T) {
	source := rand.New(rand.NewPCG(1, 2))
	var ids []pointID
	for i := range 5000 {
		if i > 0 && source.IntN(3) == 0 {
			ids = append(ids, ids[source.IntN(i)])
		} else if source.IntN(2) == 0 {
			ids = append(ids, numberID(source.Uint64N(1000)))
		} else {
			ids = append(ids, uuidID(uuid.New()))
		}
	}
	seen, set := map[pointID]bool{}, newIDSet(ids)
	for i, id := range ids {
		if got := set.add(i); got == seen[id] {
			t.Fatalf("id %d: first is %v", i, got)
		}
		seen[id] = true
	}
}

// TestOrder compares the lazily merged order with sorting everything, over random changes.
func TestOrder(t *testing.T) {
	source := rand.New(rand.NewPCG(3, 4))
	alive := map[pointID]bool{}
	var order idOrder
	for round := range 200 {
		for range source.IntN(20) {
			id := numberID(source.Uint64N(100))
			switch {
			case !alive[id]:
				alive[id] = true
				order.add(id)
			case source.IntN(2) == 0:
				delete(alive, id)
				order.remove()
			}
		}
		if order.stale() {
			order.merge(func(id pointID) bool { return alive[id] })
		}
		offset := numberID(source.Uint64N(100))
		var got, want []pointID
		for _, id := range order.from(&offset) {
			if alive[id] {
				got = append(got, id)
			}
		}
		for id := range alive {
			if compareIDs(id, offset) >= 0 {
				want = append(want, id)
			}
		}
		slices.SortFunc(want, compareIDs)
		if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
}

func TestPaths(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", "a.b-c_1": "a.b-c_1", "a[]": "a[]", "a[0].b[][12]": "a[0].b[][12]", `"a b".c`: `"a b".c`, `"ab"`: "ab", "größe": "größe",
	} {
		path, err := parsePath(text)
		if err != nil || path.String() != want {
			t.Errorf("%s: got %v and error %v, want %s", text, path, err, want)
		}
	}
	for _, text := range []string{"", ".", "a.", ".a", "a[", "a[x]", "a[-1]", "a[+1]", "a]", "a b", `"a`, "a..b", "[]", "a[1"} {
		if path, err := parsePath(text); err == nil {
			t.Errorf("%s: got %v", text, path)
		}
	}
}
