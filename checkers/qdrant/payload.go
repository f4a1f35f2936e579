package qdrant

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
)

// selection is the payload keys that points are to carry. The zero value is none.
type selection struct {
	paths   [][]string // of each key: its names
	include []string   // the keys as Qdrant writes them
	names   []name     // of the paths, each once
}

// selectKeys reads dotted paths.
func selectKeys(keys []string) (selection, error) {
	var s selection
	for _, key := range keys {
		path, written, err := parseKey(key)
		if err != nil {
			return s, err
		}
		s.names = addName(s.names, path, len(s.paths))
		s.paths, s.include = append(s.paths, path), append(s.include, written)
	}
	return s, nil
}

// parseKey splits a dotted path, and writes it as one of Qdrant's JSON paths, where names of other characters than
// letters, digits, _ and - stand in quotes. They would otherwise be errors, or mean something else: "a[0]" an element.
func parseKey(key string) (path []string, written string, err error) {
	path = strings.Split(key, ".")
	var b strings.Builder
	for i, name := range path {
		if name == "" || strings.ContainsAny(name, `"\`) {
			return nil, "", fmt.Errorf("asking Qdrant for the payload key %q: it must be names with dots between them, without quotes and backslashes", key)
		}
		if i > 0 {
			b.WriteByte('.')
		}
		if strings.ContainsFunc(name, func(r rune) bool { return !isPlain(r) }) {
			name = `"` + name + `"`
		}
		b.WriteString(name)
	}
	return path, b.String(), nil
}

func isPlain(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-'
}

// request says what is selected as a request does, and does so expressly: an absent selector means nothing to a lookup and
// everything to a listing. Qdrant reads a point's whole payload to select from it, so selecting costs as much as all.
func (s selection) request() *qdrant.WithPayloadSelector {
	if len(s.include) == 0 {
		return qdrant.NewWithPayload(false)
	}
	return qdrant.NewWithPayloadInclude(s.include...)
}

// lookupValue finds the value at path, or nil. Like Qdrant's own path of names it does not look into arrays.
func lookupValue(fields map[string]*qdrant.Value, path []string) *qdrant.Value {
	v := fields[path[0]]
	for _, name := range path[1:] {
		v = v.GetStructValue().GetFields()[name]
	}
	return v
}

// valueText gives a value's text as a document's field of the same content has it. An object's names are in alphabetical
// order, since Qdrant's protocol keeps none.
func valueText(v *qdrant.Value) syncd.Value {
	switch k := v.GetKind().(type) {
	case *qdrant.Value_StringValue:
		return syncd.Value{Text: k.StringValue, Set: true}
	case *qdrant.Value_IntegerValue:
		return syncd.Value{Text: strconv.FormatInt(k.IntegerValue, 10), Set: true}
	case *qdrant.Value_DoubleValue:
		return syncd.Value{Text: doubleText(k.DoubleValue), Set: true}
	case *qdrant.Value_BoolValue:
		return syncd.Value{Text: strconv.FormatBool(k.BoolValue), Set: true}
	case *qdrant.Value_StructValue, *qdrant.Value_ListValue:
		return syncd.Value{Text: jsonText(v), Set: true}
	}
	return syncd.Value{} // null, or nothing
}

// doubleText gives the shortest text of a double. encoding/json writes doubles by ECMAScript's rules, which are those of an
// id's text as well, but for what JSON has no number for and -0, which is 0 where values are compared.
func doubleText(f float64) string {
	switch {
	case f == 0:
		return "0"
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	b, err := json.Marshal(f)
	if err != nil {
		return strconv.FormatFloat(f, 'g', -1, 64) // not reached: every finite number is one of JSON
	}
	return string(b)
}

// jsonText gives a value as JSON without spaces, as short as it can be: <, > and & stay as they are.
func jsonText(v *qdrant.Value) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(plain(v)); err != nil {
		return "" // not reached: plain makes nothing that can't be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plain gives a value as encoding/json knows it.
func plain(v *qdrant.Value) any {
	switch k := v.GetKind().(type) {
	case *qdrant.Value_StringValue:
		return k.StringValue
	case *qdrant.Value_IntegerValue:
		return k.IntegerValue
	case *qdrant.Value_BoolValue:
		return k.BoolValue
	case *qdrant.Value_DoubleValue:
		text := doubleText(k.DoubleValue)
		if math.IsNaN(k.DoubleValue) || math.IsInf(k.DoubleValue, 0) { // which Qdrant does not store
			return text
		}
		return json.Number(text)
	case *qdrant.Value_StructValue:
		fields := make(map[string]any, len(k.StructValue.GetFields()))
		for name, f := range k.StructValue.GetFields() {
			fields[name] = plain(f)
		}
		return fields
	case *qdrant.Value_ListValue:
		list := make([]any, len(k.ListValue.GetValues()))
		for i, e := range k.ListValue.GetValues() {
			list[i] = plain(e)
		}
		return list
	}
	return nil
}
