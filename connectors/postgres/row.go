package postgres

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// column is a column of rows: of a table as a read or a stream describes it.
type column struct {
	name string
	kind kind
	json []byte // "name": with a comma before it
}

// idName is the field that holds the id's text in a document. A column of that name is not shown: it can't hold anything better.
const idName = "_id"

func newColumn(name string, k kind) (column, error) {
	b, err := bsondoc.AppendJSONString([]byte{','}, name)
	if err != nil {
		return column{}, fmt.Errorf("the name of column %q: %w", name, err)
	}
	return column{name: name, kind: k, json: append(b, ':')}, nil
}

// row is a whole row: PostgreSQL's text of each column, behind its length, which is -1 for NULL. It is immutable.
type row struct {
	columns []column
	id      string
	data    []byte
}

var _ syncd.Document = (*row)(nil)

// Size is the size of the row's texts.
func (r *row) Size() int { return len(r.data) }

// appendCell appends a column to a row's data; nil is NULL.
func appendCell(dst, raw []byte) []byte {
	n := int32(-1)
	if raw != nil {
		n = int32(len(raw))
	}
	return append(binary.LittleEndian.AppendUint32(dst, uint32(n)), raw...)
}

const cellHead = 4

// cells iterates over the columns that are not NULL.
func (r *row) cells(yield func(i int, raw []byte) bool) {
	data := r.data
	for i := range r.columns {
		n := int32(binary.LittleEndian.Uint32(data))
		data = data[cellHead:]
		if n < 0 {
			continue
		}
		if !yield(i, data[:n:n]) {
			return
		}
		data = data[n:]
	}
}

// Lookup returns the value of a column, or of what is inside of its JSON. A column that is NULL is not there.
func (r *row) Lookup(path string) (syncd.Value, error) {
	if path == idName {
		return syncd.Value{Text: r.id, Set: true}, nil
	}
	rest := ""
	at := -1
	for i := range r.columns {
		if r.columns[i].name == path {
			at = i
			break
		}
	}
	if at < 0 {
		head, inner, more := strings.Cut(path, ".")
		if !more || head == idName {
			return syncd.Value{}, nil
		}
		rest = inner
		for i := range r.columns {
			if r.columns[i].name == head {
				at = i
			}
		}
	}
	for i, raw := range r.cells {
		if i != at {
			continue
		}
		v, err := r.columns[i].kind.lookup(raw, rest)
		if err != nil {
			return syncd.Value{}, fmt.Errorf("looking up %q: %w", path, err)
		}
		return v, nil
	}
	return syncd.Value{}, nil
}

// AppendJSON appends _id, the id's text, and the columns that are not NULL. It is the same in every dialect: a row has no types that
// JSON of MongoDB would tell apart.
func (r *row) AppendJSON(dst []byte, _ syncd.Dialect) ([]byte, error) {
	b, err := bsondoc.AppendJSONString(append(dst, `{"_id":`...), r.id)
	if err != nil {
		return dst, err
	}
	for i, raw := range r.cells {
		c := &r.columns[i]
		if c.name == idName {
			continue
		}
		if b, err = c.kind.appendJSON(append(b, c.json...), raw); err != nil {
			return dst, fmt.Errorf("writing column %q: %w", c.name, err)
		}
	}
	return append(b, '}'), nil
}

// blockSize is how much memory is taken at once for rows. A row that is kept keeps its block, so a block is small beside a batch.
const blockSize = 256 << 10

// blocks holds the data of rows in shared memory that is only ever appended to.
type blocks struct{ free []byte }

func (a *blocks) copy(values [][]byte) []byte {
	n := 0
	for _, v := range values {
		n += cellHead + len(v)
	}
	var out []byte
	if n > blockSize/4 {
		out = make([]byte, 0, n)
	} else {
		if n > len(a.free) {
			a.free = make([]byte, blockSize)
		}
		out, a.free = a.free[:0:n], a.free[n:]
	}
	for _, v := range values {
		out = appendCell(out, v)
	}
	return out
}
