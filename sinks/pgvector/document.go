package pgvector

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/points"
)

// row is a chunk as the table is to hold it.
type row struct {
	id      uuid.UUID
	hash    string
	vector  []float32 // nil is none
	payload []byte    // JSON of the payload column
	columns []byte    // JSON of the columns of their own
}

// document is what a change asks of the table.
type document struct {
	first  uuid.UUID // the id of chunk 0
	chunks int       // that it has; 0 is a delete
	rows   []row     // with another vector than before
	kept   []row     // of which only the payload is written
	left   []uuid.UUID
	point  func(chunk int) (uuid.UUID, error)
}

// document is [points.Writer.Make].
func (s *sink) document(c *syncd.Change) (d document, size int, err error) {
	d.first = c.PointID
	if c.Content != nil {
		d.chunks, d.left, d.point = len(c.Content.Chunks), c.Content.Left, c.Content.Point
	}
	switch {
	case c.Operation == syncd.Delete:
		d.chunks = 0
		return d, 1 + len(d.left), nil
	case d.chunks == 0:
		return d, 0, points.ErrNoContent
	}
	shared, err := s.layout.Shared(c)
	if err != nil {
		return d, 0, err
	}
	own := s.split(shared)
	dimensions := 0
	if f := s.found.Load(); f != nil {
		dimensions = f.size
	}
	for k := range c.Content.Chunks {
		chunk := &c.Content.Chunks[k]
		payload, columns := maps.Clone(shared), maps.Clone(own)
		s.layout.Chunk(k, chunk, func(key string, v any) {
			if column := s.column[key]; column != "" {
				columns[column] = v
			} else {
				payload[key] = v
			}
		})
		r := row{id: chunk.PointID, hash: chunk.Hash, vector: chunk.Vector}
		if r.payload, err = json.Marshal(payload); err == nil {
			r.columns, err = json.Marshal(columns)
		}
		switch {
		case err != nil:
			return d, 0, fmt.Errorf("writing the payload: %w: %w", syncd.ErrNotEncodable, err)
		case chunk.Kept:
			d.kept = append(d.kept, r)
			continue
		case chunk.Text == "": // a document without text: the row says that it was indexed, and nothing is near to it
			r.vector = nil
		case len(chunk.Vector) == 0:
			return d, 0, points.ErrNoVector
		case dimensions > 0 && len(chunk.Vector) != dimensions:
			return d, 0, &points.SizeError{Have: len(chunk.Vector), Want: dimensions, Index: "the table"}
		}
		d.rows = append(d.rows, r)
	}
	return d, d.chunks + len(d.left), nil
}

// removed are the ids of rows that the document does not have, where the table holds so many chunks of it.
func (d *document) removed(held int) (ids []uuid.UUID, err error) {
	ids = append(ids, d.left...)
	if d.chunks == 0 {
		ids = append(ids, d.first)
	}
	if d.point == nil {
		return ids, nil
	}
	for k := max(d.chunks, 1); k < min(held, points.MostHeld); k++ {
		id, err := d.point(k)
		if err != nil {
			return nil, fmt.Errorf("making the id of chunk %d: %w", k, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// split takes what has a column of its own out of a payload.
func (s *sink) split(payload map[string]any) map[string]any {
	own := make(map[string]any, len(s.columns))
	for key, column := range s.conf.Columns {
		if v, there := points.Lookup(payload, key); there {
			own[column] = v
			drop(payload, key)
		}
	}
	if s.conf.Payload == "" {
		maps.Copy(own, payload)
		clear(payload)
	}
	return own
}

// drop takes out what Lookup finds at a path.
func drop(in map[string]any, path string) {
	if _, there := in[path]; there {
		delete(in, path)
		return
	}
	name, rest, _ := strings.Cut(path, ".")
	if inner, ok := in[name].(map[string]any); ok {
		if drop(inner, rest); len(inner) == 0 {
			delete(in, name)
		}
	}
}

// appendVector appends a vector in pgvector's binary form (vector_recv).
func appendVector(dst []byte, vector []float32) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(vector)))
	dst = binary.BigEndian.AppendUint16(dst, 0)
	for _, f := range vector {
		dst = binary.BigEndian.AppendUint32(dst, math.Float32bits(f))
	}
	return dst
}
