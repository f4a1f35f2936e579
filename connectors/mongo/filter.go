package mongo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// parseFilter reads a query in Extended JSON, relaxed or canonical. Empty text is nil, which matches every document.
func parseFilter(text string) (bson.Raw, error) {
	if text == "" {
		return nil, nil
	}
	// The driver reads one value and ignores the rest, and its syntax errors have no position; encoding/json finds both.
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	var object json.RawMessage
	if err := dec.Decode(&object); err != nil {
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf(`a filter is Extended JSON: %w at character %d (an ObjectId is written {"$oid": "…"}, a date {"$date": "…"})`, err, e.Offset)
		}
		return nil, fmt.Errorf("a filter is Extended JSON: %w", err)
	}
	if object[0] != '{' {
		return nil, errors.New(`a filter is an object, such as {"archived": false}`)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("a filter is one object; something follows it")
	}
	var filter bson.Raw
	if err := bson.UnmarshalExtJSON(object, false, &filter); err != nil {
		return nil, fmt.Errorf("a filter is Extended JSON: %w", err)
	}
	return filter, nil
}

// selecting are the fields of the documents that a filter looks at, without what stands behind a dot: by a path through an array an
// update may name an element that the filter does not. any is set where only the server can tell.
type selecting struct {
	fields map[string]bool
	any    bool
}

func selectingOf(filter bson.Raw) selecting {
	s := selecting{fields: map[string]bool{}}
	s.add(filter)
	return s
}

func (s *selecting) add(query bson.Raw) {
	elements, err := query.Elements()
	s.any = s.any || err != nil && query != nil
	for _, e := range elements {
		name, of := e.Key(), e.Value()
		switch {
		case !strings.HasPrefix(name, "$"):
			name, _, _ = strings.Cut(name, ".")
			s.fields[name] = true
		case name == "$comment":
		case (name == "$and" || name == "$or" || name == "$nor") && of.Type == bson.TypeArray:
			values, err := of.Array().Values()
			s.any = s.any || err != nil
			for _, v := range values {
				part, ok := v.DocumentOK()
				s.any = s.any || !ok
				s.add(part)
			}
		default:
			s.any = true
		}
	}
}

// by reports whether a change of the field at a path may change whether a document is selected.
func (s *selecting) by(path []byte) bool {
	field, _, _ := bytes.Cut(path, []byte{'.'})
	return s.any || s.fields[string(field)]
}

var everything = bson.D{}

// all returns a query for documents that match all parts that are not nil.
func all(parts ...bson.Raw) any {
	var and bson.A
	for _, p := range parts {
		if p != nil {
			and = append(and, p)
		}
	}
	switch len(and) {
	case 0:
		return everything
	case 1:
		return and[0]
	}
	return bson.D{{Key: "$and", Value: and}}
}
