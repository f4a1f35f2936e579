package fastmongo

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// description is an event's updateDescription.
type description struct {
	updated   []updatedField
	removed   []string
	truncated []truncatedArray
}

type updatedField struct {
	path    string
	to      value
	created bool
}

type truncatedArray struct {
	path string
	size int
}

func (d *description) empty() bool { return len(d.updated)+len(d.removed)+len(d.truncated) == 0 }

// size is about what the description takes.
func (d *description) size() int { return d.weight(0) + 10*len(d.removed) + 64*len(d.truncated) + 100 }

// weight is about what MongoDB writes down for it where the first bytes of each path go without saying.
func (d *description) weight(prefix int) int {
	n := 0
	for _, u := range d.updated {
		n += len(u.path) - prefix + len(u.to.Data) + 2
	}
	for _, r := range d.removed {
		n += len(r) - prefix + 3
	}
	return n + 8*len(d.truncated)
}

func (d *description) append(dst []byte) []byte {
	start, dst := bsoncore.AppendDocumentStart(dst)
	in, dst := bsoncore.AppendDocumentElementStart(dst, "updatedFields")
	for _, u := range d.updated {
		dst = append(bsoncore.AppendHeader(dst, u.to.Type, u.path), u.to.Data...)
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, in)
	in, dst = bsoncore.AppendArrayElementStart(dst, "removedFields")
	for i, r := range d.removed {
		dst = bsoncore.AppendString(appendIndex(dst, bsoncore.TypeString, i), r)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, in)
	in, dst = bsoncore.AppendArrayElementStart(dst, "truncatedArrays")
	for i, t := range d.truncated {
		var at int32
		at, dst = bsoncore.AppendDocumentStart(appendIndex(dst, bsoncore.TypeEmbeddedDocument, i))
		dst = bsoncore.AppendStringElement(dst, "field", t.path)
		dst = bsoncore.AppendInt32Element(dst, "newSize", int32(t.size))
		dst, _ = bsoncore.AppendDocumentEnd(dst, at)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, in)
	dst, _ = bsoncore.AppendDocumentEnd(dst, start)
	return dst
}

// sort puts fields in the order in which MongoDB notes what operators did: those of a document before those of the documents
// inside it, changed ones before new ones, each by name.
func (d *description) sort() {
	slices.SortStableFunc(d.updated, func(a, b updatedField) int {
		pa, pb := a.path, b.path
		for {
			ha, ra, deepA := strings.Cut(pa, ".")
			hb, rb, deepB := strings.Cut(pb, ".")
			switch {
			case deepA != deepB:
				return cmp.Compare(boolInt(deepA), boolInt(deepB))
			case !deepA:
				return cmp.Or(cmp.Compare(boolInt(a.created), boolInt(b.created)), cmp.Compare(ha, hb))
			case ha != hb:
				return cmp.Compare(ha, hb)
			}
			pa, pb = ra, rb
		}
	})
	slices.Sort(d.removed)
}

// compareInto notes how one document became another, as MongoDB does for updates by a pipeline: fields are compared while their
// names are in step; behind the first that are not, what the new one has is new, and what it lacks is removed. What is inside
// an embedded document or an array is told apart if that is shorter than the value as a whole.
func (d *description) compareInto(prefix string, before, after []byte) {
	ra, rb := body(before), body(after)
	for {
		sa, sb := ra, rb
		ea, okA := nextElement(&ra)
		eb, okB := nextElement(&rb)
		if !okA || !okB || ea.Key() != eb.Key() {
			ra, rb = sa, sb
			break
		}
		d.compareValues(prefix+ea.Key(), ea.Value(), eb.Value())
	}
	for {
		e, ok := nextElement(&ra)
		if !ok {
			break
		}
		if lookup(after, e.Key()).Type == 0 {
			d.removed = append(d.removed, prefix+e.Key())
		}
	}
	for {
		e, ok := nextElement(&rb)
		if !ok {
			break
		}
		d.updated = append(d.updated, updatedField{prefix + e.Key(), e.Value(), true})
	}
}

func (d *description) compareValues(path string, before, after value) {
	if before.Equal(after) {
		return
	}
	var inside description
	switch {
	case before.Type != after.Type:
	case before.Type == bsoncore.TypeEmbeddedDocument:
		inside.compareInto(path+".", before.Data, after.Data)
	case before.Type == bsoncore.TypeArray:
		inside.compareArrays(path, before.Data, after.Data)
	}
	if inside.empty() || inside.weight(len(path)) >= len(after.Data) {
		d.updated = append(d.updated, updatedField{path, after, false})
		return
	}
	d.updated = append(d.updated, inside.updated...)
	d.removed = append(d.removed, inside.removed...)
	d.truncated = append(d.truncated, inside.truncated...)
}

func (d *description) compareArrays(path string, before, after []byte) {
	ra, rb := body(before), body(after)
	for n := 0; ; n++ {
		ea, okA := nextElement(&ra)
		eb, okB := nextElement(&rb)
		at := path + "." + strconv.Itoa(n)
		switch {
		case !okA && !okB:
			return
		case !okB:
			d.truncated = append(d.truncated, truncatedArray{path, n})
			return
		case !okA:
			d.updated = append(d.updated, updatedField{at, eb.Value(), true})
		default:
			d.compareValues(at, ea.Value(), eb.Value())
		}
	}
}
