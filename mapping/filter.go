package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd/spec"
)

// filterText returns a filter as text: text as it is, YAML as the same structure in Extended JSON. Whether it is a query that
// the source understands is the source's to say.
func filterText(n *spec.Node) (string, error) {
	if n.IsNull() {
		return "", nil
	}
	switch n.Kind {
	case spec.Map:
		b, err := appendJSON(nil, n)
		return string(b), err
	case spec.Scalar:
		text := strings.TrimSpace(n.Text)
		switch {
		case n.Type != spec.Text || text == "":
		case strings.HasPrefix(text, "{") && !json.Valid([]byte(text)):
			return "", errors.New("it is not valid JSON")
		default:
			return text, nil
		}
	}
	return "", errors.New("it must be a query: a block, or text")
}

// comparing are the operators whose operands are values of a field. Those of others are patterns, numbers or names.
var comparing = []string{"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all", "$literal"}

// withDates has a YAML date mean a date: 2024-01-10 is {$date: "2024-01-10T00:00:00.000Z"}, as text would never equal one. key is
// what n stands under.
func withDates(d *spec.Decoder, n *spec.Node, key string) *spec.Node {
	if n == nil || n.Broken {
		return n
	}
	switch n.Kind {
	case spec.Map:
		out := *n
		out.Entries = make([]spec.Entry, len(n.Entries))
		for i, e := range n.Entries {
			out.Entries[i] = spec.Entry{Name: e.Name, Value: withDates(d, e.Value, e.Name)}
		}
		return &out
	case spec.List:
		out := *n
		out.Items = make([]*spec.Node, len(n.Items))
		for i, item := range n.Items {
			out.Items[i] = withDates(d, item, key)
		}
		return &out
	}
	marked := key == "$date"
	if !n.Date || strings.HasPrefix(key, "$") && !marked && !slices.Contains(comparing, key) {
		return n
	}
	at, ok := Date(n.Text)
	if !ok {
		d.Errorf(n, spec.CodeBadValue, "write it as 2024-01-10 or 2024-01-10T07:08:09Z", "the filter's %q is not a date", n.Text)
		return n
	}
	text := *n
	text.Text, text.Date, text.Rewrote = at.UTC().Format("2006-01-02T15:04:05.000Z07:00"), false, true
	if marked {
		return &text
	}
	return &spec.Node{Kind: spec.Map, Pos: n.Pos, Key: n.Key, Entries: []spec.Entry{{Name: "$date", Value: &text}}}
}

// Date reads an unquoted scalar as a date: in the forms of ISO 8601, and in those that YAML knows beside them. A time without a
// zone is UTC.
func Date(text string) (time.Time, bool) {
	if m, ok := parseMoment(text); ok {
		return time.UnixMilli(m.ms), true
	}
	for _, layout := range [...]string{"2006-1-2", "2006-1-2T15:4:5Z07:00", "2006-1-2t15:4:5Z07:00", "2006-1-2 15:4:5"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func appendJSON(dst []byte, n *spec.Node) ([]byte, error) {
	var err error
	switch n.Kind {
	case spec.Map:
		dst = append(dst, '{')
		for i, e := range n.Entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONText(dst, e.Name), ':')
			if dst, err = appendJSON(dst, e.Value); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	case spec.List:
		dst = append(dst, '[')
		for i, item := range n.Items {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendJSON(dst, item); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
	switch n.Type {
	case spec.Null:
		return append(dst, "null"...), nil
	case spec.Bool:
		return append(dst, strings.ToLower(n.Text)...), nil
	case spec.Int:
		i, err := strconv.ParseInt(strings.ReplaceAll(n.Text, "_", ""), 0, 64)
		if err != nil {
			return dst, fmt.Errorf("the number %s does not fit into 64 bits", n.Text)
		}
		return strconv.AppendInt(dst, i, 10), nil
	case spec.Float:
		f, err := strconv.ParseFloat(n.Text, 64)
		if err != nil || f-f != 0 {
			return dst, fmt.Errorf("the number %s has no JSON form", n.Text)
		}
		b, err := json.Marshal(f)
		return append(dst, b...), err
	}
	return appendJSONText(dst, n.Text), nil
}

func appendJSONText(dst []byte, s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("encoding a string as JSON can't fail: " + err.Error())
	}
	return append(dst, b...)
}
