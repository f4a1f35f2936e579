package syncd

import (
	"context"
	"io"
	"iter"
)

// Source reads documents. The engine calls Splits once per collection, then Read once or more per split, with Fetch between.
// All methods but Close are safe for concurrent use; Close is called once, after every other call has returned. No call
// outlives the context that it was given. Errors say what was done, and to which collection ("counting collection page: …").
type Source interface {
	// Splits divides the collection into disjoint splits, in key order, that together cover every document it holds
	// when Splits is called; an empty collection may have one or none. Splits may be yielded before all are known, and the
	// engine starts on them at once. A collection that does not exist is one ErrCollectionNotFound; after any error the
	// sequence ends. This sequence and those of Read and Fetch are iterated once.
	Splits(ctx context.Context, c Collection) iter.Seq2[Split, error]

	// Read yields the changes of one split in batches, in key order, strictly behind req.After. A batch has at least
	// one and at most req.BatchSize changes and ends early at about req.BatchBytes of documents. The batch belongs to
	// the caller, who may keep it while later batches are read. Without req.Documents a change carries only its key,
	// its id text and the fields asked for. One unreadable document is a change with Err; an error ends the sequence. The
	// sequence ends with the split or, with ctx's error, when ctx ends; the engine may also stop reading at any time. A
	// collection that is gone by now has no changes.
	Read(ctx context.Context, req ReadRequest) iter.Seq2[Batch, error]

	// Fetch yields the whole documents of the given keys, all different, of one collection, each at most once, in any
	// order. A key that is not yielded was deleted meanwhile (or no longer matches the filter). An error ends the
	// sequence, ctx's too: it never ends early in silence.
	Fetch(ctx context.Context, c Collection, keys []Key) iter.Seq2[Fetched, error]

	// Abilities says what the source can do beyond this. It returns the same for as long as the source is open.
	Abilities() SourceAbilities

	io.Closer
}

// SourceAbilities is what a source can do beyond its methods: a nil function is an ability that it lacks. The functions are
// safe for concurrent use unless they say otherwise. A decorator passes on all of them.
type SourceAbilities struct {
	// Count counts exactly, at the cost of walking the collection's keys if need be. The engine compares the count with what
	// a read saw. A collection that does not exist is ErrCollectionNotFound.
	Count func(ctx context.Context, c Collection) (int64, error)

	// Estimate tells a collection's size at once, from the source's own records, right unless something went wrong. ok is
	// false where it can't tell, as with a filter. A collection that does not exist is ErrCollectionNotFound.
	Estimate func(ctx context.Context, c Collection) (n int64, ok bool, err error)

	// Find finds documents by the text of their ids. It returns, aligned with ids, the key of a document of the collection
	// whose id has that text, or "" where there is none. Ids of different types may share a text ("42"); any of them will
	// do. An error means that nothing is known about any id. A collection that does not exist is ErrCollectionNotFound, and
	// no id of it is missing: whoever asks may be about to delete what can't be found.
	Find func(ctx context.Context, c Collection, ids []string) ([]Key, error)

	// FindAll is Find for all documents that share an id's text: aligned with ids, every document of the collection whose id has
	// that text, as often as the source holds it. There are several where ids of different types have one text, or where the
	// source holds one id more than once (on two shards, in a view). An error means that nothing is known about any id.
	FindAll func(ctx context.Context, c Collection, ids []string) ([][]FoundID, error)

	// Identity is a text that changes when keys made before lose their meaning: the collection was dropped and made again,
	// the file was replaced. New, changed and deleted documents do not change it where keys outlive them. It is "" where
	// the source can't tell. A collection that does not exist is ErrCollectionNotFound.
	Identity func(ctx context.Context, c Collection) (string, error)

	// Collections names the collections that the source holds, for hints about misspelt ones.
	Collections func(ctx context.Context) ([]string, error)

	// Stream is there where the source can be followed.
	Stream *Streaming

	// Divide returns a key that divides what is left of a snapshot's split behind an offset into two parts, each of which has a quarter of
	// its documents at least; "" where that is not worth it, or not possible. The part before the key is read as the split was, with
	// the key as its Upper, and the part from it on as a split with the key as its Lower.
	Divide func(ctx context.Context, s Split, after Offset) (Key, error)

	// Probe looks whether a run would find what it needs; see [Probe].
	Probe Probe
}

// FoundID is the id of a document that FindAll found.
type FoundID struct {
	Key  Key
	Text string // in the source's own notation, which tells ids of different types apart
}

// Collection names a collection of a source and the part of it that a run reads.
type Collection struct {
	Name   string
	Filter string // a query in the source's language, as text: Extended JSON, or an SQL expression; empty means every document
}

// Split is the unit of work and of resume: a half-open range of one collection's keys, or a stream.
type Split struct {
	Collection Collection
	Index      int // among the collection's splits, from 0
	Lower      Key // inclusive; empty means from the start
	Upper      Key // exclusive; empty means to the end

	Stream *Stream // not nil: a stream, and the other fields are empty; see [Streaming]
}

// Offset is a position inside a split, behind some of its changes. It is opaque to all but the source that made it, and
// stable across runs of one version. The empty offset is before the first change.
type Offset string

// ReadRequest says what a read yields.
type ReadRequest struct {
	Split      Split
	After      Offset   // for resuming; empty means from the split's start
	Fields     []string // dotted paths that each change must carry
	Documents  bool     // carry whole documents
	BatchSize  int      // changes per batch, at least 1
	BatchBytes int      // bytes of documents per batch, about; 0 means no limit; without Documents it means nothing
}

// Batch is some consecutive changes of a split.
type Batch struct {
	Changes []Change
	// Offset is behind the last of the changes. It is empty where nothing can be read right behind them: then they come again
	// when a read resumes, and only changes with Err may stand in such a batch if what is sent of them must be sent once.
	Offset Offset
}

// KeyedBatches divides changes in key order into batches whose offsets are the keys of their last changes, for a source that
// resumes behind keys. Changes at the end that have no key stand in a batch of their own, without an offset. It yields no empty
// batch. The batches share the memory of changes.
func KeyedBatches(changes []Change) iter.Seq[Batch] {
	return func(yield func(Batch) bool) {
		keyed := len(changes)
		for keyed > 0 && changes[keyed-1].Key == "" {
			keyed--
		}
		if keyed > 0 && !yield(Batch{Changes: changes[:keyed:keyed], Offset: Offset(changes[keyed-1].Key)}) {
			return
		}
		if keyed < len(changes) {
			yield(Batch{Changes: changes[keyed:]})
		}
	}
}

// Fetched is one document that Fetch found, and the index of its key in the request.
type Fetched struct {
	Index    int
	Document Document
}

// DatabaseNamer is implemented by a source's config type when the source reads from a named database; the name appears
// in events, topics and seeds. It must not connect.
type DatabaseNamer interface {
	DatabaseName() string
}

// FilterChecker is implemented by a source's config type when collections may have filters; it returns why the filter,
// as text, is not one that the source understands. A filter that a configuration holds as a block comes as Extended JSON. It must not connect. Without it filters are refused.
type FilterChecker interface {
	CheckFilter(filter string) error
}
