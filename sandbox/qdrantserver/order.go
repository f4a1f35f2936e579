package qdrantserver

import (
	"slices"
	"sort"
)

// idOrder keeps the ids of a collection sorted for Scroll. Sorting is put off until somebody scrolls: loading
// points stays as cheap as a map insert, and a page costs a binary search and not a sort. The collection's lock
// guards it.
type idOrder struct {
	sorted []pointID
	added  []pointID // not merged yet
	dead   int       // at most this many ids of sorted have been deleted
}

func (o *idOrder) add(id pointID) { o.added = append(o.added, id) }

func (o *idOrder) remove() { o.dead++ }

// stale reports whether ids must be merged before the next page. Deleted ids may stay, since a page skips them,
// until they are most of what it reads.
func (o *idOrder) stale() bool {
	return len(o.added) > 0 || o.dead > 1024 && o.dead > len(o.sorted)/2
}

// merge brings the order up to date; alive tells which ids still exist.
func (o *idOrder) merge(alive func(pointID) bool) {
	slices.SortFunc(o.added, compareIDs)
	merged := make([]pointID, 0, len(o.sorted)+len(o.added))
	appendOnce := func(id pointID) {
		// An id that was deleted and came back is in both lists.
		if n := len(merged); n > 0 && merged[n-1] == id {
			return
		}
		if o.dead == 0 || alive(id) {
			merged = append(merged, id)
		}
	}
	old, added := o.sorted, o.added
	for len(old) > 0 && len(added) > 0 {
		if compareIDs(old[0], added[0]) <= 0 {
			appendOnce(old[0])
			old = old[1:]
		} else {
			appendOnce(added[0])
			added = added[1:]
		}
	}
	for _, id := range old {
		appendOnce(id)
	}
	for _, id := range added {
		appendOnce(id)
	}
	*o = idOrder{sorted: merged}
}

// from is all ids that are not smaller than the offset.
func (o *idOrder) from(offset *pointID) []pointID {
	if offset == nil {
		return o.sorted
	}
	at := sort.Search(len(o.sorted), func(i int) bool { return compareIDs(o.sorted[i], *offset) >= 0 })
	return o.sorted[at:]
}
