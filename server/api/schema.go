package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// schemas are JSON Schemas of the types that are answered with, by name, as encoding/json writes them.
type schemas map[string]any

// of returns the schema of a value's type.
func (s schemas) of(v any) map[string]any { return s.typ(reflect.TypeOf(v)) }

func (s schemas) typ(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return map[string]any{} // anything
	case t == reflect.TypeFor[[]byte]():
		return map[string]any{"type": "string", "contentEncoding": "base64"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.typ(t.Elem())
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return map[string]any{"type": "integer"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": s.typ(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.typ(t.Elem())}
	case reflect.Struct:
		return s.structure(t)
	default: // an interface holds anything
		return map[string]any{}
	}
}

// structure adds a struct to the schemas, and returns a reference to it.
func (s schemas) structure(t reflect.Type) map[string]any {
	reference := map[string]any{"$ref": "#/components/schemas/" + t.Name()}
	if s[t.Name()] != nil {
		return reference
	}
	properties, required := map[string]any{}, []string{}
	s[t.Name()] = map[string]any{"type": "object", "properties": properties}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for f := range t.Fields() {
			if f.Anonymous {
				add(f.Type)
				continue
			}
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" {
				continue
			}
			value := s.typ(f.Type)
			optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
			if !optional {
				required = append(required, name)
				if f.Type.Kind() == reflect.Pointer {
					value = map[string]any{"anyOf": []any{value, map[string]any{"type": "null"}}}
				}
			}
			if about := f.Tag.Get("doc"); about != "" {
				value["description"] = about // a reference may have one beside it
			}
			properties[name] = value
		}
	}
	add(t)
	if len(required) > 0 {
		s[t.Name()] = map[string]any{"type": "object", "properties": properties, "required": required}
	}
	return reference
}
