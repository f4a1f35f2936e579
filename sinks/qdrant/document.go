package qdrant

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
)

// sizeError says that a vector does not fit into the collection: a model that was set wrong, and no document's fault.
type sizeError struct{ have, want int }

func (e *sizeError) Error() string {
	return fmt.Sprintf("a vector of %d dimensions, where the collection has %d", e.have, e.want)
}

func (e *sizeError) explain(s *sink) error {
	return syncd.Hint(fmt.Errorf("writing to the collection %q: %w", s.conf.Collection, e),
		"take a model of %d dimensions, or another collection: sink.qdrant.collection with create.enabled: true", e.want)
}

var (
	errNoContent = fmt.Errorf("no stage has divided it into chunks: %w", syncd.ErrNotEncodable)
	errNoVector  = fmt.Errorf("no stage has made a vector of one of its chunks: %w", syncd.ErrNotEncodable)
	errNotText   = fmt.Errorf("its id is not valid UTF-8: %w", syncd.ErrNotEncodable)
)

// document makes what a change asks of the collection.
func (s *sink) document(c *syncd.Change) (d document, err error) {
	if c.Operation == syncd.Delete {
		d.remove = append(d.remove, qdrant.NewIDUUID(c.PointID.String()))
	} else if c.Content == nil || len(c.Content.Chunks) == 0 {
		return d, errNoContent
	}
	if c.Content != nil {
		for _, id := range c.Content.Left {
			d.remove = append(d.remove, qdrant.NewIDUUID(id.String()))
		}
	}
	if c.Operation == syncd.Delete {
		return d, nil
	}
	shared, err := s.shared(c)
	if err != nil {
		return d, err
	}
	chunks := c.Content.Chunks
	for k := len(chunks) - 1; k >= 0; k-- {
		chunk := &chunks[k]
		payload := maps.Clone(shared)
		payload[s.conf.Payload.ChunkIndex] = qdrant.NewValueInt(int64(k))
		if s.conf.Payload.Text != "" {
			payload[s.conf.Payload.Text] = qdrant.NewValueString(chunk.Text)
		}
		if s.conf.Payload.Hash != "" {
			payload[s.conf.Payload.Hash] = qdrant.NewValueString(chunk.Hash)
		}
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
			return d, errNoVector
		case size > 0 && len(chunk.Vector) != size:
			return d, &sizeError{len(chunk.Vector), size}
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
	if !utf8.ValidString(c.ID) {
		return nil, errNotText
	}
	p := &s.conf.Payload
	out := make(map[string]*qdrant.Value, 16)
	id := qdrant.NewValueString(c.ID)
	set := func(key string, v *qdrant.Value) {
		if key != "" {
			out[key] = v
		}
	}
	if err := s.fields(c, out); err != nil {
		return nil, err
	}
	set(p.ID, id)
	set(p.Parent, id)
	set(p.ChunkCount, qdrant.NewValueInt(int64(len(c.Content.Chunks))))
	set(p.ContentType, qdrant.NewValueString(c.Target.ContentType))
	set(p.Database, qdrant.NewValueString(c.Target.Database))
	set(p.Model, qdrant.NewValueString(c.Content.Model))
	set(p.Title, qdrant.NewValueString(c.Content.Title))
	return out, nil
}

// fields adds the document's own fields to a payload.
func (s *sink) fields(c *syncd.Change, out map[string]*qdrant.Value) error {
	if path := s.conf.UpdatedAt; path != "" && c.Document != nil {
		v, err := c.Document.Lookup(path)
		if err != nil {
			return fmt.Errorf("reading field %s: %w", path, err)
		}
		switch n, err := strconv.ParseInt(v.Text, 10, 64); {
		case !v.Set:
		case err == nil && strconv.FormatInt(n, 10) == v.Text:
			out[path] = qdrant.NewValueInt(n)
		default:
			out[path] = qdrant.NewValueString(strings.ToValidUTF8(v.Text, "\ufffd"))
		}
	}
	if len(s.conf.Fields) == 0 || c.Document == nil {
		return nil
	}
	text, err := c.Document.AppendJSON(nil, syncd.Plain)
	if err != nil {
		return fmt.Errorf("reading fields: %w: %w", syncd.ErrNotEncodable, err)
	}
	var whole map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&whole); err != nil {
		return fmt.Errorf("reading fields: %w: %w", syncd.ErrNotEncodable, err)
	}
	for _, path := range s.conf.Fields {
		if v, there := lookup(whole, path); there {
			value, err := valueOf(v)
			if err != nil {
				return fmt.Errorf("reading field %s: %w: %w", path, syncd.ErrNotEncodable, err)
			}
			place(out, path, value)
		}
	}
	return nil
}

// place sets the value at a dotted path, as nested as it was in the document.
func place(in map[string]*qdrant.Value, path string, v *qdrant.Value) {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		in[name] = v
		return
	}
	inner := in[name].GetStructValue()
	if inner == nil {
		inner = &qdrant.Struct{Fields: map[string]*qdrant.Value{}}
		in[name] = qdrant.NewValueStruct(inner)
	}
	place(inner.Fields, rest, v)
}

// lookup finds the value at a dotted path.
func lookup(in map[string]any, path string) (any, bool) {
	if v, ok := in[path]; ok {
		return v, true
	}
	name, rest, ok := strings.Cut(path, ".")
	if !ok {
		return nil, false
	}
	inner, ok := in[name].(map[string]any)
	if !ok {
		return nil, false
	}
	return lookup(inner, rest)
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
	case nil:
		return qdrant.NewValueNull(), nil
	case string:
		return qdrant.NewValueString(x), nil
	case bool:
		return qdrant.NewValueBool(x), nil
	}
	return nil, errors.New("it has a form that JSON does not know")
}
