package fastmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// cut is a place between ids: before or behind all that equal a value, or before or behind all of a type's rank.
type cut struct {
	at     value
	rank   int // where at is missing
	behind bool
}

func before(v value) cut { return cut{at: v} }
func behind(v value) cut { return cut{at: v, behind: true} }

// precedes reports whether id lies before the cut.
func (c cut) precedes(id value) bool {
	if c.at.Type == 0 {
		r := rank(id)
		return r < c.rank || (r == c.rank && c.behind)
	}
	n := compare(id, c.at)
	return n < 0 || (n == 0 && c.behind)
}

// bounds says which ids a scan visits: those behind every lower cut and before every upper one and, if points is not nil,
// only those that equal one of them.
type bounds struct {
	lower, upper []cut
	points       []value // sorted, no two equal
}

// search returns the range of positions that lie within the cuts, of n ids in order.
func (b bounds) search(n int, id func(int) value) (start, end int) {
	end = n
	for _, c := range b.lower {
		start = max(start, searchIDs(n, id, c))
	}
	for _, c := range b.upper {
		end = min(end, searchIDs(n, id, c))
	}
	return start, max(start, end)
}

// searchIDs is the number of ids before the cut.
func searchIDs(n int, id func(int) value, c cut) int {
	low, high := 0, n
	for low < high {
		middle := int(uint(low+high) >> 1)
		if c.precedes(id(middle)) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (b bounds) holds(id value) bool {
	for _, c := range b.lower {
		if c.precedes(id) {
			return false
		}
	}
	for _, c := range b.upper {
		if !c.precedes(id) {
			return false
		}
	}
	return true
}

// intersectPoints keeps those of b's points that are among the others; nil stands for all values.
func (b *bounds) intersectPoints(points []value) {
	points = append([]value{}, points...) // not nil, even if empty
	slices.SortFunc(points, compare)
	points = slices.CompactFunc(points, func(x, y value) bool { return compare(x, y) == 0 })
	if b.points == nil {
		b.points = points
		return
	}
	b.points = slices.DeleteFunc(b.points, func(v value) bool {
		_, found := slices.BinarySearchFunc(points, v, compare)
		return !found
	})
}

func sameAs(v value, points []value) bool {
	return slices.ContainsFunc(points, func(p value) bool { return compare(v, p) == 0 })
}

var (
	minKey = value{Type: bsoncore.TypeMinKey}
	maxKey = value{Type: bsoncore.TypeMaxKey}
)
