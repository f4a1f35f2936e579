package mongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// projection asks for the _id and the fields at the given dotted paths, and nothing else. With no fields the server can
// answer from the _id index alone (a covered query).
//
// The server refuses a path together with one that begins with it ("a" and "a.b": error 31249, path collision), so only
// the shortest paths are asked for. A projection can't address array elements by position, so a path ends before its
// first number.
func projection(fields []string) bson.D {
	paths := []string{"_id"}
	for _, f := range fields {
		paths = append(paths, beforeNumber(f))
	}
	slices.SortStableFunc(paths[1:], func(a, b string) int { return len(a) - len(b) })
	var out bson.D
	for _, p := range paths {
		covered := slices.ContainsFunc(out, func(e bson.E) bool {
			return p == e.Key || strings.HasPrefix(p, e.Key+".")
		})
		if !covered {
			out = append(out, bson.E{Key: p, Value: 1})
		}
	}
	return out
}

func beforeNumber(path string) string {
	for i := strings.IndexByte(path, '.'); i >= 0; {
		part, _, _ := strings.Cut(path[i+1:], ".")
		if part != "" && strings.Trim(part, "0123456789") == "" {
			return path[:i]
		}
		next := strings.IndexByte(path[i+1:], '.')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return path
}
