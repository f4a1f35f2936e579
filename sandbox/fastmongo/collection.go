package fastmongo

import (
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// collection is what a namespace holds.
type collection interface {
	// count is the number of documents; size the bytes they take.
	count() int
	size() int64
	// within is the number of documents inside the bounds, or false if that takes reading them.
	within(b bounds) (int, bool)
	// walk begins a scan.
	walk(b bounds, o order) (walk, error)
	// sample returns n documents, all different, at random; all of them if there are fewer.
	sample(n int) []bsoncore.Document
}

// order is that of a scan.
type order int

const (
	natural    order = iota // of insertion
	backward                // against that of insertion
	ascending               // by _id
	descending              // by _id
)

// walk is the position of a scan. It is used by one goroutine at a time.
type walk interface {
	// each visits rows from where the last call stopped, until visit says to stop. It returns true at the end.
	each(visit func(*row) verdict) (end bool, err error)
}

// verdict is a visitor's word about a row.
type verdict int

const (
	goOn       verdict = iota
	stopBehind         // this row is done with
	stopBefore         // this row comes again at the next call
)

// row is one document during its visit: nothing of it is valid afterwards.
type row struct {
	id  value
	doc bsoncore.Document // nil until asked for, in a collection that makes them up

	from    *generatedWalk
	ordinal int
}

// document loads the document.
func (r *row) document() bsoncore.Document {
	if r.doc == nil {
		r.doc = r.from.document(r.ordinal)
	}
	return r.doc
}

// nothing is a walk through a collection that does not exist.
type nothing struct{}

func (nothing) each(func(*row) verdict) (bool, error) { return true, nil }
