package mongo

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// listed is what listCollections tells about a collection.
func listed(kind string, options bson.D, uuid byte) bson.D {
	d := bson.D{{Key: "type", Value: kind}, {Key: "options", Value: options}, {Key: "info", Value: bson.D{}}}
	if uuid > 0 {
		d[2].Value = bson.D{{Key: "uuid", Value: bson.Binary{Subtype: 4, Data: append(make([]byte, 15), uuid)}}}
	}
	return d
}

func view(on string, stages ...any) bson.D {
	return listed("view", bson.D{{Key: "viewOn", Value: on}, {Key: "pipeline", Value: append(bson.A{}, stages...)}}, 0)
}

func TestIdentity(t *testing.T) {
	s := newStub(t)
	match := bson.D{{Key: "$match", Value: bson.D{{Key: "a", Value: 1}}}}
	s.kinds = map[string]bson.D{
		"page": listed("collection", bson.D{}, 7), "old": listed("collection", bson.D{}, 0), "series": listed("timeseries", bson.D{}, 0),
		"view": view("page"), "filtered": view("page", match), "deep": view("view"),
		"dangling": view("nowhere"), "onOld": view("old"), "loop": view("loop"),
	}
	for name := range s.kinds {
		s.set(t, name)
	}
	src := openAndClose(t, s)
	identity := func(name string) string {
		t.Helper()
		id, err := src.Identity(t.Context(), syncd.Collection{Name: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return id
	}
	const uuid = "00000000-0000-0000-0000-000000000007"
	if got := identity("page"); got != uuid {
		t.Error(got)
	}
	for _, name := range []string{"old", "series", "onOld", "loop"} {
		if got := identity(name); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	seen := map[string]string{}
	for _, name := range []string{"page", "view", "filtered", "deep", "dangling"} {
		id := identity(name)
		if other, again := seen[id]; again || id == "" {
			t.Errorf("%s and %s have the identity %q", name, other, id)
		}
		seen[id] = name
		if name != "page" && name != "dangling" && !strings.HasSuffix(id, uuid) {
			t.Errorf("%s does not tell what it shows: %q", name, id)
		}
	}
	s.mu.Lock()
	before := seen
	s.kinds["page"] = listed("collection", bson.D{}, 8)
	s.mu.Unlock()
	for _, name := range []string{"page", "view", "filtered", "deep"} {
		if id := identity(name); before[id] != "" {
			t.Errorf("%s: %q, as before its collection was made again", name, id)
		}
	}
	if _, err := src.Identity(t.Context(), syncd.Collection{Name: "absent"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("%v", err)
	}
}

func TestIdentityForThoseWhoMayOnlyList(t *testing.T) {
	s := newStub(t)
	s.kinds = map[string]bson.D{"page": listed("collection", bson.D{}, 7)}
	s.set(t, "page")
	s.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
		if only, _ := cmd.Lookup("nameOnly").BooleanOK(); name == "listCollections" && !only {
			return failure(codeUnauthorized, "Unauthorized"), false
		}
		return nil, false
	}
	src := openAndClose(t, s)
	if id, err := src.Identity(t.Context(), syncd.Collection{Name: "page"}); err != nil || id != "" {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := src.Identity(t.Context(), syncd.Collection{Name: "absent"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("%v", err)
	}
}
