package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// filterJSON returns a filter as Extended JSON text: text as it is, YAML as the same structure. Whether it is a query that
// the source understands is the source's to say.
func filterJSON(n *spec.Node) (string, error) {
	if n.IsNull() {
		return "", nil
	}
	switch n.Kind {
	case spec.Map:
		b, err := appendJSON(nil, n)
		return string(b), err
	case spec.Scalar:
		if text := strings.TrimSpace(n.Text); strings.HasPrefix(text, "{") {
			if !json.Valid([]byte(text)) {
				return "", errors.New("it is not valid JSON")
			}
			return text, nil
		}
	}
	return "", errors.New("it must be a query: a block, or Extended JSON text that starts with {")
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
