package spec

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Dialect is the version of JSON Schema that is generated.
const Dialect = "https://json-schema.org/draft/2020-12/schema"

// Schema is a JSON Schema, as far as configurations need one. It encodes itself the same way every time.
type Schema struct {
	Dialect     string `json:"$schema,omitempty"`
	ID          string `json:"$id,omitempty"`
	Ref         string `json:"$ref,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Default     any    `json:"default,omitempty"`
	Deprecated  bool   `json:"deprecated,omitempty"`

	Type             any         `json:"type,omitempty"` // a name, or a list of names
	Enum             []any       `json:"enum,omitempty"`
	Const            any         `json:"const,omitempty"`
	Pattern          string      `json:"pattern,omitempty"`
	MinLength        json.Number `json:"minLength,omitempty"`
	MaxLength        json.Number `json:"maxLength,omitempty"`
	Minimum          json.Number `json:"minimum,omitempty"`
	Maximum          json.Number `json:"maximum,omitempty"`
	ExclusiveMinimum json.Number `json:"exclusiveMinimum,omitempty"`
	ExclusiveMaximum json.Number `json:"exclusiveMaximum,omitempty"`

	Items    *Schema     `json:"items,omitempty"`
	MinItems json.Number `json:"minItems,omitempty"`
	MaxItems json.Number `json:"maxItems,omitempty"`

	Properties           map[string]*Schema `json:"properties,omitempty"`
	AdditionalProperties any                `json:"additionalProperties,omitempty"` // a *Schema, or false
	Required             []string           `json:"required,omitempty"`
	MinProperties        json.Number        `json:"minProperties,omitempty"`
	PropertyNames        *Schema            `json:"propertyNames,omitempty"`

	AllOf []*Schema `json:"allOf,omitempty"`
	AnyOf []*Schema `json:"anyOf,omitempty"`
	OneOf []*Schema `json:"oneOf,omitempty"`
	Not   *Schema   `json:"not,omitempty"`
	If    *Schema   `json:"if,omitempty"`
	Then  *Schema   `json:"then,omitempty"`

	Defs map[string]*Schema `json:"$defs,omitempty"`
}

// variablePattern finds a placeholder, which may stand for a value of any type. $${ is not one: it stands for ${ itself.
const variablePattern = `(^|[^$])\$\{([A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?|file:[^}]+)\}`

const spanPattern = `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^[0-9]+(\.[0-9]+)?$`

func ref(name string) *Schema { return &Schema{Ref: "#/$defs/" + name} }

// VariableSchema accepts a text in which a ${VARIABLE} stands. It refers to a definition that SchemaOf provides.
func VariableSchema() *Schema { return ref("variable") }

// SchemaOf is the schema of a file that holds the given settings and no others. It requires nothing: a file may leave to
// another one what must be set. Requirements says what that is.
func SchemaOf(settings []Setting) *Schema {
	s := Shape{Form: BlockForm, Fields: settings}.schema()
	s.Dialect = Dialect
	s.Defs = map[string]*Schema{
		"variable": {
			Description: "A text with ${NAME} or ${NAME:-default}, which environment variables fill in, or ${file:PATH}.",
			Type:        "string", Pattern: variablePattern,
		},
		"time_span": {
			Description: "A time span such as 500ms, 10s or 1m30s; a plain number is seconds.",
			Type:        "string", Pattern: spanPattern,
		},
	}
	return s
}

// Requirements is a schema that accepts a file only if it says all that must be said, at any depth; nil if nothing must be.
func Requirements(settings []Setting) *Schema {
	return Shape{Form: BlockForm, Fields: settings}.requirements()
}

func (s Shape) requirements() *Schema {
	switch s.Form {
	case BlockForm, OneOfForm:
		out := &Schema{}
		for _, f := range s.Fields {
			if f.Required && s.Form == BlockForm {
				out.Required = append(out.Required, f.Name)
			}
			if inner := f.Shape.requirements(); inner != nil {
				if out.Properties == nil {
					out.Properties = map[string]*Schema{}
				}
				out.Properties[f.Name] = inner
			}
		}
		if out.Required != nil || out.Properties != nil {
			return out
		}
	case ListForm:
		if inner := s.Item.requirements(); inner != nil {
			return &Schema{Items: inner}
		}
	case NamedForm:
		if inner := s.Item.requirements(); inner != nil {
			return &Schema{AdditionalProperties: inner}
		}
	case EitherForm:
		for _, e := range s.Either { // what is required of a block says nothing about a text, so no case is needed
			if inner := e.requirements(); inner != nil {
				return inner
			}
		}
	case AnyForm, TextForm, SecretForm, WholeForm, NumberForm, SwitchForm, SpanForm:
	}
	return nil
}

func (s Setting) schema() *Schema {
	alternatives := s.Shape.alternatives()
	if s.Nullable && s.Shape.Form != AnyForm {
		alternatives = orNull(alternatives)
	}
	out := anyOf(alternatives)
	if out.Ref != "" {
		out = &Schema{AnyOf: []*Schema{out}}
	}
	out.Description, out.Default, out.Deprecated = s.Doc, s.Value, s.Deprecated != ""
	return out
}

func (s Shape) schema() *Schema { return anyOf(s.alternatives()) }

// orNull lets the first alternative that can say so accept null too, so that an editor has fewer alternatives to report.
func orNull(list []*Schema) []*Schema {
	for _, a := range list {
		switch name, ok := a.Type.(string); {
		case a.Enum != nil:
			a.Enum = append(a.Enum, nil)
			return list
		case ok && a.OneOf == nil:
			a.Type = []string{name, "null"}
			return list
		}
	}
	return append(list, &Schema{Type: "null"})
}

// anyOf joins alternatives. Those that name types and nothing else are one.
func anyOf(list []*Schema) *Schema {
	var types []string
	var rest []*Schema
	plain := -1
	for _, a := range list {
		names, only := onlyTypes(a)
		if !only {
			rest = append(rest, a)
			continue
		}
		if plain < 0 {
			plain = len(rest)
			rest = append(rest, nil)
		}
		types = append(types, names...)
	}
	if plain >= 0 {
		rest[plain] = &Schema{Type: types}
		if len(types) == 1 {
			rest[plain].Type = types[0]
		}
	}
	if len(rest) == 1 {
		return rest[0]
	}
	return &Schema{AnyOf: rest}
}

// onlyTypes gives the types that a schema names, if it says nothing else.
func onlyTypes(s *Schema) ([]string, bool) {
	if s.Type == nil || encoded(s) != encoded(&Schema{Type: s.Type}) {
		return nil, false
	}
	if name, ok := s.Type.(string); ok {
		return []string{name}, true
	}
	names, ok := s.Type.([]string)
	return names, ok
}

func encoded(s *Schema) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic("encoding a schema can't fail: " + err.Error())
	}
	return string(b)
}

// alternatives are the schemas of which a value must satisfy one. Where a constraint could refuse a ${VARIABLE}, that is
// one of them.
func (s Shape) alternatives() []*Schema {
	switch s.Form {
	case TextForm:
		return s.textSchemas()
	case SecretForm:
		return append(s.textSchemas(), &Schema{Type: "number"}, &Schema{Type: "boolean"})
	case WholeForm:
		return []*Schema{s.numberSchema("integer"), VariableSchema()}
	case NumberForm:
		return []*Schema{s.numberSchema("number"), VariableSchema()}
	case SwitchForm:
		return []*Schema{{Type: "boolean"}, VariableSchema()}
	case SpanForm:
		return []*Schema{ref("time_span"), s.numberSchema("number"), VariableSchema()}
	case ListForm:
		out := &Schema{Type: "array", Items: s.Item.schema(), MinItems: s.number("min", "gte"), MaxItems: s.number("max", "lte")}
		if s.Item.scalar() { // one item, or several with commas between
			return append([]*Schema{out, {Type: "string"}}, s.Item.unlike("string")...)
		}
		return []*Schema{out}
	case BlockForm, OneOfForm:
		out := &Schema{Type: "object", AdditionalProperties: false}
		for _, f := range s.Fields {
			if out.Properties == nil {
				out.Properties = map[string]*Schema{}
			}
			out.Properties[f.Name] = f.schema()
			if s.Form == OneOfForm {
				out.OneOf = append(out.OneOf, &Schema{Required: []string{f.Name}})
			}
		}
		return []*Schema{out}
	case NamedForm:
		out := &Schema{Type: "object", AdditionalProperties: s.Item.schema(), MinProperties: s.number("min", "gte")}
		if s.Names != "" {
			out.PropertyNames = &Schema{Pattern: s.Names}
		}
		return []*Schema{out}
	case EitherForm:
		var out []*Schema
		for _, e := range s.Either {
			out = append(out, e.alternatives()...)
		}
		return once(out)
	case AnyForm:
	}
	return []*Schema{{}}
}

// unlike gives the alternatives of another type, except variables, which are text.
func (s Shape) unlike(name string) []*Schema {
	var out []*Schema
	for _, a := range s.alternatives() {
		if a.Ref == "" && a.Type != name {
			out = append(out, a)
		}
	}
	return out
}

// once drops repeats, such as the variable that every scalar may be.
func once(list []*Schema) []*Schema {
	var out []*Schema
	seen := map[string]bool{}
	for _, a := range list {
		b := encoded(a)
		if !seen[b] {
			out = append(out, a)
		}
		seen[b] = true
	}
	return out
}

func (s Shape) textSchemas() []*Schema {
	if words := s.words(); words != nil {
		enum := make([]any, len(words))
		for i, w := range words {
			enum[i] = w
		}
		if _, ok := s.clause("omitempty"); ok {
			enum = append(enum, "")
		}
		return []*Schema{{Enum: enum}, VariableSchema()}
	}
	out := &Schema{Type: "string", MinLength: s.number("min", "gte"), MaxLength: s.number("max", "lte")}
	if _, ok := s.clause("required"); ok && out.MinLength == "" {
		out.MinLength = "1"
	}
	if out.MaxLength != "" || out.MinLength != "" && out.MinLength != "1" {
		return []*Schema{out, VariableSchema()}
	}
	return []*Schema{out}
}

func (s Shape) numberSchema(name string) *Schema {
	out := &Schema{
		Type: name, Minimum: s.number("min", "gte"), Maximum: s.number("max", "lte"),
		ExclusiveMinimum: s.number("gt"), ExclusiveMaximum: s.number("lt"),
	}
	for _, w := range s.words() {
		if json.Valid([]byte(w)) {
			out.Type, out.Enum = nil, append(out.Enum, json.Number(w))
		}
	}
	return out
}

// number gives a bound as JSON has it, a time span in seconds; "" if there is none.
func (s Shape) number(names ...string) json.Number {
	param, ok := s.clause(names...)
	if !ok {
		return ""
	}
	if d, err := time.ParseDuration(param); err == nil {
		return json.Number(strconv.FormatFloat(d.Seconds(), 'f', -1, 64))
	}
	if f, err := strconv.ParseFloat(param, 64); err == nil && json.Valid([]byte(param)) && !math.IsInf(f, 0) {
		return json.Number(param)
	}
	return "" // the name of another field, say
}
