package qdrantserver

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/qdrant/go-client/qdrant"
)

// jsonPath is a payload key: a name, then names (.a), array positions ([0]) and "every element" ([]). A name of
// other characters than letters, digits, _ and - is written in double quotes.
type jsonPath []pathStep

type pathStep struct {
	kind  stepKind
	name  string
	index int
}

type stepKind uint8

const (
	stepName stepKind = iota
	stepIndex
	stepEvery
)

func parsePath(text string) (jsonPath, error) {
	path, ok := scanPath(text)
	if !ok {
		return nil, invalidArgument("Invalid json path: '%s'", text)
	}
	return path, nil
}

func scanPath(text string) (path jsonPath, ok bool) {
	name, rest, ok := scanName(text)
	if !ok {
		return nil, false
	}
	path = jsonPath{{kind: stepName, name: name}}
	for rest != "" {
		switch rest[0] {
		case '.':
			if name, rest, ok = scanName(rest[1:]); !ok {
				return nil, false
			}
			path = append(path, pathStep{kind: stepName, name: name})
		case '[':
			inside, after, found := strings.Cut(rest[1:], "]")
			if !found {
				return nil, false
			}
			rest = after
			if inside == "" {
				path = append(path, pathStep{kind: stepEvery})
				continue
			}
			index, err := strconv.ParseUint(inside, 10, 31)
			if err != nil || inside[0] == '+' {
				return nil, false
			}
			path = append(path, pathStep{kind: stepIndex, index: int(index)})
		default:
			return nil, false
		}
	}
	return path, true
}

func scanName(text string) (name, rest string, ok bool) {
	if quoted, found := strings.CutPrefix(text, `"`); found {
		name, rest, ok = strings.Cut(quoted, `"`)
		return name, rest, ok && !strings.Contains(name, `\`)
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !isPlain(r) })
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:], end > 0
}

func isPlain(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsNumber(r) || r == '_' || r == '-')
}

// String is the canonical text, by which indexes are kept and error messages name a key.
func (p jsonPath) String() string {
	var b strings.Builder
	for i, step := range p {
		switch step.kind {
		case stepName:
			if i > 0 {
				b.WriteByte('.')
			}
			if step.name == "" || strings.ContainsFunc(step.name, func(r rune) bool { return !isPlain(r) }) {
				b.WriteString(`"` + step.name + `"`)
			} else {
				b.WriteString(step.name)
			}
		case stepIndex:
			b.WriteString("[" + strconv.Itoa(step.index) + "]")
		case stepEvery:
			b.WriteString("[]")
		}
	}
	return b.String()
}

// every makes sure that the path ends in []: what a nested condition iterates over.
func (p jsonPath) every() jsonPath {
	if p[len(p)-1].kind == stepEvery {
		return p
	}
	return append(p[:len(p):len(p)], pathStep{kind: stepEvery})
}

// visit calls found for each value at the path until it returns true, and reports whether it did. It never looks
// into arrays that the path does not name: "a.b" does not find b in the elements of an array a.
func (p jsonPath) visit(payload map[string]*qdrant.Value, found func(*qdrant.Value) bool) bool {
	value, ok := payload[p[0].name]
	return ok && visitValue(p[1:], value, found)
}

func visitValue(path jsonPath, value *qdrant.Value, found func(*qdrant.Value) bool) bool {
	if len(path) == 0 {
		return found(value)
	}
	step, rest := path[0], path[1:]
	switch kind := value.GetKind().(type) {
	case *qdrant.Value_StructValue:
		if step.kind == stepName {
			if child, ok := kind.StructValue.GetFields()[step.name]; ok {
				return visitValue(rest, child, found)
			}
		}
	case *qdrant.Value_ListValue:
		values := kind.ListValue.GetValues()
		switch {
		case step.kind == stepIndex && step.index < len(values):
			return visitValue(rest, values[step.index], found)
		case step.kind == stepEvery:
			for _, child := range values {
				if visitValue(rest, child, found) {
					return true
				}
			}
		}
	}
	return false
}
