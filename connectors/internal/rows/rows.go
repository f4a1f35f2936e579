// Package rows turns BSON documents into the changes that a source yields. The connectors share it, so that a document read
// from a server and the same document read from a dump are the same change.
//
// Invariants:
//   - the changes of a batch belong to whoever took them: nothing that the Builder does later changes them;
//   - what is added is copied, so the caller may reuse its buffers at once;
//   - a change without its document costs no allocation of its own: keys, id texts and field texts of a batch lie in one
//     string, and whole documents in a few blocks;
//   - a document that can't be read becomes a change with Err, never a change that looks like a good one; it carries the
//     document, where that is known, so that a dead letter can hold it;
//   - one without a usable _id has an Err that wraps syncd.ErrNoID and says where the document stands: nothing else names it;
//   - a document without _id, for which a source has no key, becomes a change with Err, as syncd.Batch demands of changes
//     that have no offset behind them.
package rows

import (
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/internal/text"
)

// Builder collects the changes of one read, batch by batch. It is not safe for concurrent use.
type Builder struct {
	// Place says, in an error, where the document stands that is being added. The source sets it.
	Place func() string
	// Whole says that documents are added whole even where only ids are asked for.
	Whole bool

	fields     []string
	documents  bool
	batchSize  int
	batchBytes int

	text    []byte  // keys, id texts and field texts of this batch, one after the other; reused
	entries []entry // of this batch; reused
	values  []span  // len(fields) for each entry without an error; reused
	docs    []bsondoc.Document
	bytes   int // of the documents of this batch
	blocks  blocks
}

// span is a part of Builder.text; negative when there is no text at all.
type span struct{ from, to int }

type entry struct {
	key, id span
	doc     int // its place in docs, from 1; 0 is none
	err     error
}

// New returns a Builder for the batches that req asks for.
func New(req syncd.ReadRequest) *Builder {
	return &Builder{
		fields:     req.Fields,
		documents:  req.Documents,
		batchSize:  max(req.BatchSize, 1),
		batchBytes: req.BatchBytes,
	}
}

// Pool keeps the memory of Builders that are done for those that come: a read of few documents would take more than its changes do.
// It is safe for concurrent use, and its zero value is ready.
type Pool struct{ done sync.Pool }

// New is like the function New.
func (p *Pool) New(req syncd.ReadRequest) *Builder {
	b := New(req)
	if old, ok := p.done.Get().(*Builder); ok {
		b.text, b.entries, b.values = old.text, old.entries, old.values
	}
	return b
}

// Put takes a Builder back that nobody uses any more. What it has not handed out is lost.
func (p *Pool) Put(b *Builder) {
	clear(b.entries[:cap(b.entries)]) // their errors may hold documents
	p.done.Put(&Builder{text: b.text[:0], entries: b.entries[:0], values: b.values[:0]})
}

// idAlone is what a document of nothing but its _id takes beside the value: its length, the field's type and name, and an end.
const idAlone = 4 + 1 + len("_id\x00") + 1

// Add adds a document; id is its _id, or the zero value if it has none. Nothing that is passed is kept.
func (b *Builder) Add(key []byte, id bson.RawValue, doc bson.Raw) {
	e := entry{key: b.append(key)}
	e.id, e.err = b.appendID(id)
	if e.err == nil && len(doc) > idAlone+len(id.Value) && bsondoc.Repeats(doc, "_id") {
		b.text, e.id, e.err = b.text[:e.id.from], span{}, errTwoIDs
	}
	if e.err != nil {
		e.err = b.noID(id, doc, e.err)
	} else {
		e.err = b.appendFields(doc)
	}
	if b.documents || b.Whole && e.err != nil {
		b.docs = append(b.docs, bsondoc.NewDocument(b.blocks.copy(doc)))
		e.doc = len(b.docs)
		b.bytes += len(doc)
	}
	b.entries = append(b.entries, e)
}

// Fail adds a change for a document that can't be read at all; err says where it stands.
func (b *Builder) Fail(key []byte, err error) {
	b.entries = append(b.entries, entry{key: b.append(key), err: &noIDError{err}})
}

// Len returns how many changes the batch has.
func (b *Builder) Len() int { return len(b.entries) }

// Full reports whether the batch is as large as it may be.
func (b *Builder) Full() bool {
	return len(b.entries) >= b.batchSize || b.batchBytes > 0 && b.bytes >= b.batchBytes
}

// Take returns the changes of the batch and starts the next one.
func (b *Builder) Take() []syncd.Change {
	all := string(b.text)
	cut := func(s span) string { return all[s.from:s.to] }
	changes := make([]syncd.Change, len(b.entries))
	values := make([]syncd.Value, len(b.values))
	for i, s := range b.values {
		if s.from >= 0 {
			values[i] = syncd.Value{Text: cut(s), Set: true}
		}
	}
	n := len(b.fields)
	for i, e := range b.entries {
		c := &changes[i]
		c.Key, c.ID, c.Err = syncd.Key(cut(e.key)), cut(e.id), e.err
		if e.doc > 0 {
			c.Document = &b.docs[e.doc-1]
		}
		if n > 0 && e.err == nil {
			c.Fields, values = values[:n:n], values[n:]
		}
	}
	b.text, b.entries, b.values = b.text[:0], b.entries[:0], b.values[:0]
	b.docs, b.bytes = nil, 0
	return changes
}

// What a document without a usable id has instead. Of two fields nobody could say which is meant.
var (
	errNoField   = errors.New("no _id")
	errNull      = errors.New("_id is null")
	errUndefined = errors.New("_id is undefined")
	errTwoIDs    = errors.New("two fields _id")
)

// noIDError is why a document has no usable id. Its text is its cause's.
type noIDError struct{ cause error }

func (e *noIDError) Error() string { return e.cause.Error() }

// Unwrap returns the cause, and what it means.
func (e *noIDError) Unwrap() []error { return []error{e.cause, syncd.ErrNoID} }

// noID adds to an error of the _id where the document stands, and what the _id looks like.
func (b *Builder) noID(id bson.RawValue, doc bson.Raw, err error) error {
	switch id.Type {
	case 0: // tell a document without _id from one with damage in front of it
		err = errNoField
		if _, damage := bsondoc.NewDocument(doc).Lookup("_id"); damage != nil {
			err = damage
		}
	case bson.TypeNull:
		err = errNull
	case bson.TypeUndefined:
		err = errUndefined
	case bson.TypeString:
		if s, ok := id.StringValueOK(); ok && !utf8.ValidString(s) {
			err = fmt.Errorf("_id is %w: %s", bsondoc.ErrInvalidUTF8, text.Quote(s))
		}
	}
	if b.Place != nil {
		err = fmt.Errorf("%s: %w", b.Place(), err)
	}
	return &noIDError{err}
}

func (b *Builder) append(p []byte) span {
	from := len(b.text)
	b.text = append(b.text, p...)
	return span{from, len(b.text)}
}

func (b *Builder) appendID(id bson.RawValue) (span, error) {
	from := len(b.text)
	out, err := bsondoc.AppendIDText(b.text, id)
	if err != nil {
		return span{from, from}, fmt.Errorf("reading _id: %w", err)
	}
	b.text = out
	return span{from, len(out)}, nil
}

// appendFields adds one span for each field, or none and an error.
func (b *Builder) appendFields(doc bson.Raw) error {
	start := len(b.values)
	for _, path := range b.fields {
		s, err := b.appendField(doc, path)
		if err != nil {
			b.values = b.values[:start]
			return err
		}
		b.values = append(b.values, s)
	}
	return nil
}

func (b *Builder) appendField(doc bson.Raw, path string) (span, error) {
	none := span{-1, -1}
	v, ok := bsondoc.Lookup(doc, path)
	if !ok || v.Type == bson.TypeNull || v.Type == bson.TypeUndefined {
		// Rare, so the document may be walked again to tell an absent field from one behind damage.
		_, err := bsondoc.NewDocument(doc).Lookup(path)
		return none, err
	}
	from := len(b.text)
	out, err := bsondoc.AppendIDText(b.text, v)
	if err != nil {
		return none, fmt.Errorf("looking up %q: %w", path, err)
	}
	b.text = out
	return span{from, len(out)}, nil
}

// blockSize is how much memory is taken at once for copies of documents. A document kept by its reader keeps its block,
// so a block is small beside a batch of a thousand documents of 2 kB.
const blockSize = 256 << 10

// blocks copies documents into shared blocks of memory that are only ever appended to.
type blocks struct{ free []byte }

func (a *blocks) copy(doc bson.Raw) bson.Raw {
	n := len(doc)
	if n > blockSize/4 {
		return append(make(bson.Raw, 0, n), doc...)
	}
	if n > len(a.free) {
		a.free = make([]byte, blockSize)
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	copy(out, doc)
	return out
}

// Copies makes documents that outlive the buffer they were read into. It is not safe for concurrent use.
type Copies struct {
	blocks blocks
	docs   []bsondoc.Document // shared by the documents handed out, as blocks are by their bytes
	shared int                // bytes of those
}

// docsAtOnce is how many documents share one allocation at most. One that is kept keeps the others, so all of them are no more
// than a block.
const docsAtOnce = 64

// Document returns a document with a copy of doc.
func (c *Copies) Document(doc bson.Raw) syncd.Document {
	if c.shared += len(doc); len(c.docs) == cap(c.docs) || c.shared > blockSize {
		c.docs, c.shared = make([]bsondoc.Document, 0, max(1, min(docsAtOnce, blockSize/max(1, len(doc))))), len(doc)
	}
	c.docs = append(c.docs, bsondoc.NewDocument(c.blocks.copy(doc)))
	return &c.docs[len(c.docs)-1]
}

// Bytes returns a copy of doc.
func (c *Copies) Bytes(doc bson.Raw) bson.Raw { return c.blocks.copy(doc) }
