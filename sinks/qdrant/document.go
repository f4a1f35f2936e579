package qdrant

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/points"
)

// sized is [points.Writer.Make].
func (s *sink) sized(c *syncd.Change) (d document, size int, err error) {
	d, err = s.document(c)
	return d, d.size(), err
}

// document makes what a change asks of the collection.
func (s *sink) document(c *syncd.Change) (d document, err error) {
	if c.Operation != syncd.Delete && (c.Content == nil || len(c.Content.Chunks) == 0) {
		return d, points.ErrNoContent
	}
	if c.Content != nil {
		for _, id := range slices.Backward(c.Content.Left) {
			d.remove = append(d.remove, qdrant.NewIDUUID(id.String()))
		}
	}
	if c.Operation == syncd.Delete {
		d.remove = append(d.remove, qdrant.NewIDUUID(c.PointID.String()))
		return d, nil
	}
	shared, err := s.shared(c)
	if err != nil {
		return d, err
	}
	chunks := c.Content.Chunks
	for i := range chunks {
		k := (i + 1) % len(chunks) // chunk 0 comes last
		chunk := &chunks[k]
		payload := maps.Clone(shared)
		s.layout.Chunk(k, chunk, func(key string, v any) {
			if n, ok := v.(int64); ok {
				payload[key] = qdrant.NewValueInt(n)
			} else if text, ok := v.(string); ok {
				payload[key] = qdrant.NewValueString(text)
			}
		})
		id := qdrant.NewIDUUID(chunk.PointID.String())
		if chunk.Kept {
			p := &qdrant.SetPayloadPoints{Payload: payload, PointsSelector: qdrant.NewPointsSelector(id)}
			if k == 0 {
				d.first = p
			} else {
				d.payload = append(d.payload, p)
			}
			continue
		}
		point := &qdrant.PointStruct{Id: id, Payload: payload}
		switch size := int(s.size.Load()); {
		case chunk.Text == "": // a document without text: the point says that it was indexed, and nothing is near to it
			point.Vectors = qdrant.NewVectorsMap(map[string]*qdrant.Vector{})
		case len(chunk.Vector) == 0:
			return d, points.ErrNoVector
		case size > 0 && len(chunk.Vector) != size:
			return d, &points.SizeError{Have: len(chunk.Vector), Want: size, Index: "the collection"}
		case s.conf.Vector != "":
			point.Vectors = qdrant.NewVectorsMap(map[string]*qdrant.Vector{s.conf.Vector: qdrant.NewVectorDense(chunk.Vector)})
		default:
			point.Vectors = qdrant.NewVectorsDense(chunk.Vector)
		}
		d.points = append(d.points, point)
	}
	return d, nil
}

// shared is the payload that all chunks of a document have.
func (s *sink) shared(c *syncd.Change) (map[string]*qdrant.Value, error) {
	all, err := s.layout.Shared(c)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*qdrant.Value, len(all)+3)
	for key, v := range all {
		if out[key], err = valueOf(v); err != nil {
			return nil, fmt.Errorf("reading field %s: %w: %w", key, syncd.ErrNotEncodable, err)
		}
	}
	return out, nil
}

// valueOf makes a payload value of one that encoding/json has read.
func valueOf(v any) (*qdrant.Value, error) {
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
			return qdrant.NewValueInt(n), nil
		}
		f, err := x.Float64()
		if err != nil {
			return qdrant.NewValueString(x.String()), nil //nolint:nilerr // it is no number of Qdrant's, and its text says what it is
		}
		return qdrant.NewValueDouble(f), nil
	case map[string]any:
		fields := make(map[string]*qdrant.Value, len(x))
		for name, f := range x {
			var err error
			if fields[name], err = valueOf(f); err != nil {
				return nil, err
			}
		}
		return qdrant.NewValueStruct(&qdrant.Struct{Fields: fields}), nil
	case []any:
		list := make([]*qdrant.Value, len(x))
		for i, item := range x {
			var err error
			if list[i], err = valueOf(item); err != nil {
				return nil, err
			}
		}
		return qdrant.NewValueList(&qdrant.ListValue{Values: list}), nil
	case int64:
		return qdrant.NewValueInt(x), nil
	case nil:
		return qdrant.NewValueNull(), nil
	case string:
		return qdrant.NewValueString(x), nil
	case bool:
		return qdrant.NewValueBool(x), nil
	}
	return nil, errors.New("it has a form that JSON does not know")
}
