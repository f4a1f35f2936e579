package syncd

import (
	"context"
	"io"
	"iter"
)

// Source reads documents. The engine calls Plan once per collection, then Scan once or more per split, with Fetch between.
// All methods but Close are safe for concurrent use; Close is called once, after every other call has returned.
type Source interface {
	// Plan divides the collection into disjoint splits, in key order, that together cover every document it holds
	// when Plan is called; an empty collection may have one or none. Splits may be yielded before all are known, and the
	// engine starts on them at once. A collection that does not exist is one ErrCollectionNotFound; after any error the
	// sequence ends. This sequence and those of Scan and Fetch are iterated once.
	Plan(ctx context.Context, c Collection) iter.Seq2[Split, error]

	// Scan yields the records of one split in batches, in key order, strictly after req.After. A batch has at least
	// one and at most req.BatchSize records and ends early at about req.BatchBytes of documents. The batch belongs to
	// the caller, who may keep it while later batches are read. Without req.Documents a record carries only its key,
	// its id text and the fields asked for. One unreadable document is a record with Err; an error ends the scan. The
	// sequence ends with the split or, with ctx's error, when ctx ends; the engine may also stop reading at any time. A
	// collection that is gone by now has no records.
	Scan(ctx context.Context, req ScanRequest) iter.Seq2[[]Record, error]

	// Fetch yields the whole documents of the given keys, all different, of one collection, each at most once, in any
	// order. A key that is not yielded was deleted meanwhile (or no longer matches the filter). An error ends the
	// sequence, ctx's too: it never ends early in silence.
	Fetch(ctx context.Context, c Collection, keys []Key) iter.Seq2[Fetched, error]

	io.Closer
}

// Split is a half-open range of one collection's keys: the unit of work and of resume.
type Split struct {
	Collection Collection
	Index      int // position in the plan, from 0
	Lower      Key // inclusive; empty means from the start
	Upper      Key // exclusive; empty means to the end
}

// ScanRequest says what a scan reads.
type ScanRequest struct {
	Split      Split
	After      Key      // exclusive start inside the split, for resuming; empty means from its lower bound
	Fields     []string // dotted paths that each record must carry
	Documents  bool     // carry whole documents
	BatchSize  int      // records per batch, at least 1
	BatchBytes int      // bytes of documents per batch, about; 0 means no limit; without Documents it means nothing
}

// Fetched is one document that Fetch found, and the index of its key in the request.
type Fetched struct {
	Index    int
	Document Document
}

// Counter is implemented by a source that can count exactly, at the cost of walking the collection's keys if need be. The
// engine compares the count with what a scan saw. A collection that does not exist is ErrCollectionNotFound.
type Counter interface {
	Count(ctx context.Context, c Collection) (int64, error)
}

// Estimator is implemented by a source that also knows a collection's size at once, from its own records, right unless
// something went wrong. ok is false where it can't tell, as with a filter. A collection that does not exist is
// ErrCollectionNotFound.
type Estimator interface {
	EstimateCount(ctx context.Context, c Collection) (n int64, ok bool, err error)
}

// Finder is implemented by a source that can find documents by the text of their ids.
type Finder interface {
	// Find returns, aligned with ids, the key of a document of the collection whose id has that text, or "" where
	// there is none. Ids of different types may share a text ("42"); any of them will do. An error means that
	// nothing is known about any id. A collection that does not exist is ErrCollectionNotFound, and no id of it is
	// missing: whoever asks may be about to delete what can't be found.
	Find(ctx context.Context, c Collection, ids []string) ([]Key, error)
}

// Identifier is implemented by a source that can tell whether a collection is still the one that it was, so that the keys
// and splits of an earlier run mean the same now.
type Identifier interface {
	// Identity is a text that changes when keys made before lose their meaning: the collection was dropped and made again,
	// the file was replaced. New, changed and deleted documents do not change it where keys outlive them. It is "" where
	// the source can't tell. A collection that does not exist is ErrCollectionNotFound.
	Identity(ctx context.Context, c Collection) (string, error)
}

// CollectionLister is implemented by a source that can name the collections it holds, for hints about misspelt ones.
type CollectionLister interface {
	Collections(ctx context.Context) ([]string, error)
}

// DatabaseNamer is implemented by a source's config type when the source reads from a named database; the name appears
// in events, topics and seeds. It must not connect.
type DatabaseNamer interface {
	DatabaseName() string
}

// FilterChecker is implemented by a source's config type when collections may have filters; it returns why the filter,
// as Extended JSON text, is not one that the source understands. It must not connect. Without it filters are refused.
type FilterChecker interface {
	CheckFilter(filter string) error
}
