package mapping

import "github.com/syncd-io/syncd/spec"

// DescribeShape tells documentation and JSON Schema what DecodeNode accepts.
func (cs *Collections) DescribeShape(path []string) spec.Shape {
	fields := spec.Describe(&collectionFields{}, append(path, spec.FreeName)...)
	for i := range fields {
		if fields[i].Name == "filter" {
			fields[i].Shape = spec.Shape{Form: spec.EitherForm, Either: []spec.Shape{
				{Form: spec.TextForm},
				{Form: spec.NamedForm, Item: &spec.Shape{}},
			}}
		}
	}
	return spec.Shape{
		Form:  spec.NamedForm,
		Names: `^[^$\x00]+$`,
		Item: &spec.Shape{Form: spec.EitherForm, Either: []spec.Shape{
			{Form: spec.TextForm, Rule: "min=1"},
			{Form: spec.BlockForm, Fields: fields},
		}},
	}
}
