package fastmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// projection is a compiled projection. Nil keeps whole documents.
type projection struct {
	include bool
	fields  map[string]*projection // nil for a whole field; below the top level, include is that of the top
	id      bool                   // keep _id
}

// onlyID reports that nothing but _id is asked for, which the _id index can answer.
func (p *projection) onlyID() bool { return p != nil && p.include && p.id && len(p.fields) == 0 }

func compileProjection(d bsoncore.Document) (*projection, error) {
	p := &projection{id: true}
	decided := false
	idNamed, idKept := false, true
	for rest := body(d); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		if e.Key() == "_id" && (e.Value().IsNumber() || e.Value().Type == bsoncore.TypeBoolean) {
			idNamed, idKept = true, truthy(e.Value())
			continue
		}
		if err := p.add(e.Key(), e.Key(), e.Value(), &decided); err != nil {
			return nil, err
		}
	}
	p.id = idKept
	if !decided {
		if !idNamed {
			return nil, nil // none
		}
		p.include = idKept // {_id: 1} keeps only it, {_id: 0} all others
	}
	return p, nil
}

func (p *projection) add(whole, path string, v value, decided *bool) error {
	if d, ok := v.DocumentOK(); ok {
		if isOperators(d) {
			return fail(238, "operators in a projection are not implemented here")
		}
		n := 0
		for rest := body(d); ; n++ {
			e, ok := nextElement(&rest)
			if !ok {
				break
			}
			if err := p.add(whole+"."+e.Key(), path+"."+e.Key(), e.Value(), decided); err != nil {
				return err
			}
		}
		if n == 0 {
			return fail(51270, "An empty sub-projection is not a valid value. Found empty object at path")
		}
		return nil
	}
	if !v.IsNumber() && v.Type != bsoncore.TypeBoolean {
		return fail(238, "computed fields in a projection are not implemented here")
	}
	switch keep := truthy(v); {
	case !*decided:
		p.include, *decided = keep, true
	case keep && !p.include:
		return fail(31253, "Cannot do inclusion on field %s in exclusion projection", whole)
	case !keep && p.include:
		return fail(31254, "Cannot do exclusion on field %s in inclusion projection", whole)
	}
	at := p
	names := strings.Split(path, ".")
	for i, name := range names {
		if name == "" || strings.HasPrefix(name, "$") {
			return fail(codeBadValue, "FieldPath %q is not valid in a projection", whole)
		}
		last := i == len(names)-1
		next, there := at.fields[name]
		if there && (last || next == nil) {
			return fail(31249, "Path collision at %s", whole)
		}
		if at.fields == nil {
			at.fields = make(map[string]*projection)
		}
		if last {
			at.fields[name] = nil
		} else if next == nil {
			next = &projection{include: p.include}
			at.fields[name] = next
		}
		at = next
	}
	return nil
}

// append appends what the projection keeps of a document.
func (p *projection) append(dst []byte, doc bsoncore.Document) []byte {
	if p == nil {
		return append(dst, doc...)
	}
	return p.appendFields(dst, doc, true)
}

func (p *projection) appendFields(dst []byte, doc []byte, top bool) []byte {
	start, dst := bsoncore.AppendDocumentStart(dst)
	for rest := body(doc); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		sub, named := p.fields[string(e.KeyBytes())]
		switch {
		case top && !named && string(e.KeyBytes()) == "_id":
			if p.id {
				dst = append(dst, e...)
			}
		case !named:
			if !p.include {
				dst = append(dst, e...)
			}
		case sub == nil:
			if p.include {
				dst = append(dst, e...)
			}
		default:
			dst = sub.appendElement(dst, e)
		}
	}
	dst, _ = bsoncore.AppendDocumentEnd(dst, start)
	return dst
}

// appendElement appends an element of which only a part is named. A scalar has no parts: inclusion drops it, exclusion
// keeps it.
func (p *projection) appendElement(dst []byte, e bsoncore.Element) []byte {
	v := e.Value()
	switch v.Type {
	case bsoncore.TypeEmbeddedDocument:
		dst = bsoncore.AppendHeader(dst, v.Type, e.Key())
		return p.appendFields(dst, v.Data, false)
	case bsoncore.TypeArray:
		dst = bsoncore.AppendHeader(dst, v.Type, e.Key())
		return p.appendArray(dst, v.Data)
	}
	if !p.include {
		dst = append(dst, e...)
	}
	return dst
}

func (p *projection) appendArray(dst []byte, array []byte) []byte {
	start, dst := bsoncore.AppendArrayStart(dst)
	n := 0
	for rest := body(array); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		v := e.Value()
		switch v.Type {
		case bsoncore.TypeEmbeddedDocument:
			dst = appendIndex(dst, v.Type, n)
			dst = p.appendFields(dst, v.Data, false)
		case bsoncore.TypeArray:
			dst = appendIndex(dst, v.Type, n)
			dst = p.appendArray(dst, v.Data)
		default:
			if p.include {
				continue
			}
			dst = appendIndex(dst, v.Type, n)
			dst = append(dst, v.Data...)
		}
		n++
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, start)
	return dst
}
