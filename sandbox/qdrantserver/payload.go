package qdrantserver

import (
	"maps"
	"math"

	"github.com/qdrant/go-client/qdrant"
)

// acceptPayload checks a payload that a request brought and brings it into the form in which it is stored: a
// value without a kind is null. It changes the message in place; the message belongs to the server.
func acceptPayload(payload map[string]*qdrant.Value) error {
	for _, value := range payload {
		if err := acceptValue(value); err != nil {
			return err
		}
	}
	return nil
}

func acceptValue(value *qdrant.Value) error {
	switch kind := value.GetKind().(type) {
	case nil:
		value.Kind = &qdrant.Value_NullValue{}
	case *qdrant.Value_DoubleValue:
		if math.IsNaN(kind.DoubleValue) || math.IsInf(kind.DoubleValue, 0) {
			return invalidArgument("cannot convert to json number")
		}
	case *qdrant.Value_StructValue:
		return acceptPayload(kind.StructValue.GetFields())
	case *qdrant.Value_ListValue:
		for _, child := range kind.ListValue.GetValues() {
			if err := acceptValue(child); err != nil {
				return err
			}
		}
	}
	return nil
}

func isNull(value *qdrant.Value) bool {
	switch value.GetKind().(type) {
	case nil, *qdrant.Value_NullValue:
		return true
	default:
		return false
	}
}

// Payloads are immutable, so the functions below copy what they change, and share the rest.

// mergePayload adds keys to a payload. A null removes its key: that is how Qdrant merges, unlike an upsert, which
// stores nulls.
func mergePayload(payload, added map[string]*qdrant.Value) map[string]*qdrant.Value {
	merged := make(map[string]*qdrant.Value, len(payload)+len(added))
	maps.Copy(merged, payload)
	for key, value := range added {
		if isNull(value) {
			delete(merged, key)
		} else {
			merged[key] = value
		}
	}
	return merged
}

// mergePayloadAt merges keys into the objects at a path, creating them where the path allows it.
func mergePayloadAt(payload map[string]*qdrant.Value, path jsonPath, added map[string]*qdrant.Value) map[string]*qdrant.Value {
	if len(path) == 0 {
		return mergePayload(payload, added)
	}
	changed := make(map[string]*qdrant.Value, len(payload)+1)
	maps.Copy(changed, payload)
	changed[path[0].name] = mergeValueAt(payload[path[0].name], path[1:], added)
	return changed
}

func mergeValueAt(value *qdrant.Value, path jsonPath, added map[string]*qdrant.Value) *qdrant.Value {
	if len(path) == 0 || path[0].kind == stepName {
		return structValue(mergePayloadAt(value.GetStructValue().GetFields(), path, added))
	}
	// An index beyond the end changes nothing; whatever is no array becomes an empty one.
	step, values := path[0], value.GetListValue().GetValues()
	changed := make([]*qdrant.Value, len(values))
	for i, child := range values {
		if step.kind == stepEvery || step.index == i {
			child = mergeValueAt(child, path[1:], added)
		}
		changed[i] = child
	}
	return listValue(changed)
}

// removePayloadAt deletes the keys at a path. A single array element cannot be deleted, since doing so twice
// would delete two; "a[]" empties the array.
func removePayloadAt(payload map[string]*qdrant.Value, path jsonPath) map[string]*qdrant.Value {
	name := path[0].name
	value, ok := payload[name]
	if !ok {
		return payload
	}
	changed := maps.Clone(payload)
	if len(path) == 1 {
		delete(changed, name)
	} else {
		changed[name] = removeValueAt(value, path[1:])
	}
	return changed
}

func removeValueAt(value *qdrant.Value, path jsonPath) *qdrant.Value {
	step := path[0]
	switch kind := value.GetKind().(type) {
	case *qdrant.Value_StructValue:
		if step.kind == stepName {
			return structValue(removePayloadAt(kind.StructValue.GetFields(), path))
		}
	case *qdrant.Value_ListValue:
		if step.kind == stepName {
			return value
		}
		if len(path) == 1 {
			if step.kind == stepEvery {
				return listValue(nil)
			}
			return value
		}
		changed := make([]*qdrant.Value, len(kind.ListValue.GetValues()))
		for i, child := range kind.ListValue.GetValues() {
			if step.kind == stepEvery || step.index == i {
				child = removeValueAt(child, path[1:])
			}
			changed[i] = child
		}
		return listValue(changed)
	}
	return value
}

func structValue(fields map[string]*qdrant.Value) *qdrant.Value {
	return &qdrant.Value{Kind: &qdrant.Value_StructValue{StructValue: &qdrant.Struct{Fields: fields}}}
}

func listValue(values []*qdrant.Value) *qdrant.Value {
	return &qdrant.Value{Kind: &qdrant.Value_ListValue{ListValue: &qdrant.ListValue{Values: values}}}
}

// payloadSelector says which part of a payload a read returns.
type payloadSelector struct {
	mode  payloadMode
	paths []jsonPath
}

type payloadMode uint8

const (
	payloadNone payloadMode = iota
	payloadAll
	payloadInclude
	payloadExclude
)

// parsePayloadSelector reads a selector; byDefault is what its absence means, which differs between Get (none)
// and Scroll (all).
func parsePayloadSelector(pb *qdrant.WithPayloadSelector, byDefault payloadMode) (payloadSelector, error) {
	if pb == nil {
		return payloadSelector{mode: byDefault}, nil
	}
	var fields []string
	selector := payloadSelector{}
	switch option := pb.GetSelectorOptions().(type) {
	case *qdrant.WithPayloadSelector_Enable:
		if option.Enable {
			selector.mode = payloadAll
		}
		return selector, nil
	case *qdrant.WithPayloadSelector_Include:
		selector.mode, fields = payloadInclude, option.Include.GetFields()
	case *qdrant.WithPayloadSelector_Exclude:
		selector.mode, fields = payloadExclude, option.Exclude.GetFields()
	default:
		return selector, invalidArgument("No PayloadSelector")
	}
	for _, field := range fields {
		path, err := parsePath(field)
		if err != nil {
			return selector, err
		}
		selector.paths = append(selector.paths, path)
	}
	return selector, nil
}

func (s payloadSelector) apply(payload map[string]*qdrant.Value) map[string]*qdrant.Value {
	switch s.mode {
	case payloadNone:
		return nil
	case payloadAll:
		return payload
	default:
		return s.selectFields(nil, payload)
	}
}

func (s payloadSelector) selectFields(at jsonPath, fields map[string]*qdrant.Value) map[string]*qdrant.Value {
	selected := map[string]*qdrant.Value{}
	for name, value := range fields {
		here := append(at, pathStep{kind: stepName, name: name})
		if s.keeps(here) {
			selected[name] = s.selectValue(here, value)
		}
	}
	return selected
}

// selectValue keeps containers even if nothing in them is kept, as Qdrant does. Array elements all have the path
// "a[]", which is why a selector with an index never keeps any.
func (s payloadSelector) selectValue(at jsonPath, value *qdrant.Value) *qdrant.Value {
	switch kind := value.GetKind().(type) {
	case *qdrant.Value_StructValue:
		return structValue(s.selectFields(at, kind.StructValue.GetFields()))
	case *qdrant.Value_ListValue:
		selected := []*qdrant.Value{}
		here := append(at, pathStep{kind: stepEvery})
		if s.keeps(here) {
			for _, child := range kind.ListValue.GetValues() {
				selected = append(selected, s.selectValue(here, child))
			}
		}
		return listValue(selected)
	default:
		return value
	}
}

// keeps decides about the value at a path. Including "a.b" has to keep a on the way and everything below b;
// excluding it drops b alone.
func (s payloadSelector) keeps(at jsonPath) bool {
	for _, path := range s.paths {
		n := min(len(at), len(path))
		if s.mode == payloadExclude {
			n = len(path)
		}
		if n > len(at) || !samePath(at[:n], path[:n]) {
			continue
		}
		return s.mode == payloadInclude
	}
	return s.mode == payloadExclude
}

func samePath(a, b jsonPath) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
