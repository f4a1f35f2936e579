package fastmongo

import (
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// filter is a compiled query. A document matches if its _id lies within bounds and all conditions hold.
type filter struct {
	bounds bounds
	byID   []func(id value) bool // conditions on the whole _id, beyond what bounds say
	byDoc  []func(doc bsoncore.Document) bool
	inKeys int  // values that an $in on _id named
	usesID bool // some condition can use the _id index
}

// exact reports that bounds say it all.
func (f *filter) exact() bool { return len(f.byID)+len(f.byDoc) == 0 }

func (f *filter) matchID(id value) bool {
	for _, c := range f.byID {
		if !c(id) {
			return false
		}
	}
	return true
}

func (f *filter) matchDoc(doc bsoncore.Document) bool {
	for _, c := range f.byDoc {
		if !c(doc) {
			return false
		}
	}
	return true
}

// match is for documents that did not come from a scan within bounds.
func (f *filter) match(doc bsoncore.Document) bool {
	id := lookup(doc, "_id")
	return (f.bounds.points == nil || sameAs(id, f.bounds.points)) && f.bounds.holds(id) && f.matchID(id) && f.matchDoc(doc)
}

// compileFilter compiles a query; nil matches everything.
func compileFilter(query bsoncore.Document) (*filter, error) {
	f := &filter{}
	return f, f.add(query)
}

// add makes f the conjunction of itself and a query.
func (f *filter) add(query bsoncore.Document) error {
	for rest := body(query); ; {
		e, ok := nextElement(&rest)
		if !ok {
			return nil
		}
		if err := f.addElement(e.Key(), e.Value()); err != nil {
			return err
		}
	}
}

func (f *filter) addElement(key string, v value) error {
	switch key {
	case "$comment":
		return nil
	case "$and", "$or", "$nor":
		parts, err := queries(key, v)
		if err != nil {
			return err
		}
		if key == "$and" {
			for _, q := range parts {
				if err := f.add(q); err != nil {
					return err
				}
			}
			return nil
		}
		subs := make([]*filter, len(parts))
		for i, q := range parts {
			if subs[i], err = compileFilter(q); err != nil {
				return err
			}
		}
		f.byDoc = append(f.byDoc, func(doc bsoncore.Document) bool {
			for _, s := range subs {
				if s.match(doc) {
					return key == "$or"
				}
			}
			return key == "$nor"
		})
		return nil
	}
	if strings.HasPrefix(key, "$") {
		return fail(codeBadValue, "unknown top level operator: %s", key)
	}
	tests, err := compileTests(key, v)
	if err != nil {
		return err
	}
	for _, t := range tests {
		if key == "_id" {
			f.addID(t)
			continue
		}
		path := strings.Split(key, ".")
		f.byDoc = append(f.byDoc, func(doc bsoncore.Document) bool { return t.holds(doc, path) })
	}
	return nil
}

func queries(operator string, v value) ([]bsoncore.Document, error) {
	if v.Type != bsoncore.TypeArray {
		return nil, fail(codeBadValue, "%s must be an array", operator)
	}
	var out []bsoncore.Document
	for rest := body(v.Data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		d, ok := e.Value().DocumentOK()
		if !ok {
			return nil, fail(codeBadValue, "%s entries need to be full objects", operator)
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, fail(codeBadValue, "%s must be a nonempty array", operator)
	}
	return out, nil
}

// addID adds a condition on _id: as bounds where those say the same, else as a test beside them.
func (f *filter) addID(t test) {
	f.usesID = f.usesID || t.points != nil || t.lower != nil || t.upper != nil
	if t.points != nil {
		f.bounds.intersectPoints(t.points)
		f.inKeys += t.inKeys
		return
	}
	if t.lower != nil {
		f.bounds.lower = append(f.bounds.lower, *t.lower)
	}
	if t.upper != nil {
		f.bounds.upper = append(f.bounds.upper, *t.upper)
	}
	if t.lower == nil || t.upper == nil || !t.tight {
		f.byID = append(f.byID, func(id value) bool { return t.leaf(id) != t.negated })
	}
}

// test is one operator on one field.
type test struct {
	leaf    func(v value) bool // for a value of the field; a missing field is the zero value
	negated bool               // holds if leaf is true for no value rather than for any
	whole   bool               // an array is looked at as a value only, not by its elements

	// What an index on the field can do with it: visit only these values, or only what lies between two cuts, which is the
	// same as leaf if tight.
	points       []value
	inKeys       int
	lower, upper *cut
	tight        bool
}

// holds applies the test to the values that a path leads to. Arrays on the way are looked into, as MongoDB does.
func (t test) holds(doc bsoncore.Document, path []string) bool {
	found := t.leaf
	if !t.whole {
		found = func(v value) bool {
			if t.leaf(v) {
				return true
			}
			if v.Type == bsoncore.TypeArray {
				for rest := body(v.Data); ; {
					e, ok := nextElement(&rest)
					if !ok {
						break
					}
					if t.leaf(e.Value()) {
						return true
					}
				}
			}
			return false
		}
	}
	return reach(value{Type: bsoncore.TypeEmbeddedDocument, Data: doc}, path, found) != t.negated
}

// reach reports whether found is true for any value at the path.
func reach(v value, path []string, found func(value) bool) bool {
	if len(path) == 0 {
		return found(v)
	}
	switch v.Type {
	case bsoncore.TypeEmbeddedDocument:
		return reach(lookup(v.Data, path[0]), path[1:], found)
	case bsoncore.TypeArray:
		if _, err := strconv.Atoi(path[0]); err == nil {
			if at := lookup(v.Data, path[0]); at.Type != 0 && reach(at, path[1:], found) {
				return true
			}
		}
		for rest := body(v.Data); ; {
			e, ok := nextElement(&rest)
			if !ok {
				return false
			}
			if in := e.Value(); in.Type == bsoncore.TypeEmbeddedDocument && reach(in, path, found) {
				return true
			}
		}
	}
	return found(value{})
}
