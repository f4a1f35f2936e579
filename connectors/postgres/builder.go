package postgres

import (
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
)

// layout is what the columns of a result mean: the key's columns come first, then those of fields, or the whole row.
type layout struct {
	key     []kind
	columns []column // all of the result's
	whole   int      // where the columns of the whole row begin; -1: it is not asked for
	fields  []field
	plain   bool // the id is the key's text as it is
}

// field is where a field that was asked for is found.
type field struct {
	column int // in layout.columns; -1 is nowhere, and isID the id's text
	path   string
	rest   string // of the path, inside the column
}

const isID = -2

// builder collects the changes of one read, batch by batch: keys, id texts and fields of a batch lie in one string. It is not safe for
// concurrent use.
type builder struct {
	*layout
	batchSize  int
	batchBytes int

	text    []byte
	entries []entry
	values  []span
	rows    []row
	bytes   int
	blocks  blocks
}

type span struct{ from, to int }

type entry struct {
	key, id span
	row     int // its place in rows, from 1; 0 is none
	err     error
}

func newBuilder(l *layout, req syncd.ReadRequest) *builder {
	return &builder{layout: l, batchSize: max(req.BatchSize, 1), batchBytes: req.BatchBytes}
}

// add adds a row. Nothing that is passed is kept.
func (b *builder) add(values [][]byte) {
	var e entry
	e.err = b.appendKey(&e, values[:len(b.key)])
	if e.err == nil {
		e.err = b.appendFields(values, e.id)
	}
	if b.whole >= 0 {
		data := b.blocks.copy(values[b.whole:])
		b.rows = append(b.rows, row{columns: b.columns[b.whole:], data: data})
		e.row = len(b.rows)
		b.bytes += len(data)
	}
	b.entries = append(b.entries, e)
}

func (b *builder) appendKey(e *entry, values [][]byte) error {
	from := len(b.text)
	for _, v := range values {
		if v == nil {
			b.text = b.text[:from]
			return errNullKey
		}
		b.text = append(append(b.text, v...), keyEnd)
	}
	e.key = span{from, len(b.text)}
	if b.plain {
		e.id = span{from, len(b.text) - 1}
		return nil
	}
	from = len(b.text)
	text, err := appendID(b.text, b.key, values)
	if err != nil {
		return errors.Join(fmt.Errorf("reading the id: %w", err), syncd.ErrNoID)
	}
	b.text = text
	e.id = span{from, len(b.text)}
	return nil
}

func (b *builder) appendFields(values [][]byte, id span) error {
	start := len(b.values)
	for i := range b.fields {
		f := &b.fields[i]
		s := span{-1, -1}
		if f.column == isID {
			s = id
		}
		if f.column >= 0 && values[f.column] != nil {
			k := b.columns[f.column].kind
			from := len(b.text)
			if f.rest == "" && k.form != formJSON {
				text, err := k.appendText(b.text, values[f.column])
				if err != nil {
					b.values = b.values[:start]
					return fmt.Errorf("looking up %q: %w", f.path, err)
				}
				b.text = text
				s = span{from, len(b.text)}
			} else {
				v, err := k.lookup(values[f.column], f.rest)
				if err != nil {
					b.values = b.values[:start]
					return fmt.Errorf("looking up %q: %w", f.path, err)
				}
				if v.Set {
					b.text = append(b.text, v.Text...)
					s = span{from, len(b.text)}
				}
			}
		}
		b.values = append(b.values, s)
	}
	return nil
}

func (b *builder) full() bool {
	return len(b.entries) >= b.batchSize || b.batchBytes > 0 && b.bytes >= b.batchBytes
}

// take returns the changes of the batch and starts the next one.
func (b *builder) take() []syncd.Change {
	all := string(b.text)
	changes := make([]syncd.Change, len(b.entries))
	values := make([]syncd.Value, len(b.values))
	for i, s := range b.values {
		if s.from >= 0 {
			values[i] = syncd.Value{Text: all[s.from:s.to], Set: true}
		}
	}
	n := len(b.fields)
	for i := range b.entries {
		e, c := &b.entries[i], &changes[i]
		c.Key, c.ID, c.Err = syncd.Key(all[e.key.from:e.key.to]), all[e.id.from:e.id.to], e.err
		if e.row > 0 {
			r := &b.rows[e.row-1]
			r.id = c.ID
			c.Document = r
		}
		if n > 0 && e.err == nil {
			c.Fields, values = values[:n:n], values[n:]
		}
	}
	b.text, b.entries, b.values, b.rows, b.bytes = b.text[:0], b.entries[:0], b.values[:0], nil, 0
	return changes
}
