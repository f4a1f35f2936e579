package fastmongo

import (
	"bytes"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// sortOrder reads a sort: by _id alone an index gives it, by anything else it is made.
func sortOrder(sort bsoncore.Document) (order, sorting, error) {
	var by sorting
	for rest := body(sort); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		n, number := toInt(e.Value()), e.Value().IsNumber()
		if e.Key() == "$natural" {
			if n < 0 {
				return backward, nil, nil
			}
			continue
		}
		if !number || (n != 1 && n != -1) {
			return natural, nil, fail(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")
		}
		by = append(by, sortKey{path: strings.Split(e.Key(), "."), down: n < 0})
	}
	switch {
	case len(by) == 0:
		return natural, nil, nil
	case len(by[0].path) == 1 && by[0].path[0] == "_id" && by[0].down:
		return descending, nil, nil // _id is unique, whatever follows
	case len(by[0].path) == 1 && by[0].path[0] == "_id":
		return ascending, nil, nil
	}
	return natural, by, nil
}

type sorting []sortKey

type sortKey struct {
	path []string
	down bool
}

// compare looks at one value per key; MongoDB looks for the least or greatest element where that is an array.
func (s sorting) compare(a, b bsoncore.Document) int {
	for _, k := range s {
		c := compare(dig(a, k.path), dig(b, k.path))
		if k.down {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func dig(doc bsoncore.Document, path []string) value {
	v := lookup(doc, path[0])
	for _, name := range path[1:] {
		if v.Type != bsoncore.TypeEmbeddedDocument {
			return value{}
		}
		v = lookup(v.Data, name)
	}
	return v
}

// mostSorted bounds what is sorted in memory, as MongoDB does with 100 MB.
const mostSorted = 100 << 20

// sorted replaces the cursor's walk by one through the sorted documents.
func (s *Server) sorted(c *cursor, by sorting) error {
	docs, err := s.collect(&cursor{walk: c.walk, filter: c.filter, keys: c.keys})
	if err != nil {
		return err
	}
	slices.SortStableFunc(docs, by.compare)
	c.walk, c.filter, c.keys = &results{docs}, nil, false
	return nil
}

// collect reads a cursor into memory.
func (s *Server) collect(c *cursor) ([]bsoncore.Document, error) {
	var docs []bsoncore.Document
	size := 0
	err := c.documents(&s.count, func(d bsoncore.Document) bool {
		docs = append(docs, bytes.Clone(d))
		size += len(d)
		return size <= mostSorted
	})
	if err == nil && size > mostSorted {
		err = fail(292, "this takes more memory than %d bytes", mostSorted)
	}
	return docs, err
}
