package config

import (
	"slices"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Describe lists everything that a configuration of a program with these plugins can say.
func Describe(registry *syncd.Registry) []spec.Setting {
	f := newFile(registry)
	settings := spec.Describe(f)
	for i, s := range settings {
		switch s.Name {
		case string(syncd.KindSource), string(syncd.KindSink):
			settings[i].Required, settings[i].Nullable = true, false
		case "mapping":
			settings[i].Required, settings[i].Nullable = true, false
			for j, m := range s.Shape.Fields {
				if m.Name == "collections" {
					s.Shape.Fields[j].Required, s.Shape.Fields[j].Nullable = true, false
				}
			}
		}
	}
	extends := spec.Setting{
		Name: "extends", Path: []string{"extends"},
		Doc: "The file, or the list of files, that this one builds on; a name is relative to this file.",
		Shape: spec.Shape{Form: spec.EitherForm, Either: []spec.Shape{
			{Form: spec.TextForm, Rule: "min=1"},
			{Form: spec.ListForm, Item: &spec.Shape{Form: spec.TextForm, Rule: "min=1"}},
		}},
	}
	return slices.Insert(settings, 0, extends)
}

// Schema is the JSON Schema of a configuration file. A file that extends another may leave out what must be set; one that
// stands alone may not, and needs a checker unless it sends every document.
func Schema(registry *syncd.Registry) *spec.Schema {
	settings := Describe(registry)
	s := spec.SchemaOf(settings)
	s.Title = "syncd configuration"
	whole := spec.Requirements(settings)
	whole.AnyOf = []*spec.Schema{
		{Required: []string{string(syncd.KindChecker)}},
		{Required: []string{"run"}, Properties: map[string]*spec.Schema{"run": {
			Required: []string{"mode"},
			Properties: map[string]*spec.Schema{"mode": {AnyOf: []*spec.Schema{
				{Const: string(Full)}, spec.VariableSchema(),
			}}},
		}}},
	}
	s.If = &spec.Schema{Not: &spec.Schema{Required: []string{"extends"}}}
	s.Then = whole
	return s
}

// DescribeShape tells documentation and JSON Schema what DecodeNode accepts: the name of one plugin and its settings.
func (s *pluginSection) DescribeShape(path []string) spec.Shape {
	out := spec.Shape{Form: spec.OneOfForm}
	for _, name := range s.registry.Names(s.kind) {
		p, _ := s.registry.Lookup(s.kind, name)
		at := append(slices.Clone(path), name)
		fields := spec.Describe(p.Config(), at...)
		if path[0] != string(s.kind) { // what it does not set may come from the section itself
			for i := range fields {
				fields[i].Required = false
			}
		}
		out.Fields = append(out.Fields, spec.Setting{
			Name: name, Path: at, Doc: p.Summary(),
			Shape:    spec.Shape{Form: spec.BlockForm, Fields: fields},
			Required: slices.ContainsFunc(fields, func(f spec.Setting) bool { return f.Required }),
			Nullable: !slices.ContainsFunc(fields, func(f spec.Setting) bool { return f.Required }),
		})
	}
	return out
}
