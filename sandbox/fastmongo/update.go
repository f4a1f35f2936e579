package fastmongo

import (
	"bytes"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// updating makes a document of another, and says how, unless it replaces it as a whole.
type updating func(old bsoncore.Document) (bsoncore.Document, *description, error)

// compileUpdate knows replacements, the operators $set, $unset, $inc and $push, and pipelines of $set and $unset.
func compileUpdate(u value) (updating, error) {
	if u.Type == bsoncore.TypeArray {
		return compileUpdatePipeline(u)
	}
	d, ok := u.DocumentOK()
	if !ok {
		return nil, fail(9, "Update argument must be either an object or an array")
	}
	if !isOperators(d) {
		return func(old bsoncore.Document) (bsoncore.Document, *description, error) {
			id := lookup(d, "_id")
			if id.Type == 0 {
				id = lookup(old, "_id")
			}
			return idFirst(d, id), nil, nil
		}, nil
	}
	type operation struct {
		op, path string
		arg      value
	}
	var all []operation
	for rest := body(d); ; {
		op, ok := nextElement(&rest)
		if !ok {
			break
		}
		switch op.Key() {
		case "$set", "$unset", "$inc", "$push":
		default:
			return nil, fail(238, "the update operator %s is not implemented here", op.Key())
		}
		for fields := body(op.Value().Data); ; {
			e, ok := nextElement(&fields)
			if !ok {
				break
			}
			all = append(all, operation{op.Key(), e.Key(), e.Value()})
		}
	}
	return func(old bsoncore.Document) (bsoncore.Document, *description, error) {
		m := modification{doc: old}
		for _, o := range all {
			var err error
			switch o.op {
			case "$set":
				err = m.set(o.path, o.arg)
			case "$unset":
				m.unset(o.path)
			case "$inc":
				err = m.increase(o.path, o.arg)
			case "$push":
				err = m.push(o.path, o.arg)
			}
			if err != nil {
				return nil, nil, err
			}
		}
		m.diff.sort()
		return m.doc, &m.diff, nil
	}, nil
}

// modification is a document that operators work on, and what they did.
type modification struct {
	doc  bsoncore.Document
	diff description
}

func (m *modification) set(path string, v value) error {
	names := strings.Split(path, ".")
	if at := dig(m.doc, names); at.Type != 0 && at.Equal(v) {
		return nil
	}
	out, note, err := put(value{Type: bsoncore.TypeEmbeddedDocument, Data: m.doc}, names, v)
	if err != nil {
		return err
	}
	m.doc = out.Data
	m.diff.updated = append(m.diff.updated, note)
	return nil
}

// put sets what is at a path. The note names the topmost field that is new, if one is.
func put(in value, path []string, v value) (value, updatedField, error) {
	name := path[0]
	start, out := bsoncore.AppendDocumentStart(nil) // an array has the same form
	n, found := 0, false
	note := updatedField{path: name, to: v}
	for rest := body(in.Data); ; n++ {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		if e.Key() != name {
			out = append(out, e...)
			continue
		}
		found = true
		into := v
		if len(path) > 1 {
			at := e.Value()
			if at.Type != bsoncore.TypeEmbeddedDocument && at.Type != bsoncore.TypeArray {
				return value{}, note, fail(28, "Cannot create field '%s' in element {%s: %s}", path[1], name, at)
			}
			inner, below, err := put(at, path[1:], v)
			if err != nil {
				return value{}, note, err
			}
			into = inner
			note = below
			note.path = name + "." + below.path
		}
		out = append(bsoncore.AppendHeader(out, into.Type, name), into.Data...)
	}
	if !found {
		if in.Type == bsoncore.TypeArray {
			index, err := strconv.Atoi(name)
			if err != nil || index > n+1_000_000 {
				return value{}, note, fail(28, "Cannot create field '%s' in an array", name)
			}
			for ; n < index; n++ {
				out = appendIndex(out, bsoncore.TypeNull, n)
			}
		}
		for i := len(path) - 1; i > 0; i-- {
			at, b := bsoncore.AppendDocumentStart(nil)
			b = append(bsoncore.AppendHeader(b, v.Type, path[i]), v.Data...)
			b, _ = bsoncore.AppendDocumentEnd(b, at)
			v = value{Type: bsoncore.TypeEmbeddedDocument, Data: b}
		}
		note.to, note.created = v, true
		out = append(bsoncore.AppendHeader(out, v.Type, name), v.Data...)
	}
	out, err := bsoncore.AppendDocumentEnd(out, start)
	return value{Type: in.Type, Data: out}, note, err
}

// unset removes a field; an element of an array becomes null.
func (m *modification) unset(path string) {
	names := strings.Split(path, ".")
	if dig(m.doc, names).Type == 0 {
		return
	}
	m.doc = cutOut(value{Type: bsoncore.TypeEmbeddedDocument, Data: m.doc}, names).Data
	m.diff.removed = append(m.diff.removed, path)
}

func cutOut(in value, path []string) value {
	start, out := bsoncore.AppendDocumentStart(nil)
	for rest := body(in.Data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		switch {
		case e.Key() != path[0]:
			out = append(out, e...)
		case len(path) > 1:
			inner := cutOut(e.Value(), path[1:])
			out = append(bsoncore.AppendHeader(out, inner.Type, path[0]), inner.Data...)
		case in.Type == bsoncore.TypeArray:
			out = bsoncore.AppendHeader(out, bsoncore.TypeNull, path[0])
		}
	}
	out, _ = bsoncore.AppendDocumentEnd(out, start)
	return value{Type: in.Type, Data: out}
}

func (m *modification) increase(path string, by value) error {
	at := dig(m.doc, strings.Split(path, "."))
	switch {
	case !by.IsNumber() || by.Type == bsoncore.TypeDecimal128 || at.Type == bsoncore.TypeDecimal128:
		return fail(238, "$inc by a decimal is not implemented here")
	case at.Type == 0:
		return m.set(path, by)
	case !at.IsNumber():
		return fail(codeTypeMismatch, "Cannot apply $inc to a value of non-numeric type. The field '%s' is of type %s", path, at.Type)
	}
	x, xInt := integer(at)
	y, yInt := integer(by)
	var sum value
	switch {
	case !xInt || !yInt:
		sum.Type, sum.Data = bsoncore.TypeDouble, bsoncore.AppendDouble(nil, at.AsFloat64()+by.AsFloat64())
	case at.Type == bsoncore.TypeInt32 && by.Type == bsoncore.TypeInt32 && x+y == int64(int32(x+y)):
		sum.Type, sum.Data = bsoncore.TypeInt32, bsoncore.AppendInt32(nil, int32(x+y))
	default:
		sum.Type, sum.Data = bsoncore.TypeInt64, bsoncore.AppendInt64(nil, x+y)
	}
	return m.set(path, sum)
}

func (m *modification) push(path string, v value) error {
	add := []value{v}
	if d, ok := v.DocumentOK(); ok && isOperators(d) {
		each := lookup(d, "$each")
		if elements, _ := d.Elements(); len(elements) != 1 || each.Type != bsoncore.TypeArray {
			return fail(238, "$push with modifiers other than $each is not implemented here")
		}
		add, _ = bsoncore.Array(each.Data).Values()
	}
	at := dig(m.doc, strings.Split(path, "."))
	switch at.Type {
	case 0:
		return m.set(path, arrayOf(add))
	case bsoncore.TypeArray:
	default:
		return fail(codeBadValue, "The field '%s' must be an array but is of type %s", path, at.Type)
	}
	there, _ := bsoncore.Array(at.Data).Values()
	for i, a := range add {
		if err := m.set(path+"."+strconv.Itoa(len(there)+i), a); err != nil {
			return err
		}
	}
	return nil
}

func arrayOf(values []value) value {
	start, out := bsoncore.AppendArrayStart(nil)
	for i, v := range values {
		out = append(appendIndex(out, v.Type, i), v.Data...)
	}
	out, _ = bsoncore.AppendArrayEnd(out, start)
	return value{Type: bsoncore.TypeArray, Data: out}
}

// compileUpdatePipeline knows stages that set fields to constants or to {$slice: ["$field", n]}, and such that remove fields.
func compileUpdatePipeline(u value) (updating, error) {
	stages, err := readPipeline(u)
	if err != nil {
		return nil, err
	}
	var steps []func(m *modification) error
	for _, s := range stages {
		switch s.name {
		case "$set", "$addFields":
			for rest := body(s.spec.Data); ; {
				e, ok := nextElement(&rest)
				if !ok {
					break
				}
				v, err := compileExpression(e.Value())
				if err != nil {
					return nil, err
				}
				path := e.Key()
				steps = append(steps, func(m *modification) error { return m.set(path, v(m.doc)) })
			}
		case "$unset":
			for rest := body(exclusion(s.spec)); ; {
				e, ok := nextElement(&rest)
				if !ok {
					break
				}
				path := e.Key()
				steps = append(steps, func(m *modification) error { m.unset(path); return nil })
			}
		default:
			return nil, fail(238, "%s in an update is not implemented here", s.name)
		}
	}
	return func(old bsoncore.Document) (bsoncore.Document, *description, error) {
		m := modification{doc: old}
		for _, step := range steps {
			if err := step(&m); err != nil {
				return nil, nil, err
			}
		}
		diff := &description{}
		diff.compareInto("", old, m.doc)
		const overhead = 15 // of an entry that has a difference
		if diff.weight(0)+overhead >= len(m.doc) {
			diff = nil // MongoDB writes down the whole document then
		}
		return m.doc, diff, nil
	}, nil
}

func compileExpression(v value) (func(doc bsoncore.Document) value, error) {
	if s, ok := v.StringValueOK(); ok && strings.HasPrefix(s, "$") {
		path := strings.Split(s[1:], ".")
		return func(doc bsoncore.Document) value { return dig(doc, path) }, nil
	}
	d, ok := v.DocumentOK()
	if !ok || !isOperators(d) {
		return func(bsoncore.Document) value { return v }, nil
	}
	if literal := lookup(d, "$literal"); literal.Type != 0 {
		return func(bsoncore.Document) value { return literal }, nil
	}
	args, err := bsoncore.Array(lookup(d, "$slice").Data).Values()
	if err != nil || len(args) != 2 || !args[1].IsNumber() || toInt(args[1]) < 0 {
		return nil, fail(238, "expressions other than $literal and {$slice: [array, n]} are not implemented here")
	}
	array, err := compileExpression(args[0])
	if err != nil {
		return nil, err
	}
	return func(doc bsoncore.Document) value {
		all, _ := bsoncore.Array(bytes.Clone(array(doc).Data)).Values()
		return arrayOf(all[:min(len(all), int(toInt(args[1])))])
	}, nil
}
