package postgres

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// form is how the values of a type are written, as text and as JSON. All types that are not named here are their text: PostgreSQL's
// own, which every type has.
type form uint8

const (
	formText    form = iota // PostgreSQL's text, a JSON string: text, uuid, enums, date, time, numeric, inet, intervals, ranges, rows
	formNumber              // a JSON number: integers and floating point numbers, which are strings where JSON has no such number
	formBool                // true or false
	formInstant             // timestamptz: RFC 3339 in UTC, with as many digits as there are, a JSON string
	formLocal               // timestamp: the same without a zone
	formBytes               // bytea: base64, a JSON string
	formJSON                // json, jsonb and vectors: themselves, without insignificant space
	formArray               // a JSON array, of what array.of says
)

// kind is the form of a type; of an array, also that of its elements.
type kind struct {
	form form
	of   form
}

// oids of types that are always the same (pg_type.dat).
const (
	oidBool        = 16
	oidBytea       = 17
	oidChar        = 18
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidFloat4      = 700
	oidFloat8      = 701
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestampTZ = 1184
	oidInterval    = 1186
	oidBit         = 1560
	oidTimeTZ      = 1266
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
)

// builtin are the forms of types that need not be looked up.
var builtin = map[uint32]kind{
	oidBool: {form: formBool}, oidBytea: {form: formBytes}, oidChar: {}, oidName: {}, oidText: {}, oidBPChar: {}, oidVarchar: {},
	oidInt8: {form: formNumber}, oidInt2: {form: formNumber}, oidInt4: {form: formNumber}, oidOID: {form: formNumber},
	oidFloat4: {form: formNumber}, oidFloat8: {form: formNumber}, oidNumeric: {}, oidUUID: {},
	oidJSON: {form: formJSON}, oidJSONB: {form: formJSON},
	oidDate: {}, oidTime: {}, oidTimeTZ: {}, oidInterval: {},
	oidTimestamp: {form: formLocal}, oidTimestampTZ: {form: formInstant},
	1000: {formArray, formBool}, 1001: {formArray, formBytes}, 1005: {formArray, formNumber}, 1007: {formArray, formNumber},
	1009: {formArray, formText}, 1015: {formArray, formText}, 1014: {formArray, formText}, 1016: {formArray, formNumber},
	1021: {formArray, formNumber}, 1022: {formArray, formNumber}, 1115: {formArray, formLocal}, 1182: {formArray, formText},
	1185: {formArray, formInstant}, 1231: {formArray, formText}, 2951: {formArray, formText}, 199: {formArray, formJSON}, 3807: {formArray, formJSON},
}

// appendText appends the text of a value, as it stands in ids, seeds and versions. raw is PostgreSQL's text of it. On error dst is
// returned as it was.
func (k kind) appendText(dst, raw []byte) ([]byte, error) {
	switch k.form {
	case formBool:
		return append(dst, boolText(raw)...), nil
	case formInstant, formLocal:
		return appendTime(dst, raw), nil
	case formBytes:
		return appendBase64(dst, raw)
	case formJSON:
		return appendJSONText(dst, raw)
	case formArray:
		return k.appendArray(dst, raw)
	}
	return append(dst, raw...), nil
}

// appendJSON appends a value as JSON. On error dst is returned as it was.
func (k kind) appendJSON(dst, raw []byte) ([]byte, error) {
	switch k.form {
	case formNumber:
		if isJSONNumber(raw) {
			return append(dst, raw...), nil
		}
	case formBool:
		return append(dst, boolText(raw)...), nil
	case formInstant, formLocal:
		return append(appendTime(append(dst, '"'), raw), '"'), nil
	case formBytes:
		b, err := appendBase64(append(dst, '"'), raw)
		if err != nil {
			return dst, err
		}
		return append(b, '"'), nil
	case formJSON:
		return appendCompact(dst, raw)
	case formArray:
		return k.appendArray(dst, raw)
	}
	return bsondoc.AppendJSONString(dst, string(raw))
}

func boolText(raw []byte) string {
	if string(raw) == "t" {
		return "true"
	}
	return "false"
}

// isJSONNumber tells numbers from NaN and the infinities: PostgreSQL writes all others as JSON does.
func isJSONNumber(raw []byte) bool {
	last := byte(0)
	if len(raw) > 0 {
		last = raw[len(raw)-1]
	}
	return last >= '0' && last <= '9'
}

// appendTime turns 2024-01-02 03:04:05.678+00 into 2024-01-02T03:04:05.678Z. The session's time zone is UTC, so that no other comes.
// What ISO 8601 has no form for (infinity, years before Christ) stays as it is.
func appendTime(dst, raw []byte) []byte {
	const date = len("2024-01-02")
	if len(raw) <= date || raw[date] != ' ' || raw[len(raw)-1] < '0' || raw[len(raw)-1] > '9' {
		return append(dst, raw...)
	}
	dst = append(append(dst, raw[:date]...), 'T')
	if rest, utc := bytes.CutSuffix(raw[date+1:], []byte("+00")); utc {
		return append(append(dst, rest...), 'Z')
	}
	return append(dst, raw[date+1:]...)
}

var errBytea = errors.New("bytea that is not written in hexadecimal digits")

func appendBase64(dst, raw []byte) ([]byte, error) {
	digits, ok := bytes.CutPrefix(raw, []byte(`\x`))
	if !ok {
		return dst, errBytea
	}
	b := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(b, digits); err != nil {
		return dst, errBytea
	}
	return base64.StdEncoding.AppendEncode(dst, b), nil
}

// appendJSONText appends the text of a JSON value: of a string, what it says.
func appendJSONText(dst, raw []byte) ([]byte, error) {
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return dst, err
		}
		return append(dst, s...), nil
	}
	return appendCompact(dst, raw)
}

func appendCompact(dst, raw []byte) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	if err := json.Compact(b, raw); err != nil {
		return dst, err
	}
	return b.Bytes(), nil
}

var errArray = errors.New("an array that can't be read")

// deepest is how many dimensions an array may have (MAXDIM).
const deepest = 6

// appendArray appends PostgreSQL's text of an array as JSON: {1,NULL,"a b"}, perhaps behind its bounds, [0:2]=.
func (k kind) appendArray(dst, raw []byte) ([]byte, error) {
	if len(raw) > 0 && raw[0] == '[' {
		i := bytes.IndexByte(raw, '=')
		if i < 0 {
			return dst, errArray
		}
		raw = raw[i+1:]
	}
	out, rest, err := appendElements(dst, raw, kind{form: k.of}, 1)
	if err == nil && len(rest) > 0 {
		err = errArray
	}
	if err != nil {
		return dst, err
	}
	return out, nil
}

func appendElements(dst, raw []byte, of kind, depth int) (out, rest []byte, err error) {
	if len(raw) == 0 || raw[0] != '{' || depth > deepest {
		return dst, raw, errArray
	}
	dst, raw = append(dst, '['), raw[1:]
	if len(raw) > 0 && raw[0] == '}' {
		return append(dst, ']'), raw[1:], nil
	}
	var text []byte
	for {
		switch {
		case len(raw) == 0:
			return dst, raw, errArray
		case raw[0] == '{':
			if dst, raw, err = appendElements(dst, raw, of, depth+1); err != nil {
				return dst, raw, err
			}
		case raw[0] == '"':
			text, raw, err = unquoted(text[:0], raw[1:])
			if err == nil {
				dst, err = of.appendJSON(dst, text)
			}
			if err != nil {
				return dst, raw, err
			}
		default:
			end := bytes.IndexAny(raw, ",}")
			if end <= 0 {
				return dst, raw, errArray
			}
			if string(raw[:end]) == "NULL" {
				dst = append(dst, "null"...)
			} else if dst, err = of.appendJSON(dst, raw[:end]); err != nil {
				return dst, raw, err
			}
			raw = raw[end:]
		}
		if len(raw) == 0 {
			return dst, raw, errArray
		}
		sep := raw[0]
		raw = raw[1:]
		switch sep {
		case '}':
			return append(dst, ']'), raw, nil
		case ',':
			dst = append(dst, ',')
		default:
			return dst, raw, errArray
		}
	}
}

// unquoted appends what stands before the next quote, without its backslashes.
func unquoted(dst, raw []byte) (out, rest []byte, err error) {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			return dst, raw[i+1:], nil
		case '\\':
			if i++; i == len(raw) {
				return dst, nil, errArray
			}
		}
		dst = append(dst, raw[i])
	}
	return dst, nil, errArray
}

// appendQuoted appends an element of an array's text.
func appendQuoted(dst []byte, element string) []byte {
	dst = append(dst, '"')
	for i := range len(element) {
		if c := element[i]; c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, element[i])
	}
	return append(dst, '"')
}

// lookup finds the value at a dotted path inside a value: only JSON has any.
func (k kind) lookup(raw []byte, path string) (syncd.Value, error) {
	if path == "" {
		if k.form == formJSON && string(bytes.TrimSpace(raw)) == "null" {
			return syncd.Value{}, nil
		}
		b, err := k.appendText(nil, raw)
		if err != nil {
			return syncd.Value{}, err
		}
		return syncd.Value{Text: string(b), Set: true}, nil
	}
	switch k.form {
	case formJSON:
	case formArray:
		b, err := k.appendArray(nil, raw)
		if err != nil {
			return syncd.Value{}, err
		}
		raw = b
	default:
		return syncd.Value{}, nil
	}
	at, ok, err := inside(raw, path)
	if err != nil || !ok {
		return syncd.Value{}, err
	}
	return kind{form: formJSON}.lookup(at, "")
}

// inside finds a value in JSON. As in documents of MongoDB, a name that is all that is left of the path wins, dots included.
func inside(raw json.RawMessage, path string) (json.RawMessage, bool, error) {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	if len(raw) == 0 {
		return nil, false, nil
	}
	head, rest, more := strings.Cut(path, ".")
	switch raw[0] {
	case '{':
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, false, err
		}
		if v, ok := fields[path]; ok {
			return v, true, nil
		}
		v, ok := fields[head]
		if !ok || !more {
			return nil, false, nil
		}
		return inside(v, rest)
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, false, err
		}
		i, err := strconv.Atoi(head)
		if err != nil || i < 0 || i >= len(items) || strconv.Itoa(i) != head {
			return nil, false, nil //nolint:nilerr // it is no position, so there is nothing under that name
		}
		if !more {
			return items[i], true, nil
		}
		return inside(items[i], rest)
	}
	return nil, false, nil
}
