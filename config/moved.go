package config

import (
	"cmp"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// reportMoved reports the settings of earlier versions that stand elsewhere now, and returns the tree without them.
func reportMoved(d *spec.Decoder, tree *spec.Node) *spec.Node {
	event := []string{"sink", sinkName(tree), "event"}
	out := tree
	if old := tree.Get("event"); old != nil {
		// Of a block of which a file sets one part and a variable another, both must change.
		inFile := old.Pos.Line > 0 || old.Kind != spec.Map
		if inFile {
			moved(d, old, []string{"event"}, event)
		}
		for _, e := range old.Entries {
			if e.Value.Pos.Line == 0 || !inFile {
				moved(d, e.Value, []string{"event", e.Name}, append(slices.Clone(event), e.Name))
			}
		}
		out = without(out, "event")
	}
	if old := tree.Get("run").Get("delete_format"); old != nil {
		moved(d, old, []string{"run", "delete_format"}, append(slices.Clone(event), "delete_format"))
		run := without(tree.Get("run"), "delete_format")
		out = without(out, "run")
		out.Entries = append(out.Entries, spec.Entry{Name: "run", Value: run})
	}
	return out
}

// moved reports one setting: at its key in a file, else by the name of the variable or the flag that sets it.
func moved(d *spec.Decoder, n *spec.Node, from, to []string) {
	hint := "move it to " + spec.PathString(to)
	if len(from) == 1 {
		hint = "move them to " + spec.PathString(to)
	}
	if strings.HasPrefix(n.Pos.Source, envSource) {
		hint = "set " + spec.EnvName(to) + " in its place"
	}
	d.Add(spec.Diagnostic{
		Severity: spec.Error, Code: spec.CodeMoved, Pos: keyOf(n), Path: spec.PathString(from),
		Message: "event settings stand under the sink that writes them", Hint: hint,
	})
}

// sinkName is the name of the configured sink, or what stands for it.
func sinkName(tree *spec.Node) string {
	name := ""
	if sink := tree.Get("sink"); sink != nil && len(sink.Entries) == 1 {
		name = sink.Entries[0].Name
	}
	return cmp.Or(name, spec.FreeName)
}

// without copies a block without one of its entries.
func without(n *spec.Node, name string) *spec.Node {
	out := *n
	out.Entries = slices.DeleteFunc(slices.Clone(n.Entries), func(e spec.Entry) bool { return e.Name == name })
	return &out
}
