package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

var stagesSection = syncd.KindStage.Section()

// stagesBlock is the field `stages`: a block with an entry for each stage, in the order in which changes go through them.
type stagesBlock struct {
	registry *syncd.Registry
	stages   []Plugin
}

// DecodeNode finds the stages that the block names and decodes their settings over the plugins' defaults.
func (s *stagesBlock) DecodeNode(d *spec.Decoder, n *spec.Node) {
	if n.IsNull() {
		return
	}
	names := s.registry.Names(syncd.KindStage)
	if n.Kind != spec.Map {
		d.Errorf(n, spec.CodeWrongType, "stages: "+strings.Join(names, ", "), "%s must be a block with the names of stages", d.Path())
		return
	}
	for _, e := range n.Entries {
		d.In(e.Name, func() {
			p, known := s.registry.Lookup(syncd.KindStage, e.Name)
			if !known {
				d.Errorf(e.Value, spec.CodeUnknownPlugin, spec.DidYouMean(e.Name, names), "unknown %s plugin %q", syncd.KindStage, e.Name)
				return
			}
			config := p.Config()
			d.Decode(e.Value, config)
			s.stages = append(s.stages, Plugin{p, config})
		})
	}
}

// DescribeShape tells documentation and JSON Schema what DecodeNode accepts: the names of stages and their settings.
func (s *stagesBlock) DescribeShape(path []string) spec.Shape {
	out := spec.Shape{Form: spec.BlockForm}
	for _, name := range s.registry.Names(syncd.KindStage) {
		p, _ := s.registry.Lookup(syncd.KindStage, name)
		at := append(slices.Clone(path), name)
		out.Fields = append(out.Fields, spec.Setting{
			Name: name, Path: at, Doc: p.Summary(), Shape: spec.Shape{Form: spec.BlockForm, Fields: spec.Describe(p.Config(), at...)}, Optional: true, Nullable: true,
		})
	}
	return out
}

// stage returns the number of the first stage whose configuration is a T, or -1.
func stage[T any](s *stagesBlock) int {
	return slices.IndexFunc(s.stages, func(p Plugin) bool { _, is := p.Settings.(T); return is })
}

// indexed completes the mapping of a job that writes the index itself.
func (f *file) indexed() {
	index, indexes := f.Sink.config.(syncd.Indexer)
	if at := stage[syncd.VectorMaker](&f.Stages); indexes && at >= 0 {
		maker, _ := f.Stages.stages[at].Settings.(syncd.VectorMaker)
		f.Mapping.Indexed(index.PayloadKeys(), maker.VectorModel())
	}
}

// checkStages finds stages that do not fit the sink, and a mapping that does not fit what the sink writes.
func (l *loader) checkStages(d *spec.Decoder, tree *spec.Node, f *file) {
	if l.partial() || hasErrorsUnder(d.Diagnostics(), stagesSection) || hasErrorsUnder(d.Diagnostics(), "sink") {
		return
	}
	index, indexes := f.Sink.config.(syncd.Indexer)
	chunked, model := stage[syncd.Chunker](&f.Stages), stage[syncd.VectorMaker](&f.Stages)
	report := func(severity spec.Severity, hint, message string, path ...string) {
		at, _ := tree.Nearest(path)
		d.Add(spec.Diagnostic{Severity: severity, Code: spec.CodeBadValue, Pos: keyOf(at), Path: spec.PathString(path), Message: message, Hint: hint})
	}
	switch {
	case indexes && (chunked < 0 || model < 0):
		report(spec.Error, `add "stages: {chunk: {…}, embed: {…}}"`, "the sink "+f.Sink.plugin.Name()+" writes vectors, but no stage makes them", "sink")
		return
	case model >= 0 && (chunked < 0 || model < chunked):
		name := f.Stages.stages[model].Name()
		report(spec.Error, "let a stage before it divide documents into chunks, such as chunk",
			stagesSection+"."+name+" has nothing to embed: no stage before it divides documents into chunks", stagesSection, name)
		return
	case !indexes && len(f.Stages.stages) > 0 && chunked >= 0:
		report(spec.Warning, "write to an index, such as sink.qdrant, or remove the stages",
			"stages."+f.Stages.stages[chunked].Name()+" has no effect: the sink "+f.Sink.plugin.Name()+" writes documents as they are", stagesSection)
		return
	}
	if !indexes || hasErrorsUnder(d.Diagnostics(), "mapping") {
		return
	}
	keys := index.PayloadKeys()
	if a, ok := f.Checker.config.(syncd.Placed); ok && f.Checker.set {
		if b, ok := f.Sink.config.(syncd.Placed); ok && a.IndexName() != b.IndexName() {
			severity := spec.Warning
			if s, can := f.Sink.config.(syncd.Switcher); can && s.Switches() { // it would be switched by what another index holds
				severity = spec.Error
			}
			report(severity, "name the same index in both, or what is sent is never found",
				fmt.Sprintf("the checker asks %s, but the sink writes to %s", a.IndexName(), b.IndexName()), "sink", f.Sink.plugin.Name())
		}
	}
	same := func(setting, have, want string) {
		if have != want {
			report(spec.Error, "give it the name that the sink writes", fmt.Sprintf("mapping.%s is %q, but the sink writes it under %q", setting, have, want),
				append([]string{"mapping"}, strings.Split(setting, ".")...)...)
		}
	}
	same("payload.content_type", f.Mapping.Payload.ContentType, keys.ContentType)
	same("payload.id", f.Mapping.Payload.ID, keys.ID)
	same("payload.chunk_index", f.Mapping.Payload.ChunkIndex, keys.ChunkIndex)
	same("chunks.payload", f.Mapping.Chunks.Payload, keys.ChunkCount)
	if o := f.Mapping.Owner; o != nil && o.Payload != "" {
		same("owner.payload", o.Payload, keys.Database)
	}
	written := append([]string{keys.UpdatedAt}, keys.Fields...)
	check := func(v *mapping.Version, path ...string) {
		if v != nil && (!slices.Contains(written, v.Payload) || !slices.Contains(v.Field, v.Payload)) {
			report(spec.Error, "name a field that the sink keeps under its own name, in both",
				fmt.Sprintf("%s compares %s with the payload key %q, which the sink does not write of it", spec.PathString(path), strings.Join(v.Field, " or "), v.Payload), path...)
		}
	}
	check(f.Mapping.Version, "mapping", "version")
	for _, col := range f.Mapping.Collections {
		check(col.Version, "mapping", "collections", col.Name, "version")
	}
}
