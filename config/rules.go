package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// checkRules checks what the chosen plugins have to say about the mapping, and the selection of collections.
func (l *loader) checkRules(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	filters, _ := f.Source.config.(syncd.FilterChecker)
	targets, _ := f.Sink.config.(syncd.TargetChecker)
	block, _ := tree.Nearest([]string{"mapping", "collections"})
	for _, r := range c.Mapping.Rules {
		name := r.Collection.Name
		path := "mapping.collections." + name
		entry := block.Get(name)
		if entry == nil {
			entry = block
		}
		if filter := r.Collection.Filter; filter != "" && f.Source.set {
			at := entry.Get("filter")
			if filters == nil {
				d.Add(spec.Diagnostic{
					Severity: spec.Error, Code: spec.CodeBadValue, Pos: at.Pos, Path: path + ".filter",
					Message: fmt.Sprintf("the source %s can't filter; %s.filter can't be used", f.Source.plugin.Name(), path),
				})
			} else if err := filters.CheckFilter(filter); err != nil {
				d.Add(spec.Diagnostic{
					Severity: spec.Error, Code: spec.CodeBadValue, Pos: at.Pos, Path: path + ".filter",
					Message: fmt.Sprintf("%s.filter: %v", path, err), Hint: syncd.HintOf(err),
				})
			}
		}
		if targets == nil || !f.Sink.set {
			continue
		}
		target := r.Target()
		if target.Database == "" {
			target.Database = "database" // unknown for a reason that is reported elsewhere
		}
		if err := targets.CheckTarget(target); err != nil {
			// The topic's own position if the collection has one, else the collection's name, which the shared rule is applied to.
			diag := spec.Diagnostic{
				Severity: spec.Error, Code: spec.CodeTopic, Path: path,
				Message: fmt.Sprintf("%s: %v", path, err), Hint: syncd.HintOf(err),
			}
			if topic := entry.Get("topic"); topic != nil {
				diag.Pos, diag.Path = topic.Pos, path+".topic"
			} else {
				diag.Pos = keyOf(entry)
				if rule, whole := tree.Nearest([]string{"sink", f.Sink.plugin.Name(), "topic"}); whole {
					diag.Related = rule.Pos
				}
			}
			d.Add(diag)
		}
	}
	l.checkPlaces(d, tree, f, c)
	l.selectCollections(d, tree, f, c)
}

// checkPlaces warns of places whose names the sink's servers confuse: those of collections' events, of dead letters, and the
// sink's own.
func (l *loader) checkPlaces(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	folder, can := f.Sink.config.(syncd.PlaceFolder)
	router, routes := f.Sink.config.(syncd.Router)
	if !can || !routes || !f.Sink.set {
		return
	}
	type place struct {
		name, of string
		at       spec.Pos
	}
	firsts := map[string]place{} // by what is alike
	told := map[string]bool{}
	look := func(p place, path string) {
		folded, trouble := folder.FoldPlace(p.name)
		first, seen := firsts[folded]
		if !seen {
			firsts[folded] = p
		}
		if p.name == "" || !seen || first.name == p.name || told[p.name] {
			return
		}
		told[p.name] = true
		d.Add(spec.Diagnostic{
			Severity: spec.Warning, Code: spec.CodeTopic, Pos: p.at, Related: first.at, Path: path,
			Message: fmt.Sprintf("%q for %s and %q for %s %s", first.name, first.of, p.name, p.of, trouble), Hint: "rename one of them",
		})
	}
	section := tree.Get("sink").Get(f.Sink.plugin.Name())
	for _, own := range folder.OwnPlaces() {
		look(place{own, "the sink's own use", keyOf(section)}, "sink."+f.Sink.plugin.Name())
	}
	block, _ := tree.Nearest([]string{"mapping", "collections"})
	for _, r := range c.Mapping.Rules {
		name := r.Collection.Name
		at := block.Get(name)
		if at == nil {
			at = block
		}
		look(place{router.Route(r.Target()), "collection " + name, keyOf(at)}, "mapping.collections."+name)
	}
	letters, can := f.Errors.DeadLetter.config.(syncd.Router)
	if !can || !f.Errors.DeadLetter.set || f.Errors.DeadLetter.plugin.Name() != f.Sink.plugin.Name() || location(letters) != location(router) {
		return
	}
	at := tree.Get("errors").Get("dead_letter")
	for _, r := range c.Mapping.Rules {
		target := r.Target()
		target.Topic = "" // a collection's own topic is for its events
		look(place{letters.Route(target), "dead letters", keyOf(at)}, "errors.dead_letter")
	}
}

// checkEmpty finds a file in which nothing is set, and says so in place of each thing that it lacks.
func (l *loader) checkEmpty(tree *spec.Node) {
	if l.partial() || !tree.Get(string(syncd.KindSource)).IsNull() || slices.ContainsFunc(l.layers, func(y *spec.Node) bool { return len(y.Entries) > 0 }) {
		return
	}
	l.broken = true
	l.diags = append(l.diags, spec.Diagnostic{
		Severity: spec.Error, Code: spec.CodeMissingField, Pos: tree.Pos, Message: "nothing is set here",
		Hint: "syncd init NAME.yaml writes a configuration to start from; extends: FILE builds on another",
	})
}

// located moves what is wrong between two places of different files to where the file that builds on the other caused it: that is
// the one under edit.
func (l *loader) located(tree *spec.Node, diags spec.Diagnostics) spec.Diagnostics {
	rank := func(p spec.Pos) int {
		if i := slices.Index(l.Files, p.Source); i >= 0 {
			return i
		}
		return len(l.Files) // a variable or a flag
	}
	collections, _ := tree.Nearest([]string{"mapping", "collections"})
	own := func(p spec.Pos) bool { // has the collection at this place a seed of its own?
		return slices.ContainsFunc(collections.Entries, func(e spec.Entry) bool { return keyOf(e.Value) == p && e.Value.Get("seed") != nil })
	}
	for i := range diags {
		d := &diags[i]
		if d.Code != spec.CodeSeedCollision || d.Related.IsZero() {
			continue
		}
		if rank(d.Related) > rank(d.Pos) {
			d.Pos, d.Related = d.Related, d.Pos
		}
		if seed, whole := tree.Nearest([]string{"mapping", "seed"}); whole && rank(seed.Pos) > rank(d.Pos) && (!own(d.Pos) || !own(d.Related)) {
			d.Pos, d.Path = seed.Pos, "mapping.seed"
		}
	}
	return diags
}

// checkCollections finds a configuration without collections, which would read nothing.
func (l *loader) checkCollections(d *spec.Decoder, tree *spec.Node, f *file) {
	at, whole := tree.Nearest([]string{"mapping", "collections"})
	if len(f.Mapping.Collections) > 0 || l.partial() || at.Broken || hasErrorsUnder(d.Diagnostics(), "mapping.collections") ||
		slices.ContainsFunc(d.Diagnostics(), func(d spec.Diagnostic) bool { return d.Severity == spec.Error && d.Path == "mapping" }) {
		return
	}
	message := "missing collections to read"
	if whole {
		message = "mapping.collections names no collection"
	}
	d.In("mapping", func() {
		d.In("collections", func() {
			d.Errorf(at, spec.CodeMissingField,
				`add a line for each under mapping.collections, such as "workItem: work_item": the collection, and what the index calls its documents`,
				"%s", message)
		})
	})
}

// maxProposals bounds how often the name that is nearest to an unknown one is looked for: that is slow where there are many.
const maxProposals = 10

// selectCollections applies run.collections.
func (l *loader) selectCollections(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	if len(f.Run.Collections) == 0 || hasErrorsUnder(d.Diagnostics(), "mapping") ||
		hasErrorsUnder(d.Diagnostics(), "run.collections") {
		return
	}
	list, _ := tree.Nearest([]string{"run", "collections"})
	place := func(i int) *spec.Node {
		if i < len(list.Items) {
			return list.Items[i]
		}
		return list // a list in one text: from a variable or a flag
	}
	chosen, unmatched := c.Mapping.Choose(f.Run.Collections)
	unknown := 0
	firsts := make(map[string]int, len(f.Run.Collections))
	for i, name := range f.Run.Collections {
		if first, again := firsts[name]; again {
			d.Add(spec.Diagnostic{
				Severity: spec.Warning, Code: spec.CodeNoEffect, Pos: place(i).Pos, Related: place(first).Pos, Path: "run.collections",
				Message: fmt.Sprintf("run.collections names %q twice", name), Hint: "it is read once",
			})
			continue
		}
		firsts[name] = i
		if !unmatched[name] || l.partial() && tree.Get("mapping").Get("collections") == nil {
			continue // which collections there are is said elsewhere
		}
		diag := spec.Diagnostic{
			Severity: spec.Error, Code: spec.CodeUnknownCollection, Pos: place(i).Pos, Path: "run.collections",
			Message: fmt.Sprintf("unknown collection %q", name),
		}
		switch unknown++; {
		case mapping.IsPattern(name):
			diag.Message = fmt.Sprintf("no collection matches %q", name)
			diag.Hint = spec.Known(namesOf(c.Mapping))
		case unknown <= maxProposals:
			diag.Hint = spec.Proposals(name, namesOf(c.Mapping))
		}
		d.Add(diag)
	}
	switch whole := len(c.Mapping.Rules); {
	case unknown > 0 || len(unmatched) > 0:
	case len(chosen.Rules) == 0 && whole > 0:
		d.Add(spec.Diagnostic{
			Severity: spec.Error, Code: spec.CodeUnknownCollection, Pos: list.Pos, Path: "run.collections",
			Message: "run.collections leaves no collection: " + strings.Join(f.Run.Collections, ", "), Hint: spec.Known(namesOf(c.Mapping)),
		})
	default:
		c.Mapping = chosen
		if slices.ContainsFunc(f.Run.Collections, mapping.IsPattern) {
			if c.Run.Collections = namesOf(chosen); len(c.Run.Collections) == whole {
				c.Run.Collections = nil // they are not a choice
			}
		}
	}
}

func namesOf(m *mapping.Mapping) []string {
	names := make([]string, len(m.Rules))
	for i, r := range m.Rules {
		names[i] = r.Collection.Name
	}
	return names
}

// smallestDocument is the length of {_id: 1} in MongoDB's encoding.
const smallestDocument = 14

// checkRun finds settings that contradict one another or change nothing. What a variable or a flag set for one run is no
// reason to complain about the file, so both settings must stand in one.
func (l *loader) checkRun(d *spec.Decoder, tree *spec.Node, f *file) {
	if hasErrorsUnder(d.Diagnostics(), "run") {
		return
	}
	run := tree.Get("run")
	warn := func(at, because *spec.Node, path, hint, format string, args ...any) {
		if at == nil || because == nil || at.Pos.Source != because.Pos.Source || at.Pos.Line == 0 {
			return
		}
		d.Add(spec.Diagnostic{
			Severity: spec.Warning, Code: spec.CodeNoEffect, Pos: keyOf(at), Related: keyOf(because), Path: path,
			Message: fmt.Sprintf(format, args...), Hint: hint,
		})
	}
	mode := run.Get("mode")
	if f.Run.Mode == Full {
		warn(run.Get("on_check_unavailable"), mode, "run.on_check_unavailable", "remove one of them",
			"run.on_check_unavailable has no effect: in mode full the index is not asked")
		for _, rule := range []string{"version", "chunks"} {
			warn(tree.Get("mapping").Get(rule), mode, "mapping."+rule, "remove one of them",
				"mapping.%s has no effect: in mode full the index is not asked", rule)
		}
	}
	if f.Run.BatchBytes/f.Run.BatchSize < smallestDocument {
		at, because := run.Get("batch_bytes"), run.Get("batch_size")
		if at == nil {
			at = because
		} else if because == nil {
			because = at
		}
		warn(at, because, "run.batch_bytes", "raise batch_bytes or lower batch_size",
			"run.batch_size has no effect: %d documents never fit into run.batch_bytes, %d", f.Run.BatchSize, f.Run.BatchBytes)
	}
}

// checkMemory finds what run.memory does not let happen.
func (l *loader) checkMemory(d *spec.Decoder, tree *spec.Node, f *file) {
	if hasErrorsUnder(d.Diagnostics(), "run") {
		return
	}
	memory := tree.Get("run").Get("memory")
	warn := func(at *spec.Node, path string, set, most int64) {
		if at == nil || at.Pos.Line == 0 || set <= most {
			return
		}
		diag := spec.Diagnostic{
			Severity: spec.Warning, Code: spec.CodeNoEffect, Pos: keyOf(at), Path: path, Hint: "lower it, or raise run.memory",
			Message: fmt.Sprintf("%s is %d, but run.memory, %d, has room for %d", path, set, f.Run.Memory, most),
		}
		if memory != nil {
			diag.Related = keyOf(memory)
		}
		d.Add(diag)
	}
	warn(tree.Get("run").Get("batch_bytes"), "run.batch_bytes", int64(f.Run.BatchBytes), f.Run.MostBatchBytes())
	if c, ok := f.Sink.config.(syncd.MemorySetter); ok && f.Sink.set {
		path, bytes := c.MemorySetting()
		at := tree.Get("sink").Get(f.Sink.plugin.Name())
		for _, name := range path {
			at = at.Get(name)
		}
		warn(at, strings.Join(append([]string{"sink", f.Sink.plugin.Name()}, path...), "."), bytes, f.Run.PluginMemory(syncd.KindSink))
	}
}

// checkPrune finds a file that prunes without saying which points are its own: a run would stop.
func (l *loader) checkPrune(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	at := tree.Get("run").Get("orphans")
	if f.Run.Orphans != OrphansPrune || at == nil || at.Pos.Line == 0 || l.partial() || hasErrorsUnder(d.Diagnostics(), "mapping") {
		return
	}
	if slices.ContainsFunc(c.Mapping.Rules, func(r *mapping.Rule) bool { return !r.Owned() && r.Database != "" }) {
		d.Add(spec.Diagnostic{
			Severity: spec.Warning, Code: spec.CodeNoEffect, Pos: keyOf(at), Path: "run.orphans",
			Message: "run.orphans: prune deletes nothing and stops the run, since it is not known which points are this job's",
			Hint:    `add to mapping: "owner: {payload: KEY}", where the indexer writes the database's name into the payload key KEY, or "owner: {exclusive: true}"`,
		})
	}
}

// checkErrors finds dead letters that could not be told from events, or would never be written.
func (l *loader) checkErrors(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	section := &f.Errors.DeadLetter
	if section.config == nil || hasErrorsUnder(d.Diagnostics(), "errors") || hasErrorsUnder(d.Diagnostics(), "sink") {
		return
	}
	at := tree.Get("errors").Get("dead_letter")
	d.In("errors", func() {
		d.In("dead_letter", func() {
			if f.Errors.Tolerance == TolerateNone {
				d.Report(spec.Warning, at, spec.CodeNoEffect, "remove it, or set tolerance: all",
					"errors.dead_letter has no effect: the first document that can't be sent stops the run")
			}
			own, can := section.config.(syncd.Router)
			events, both := f.Sink.config.(syncd.Router)
			if !can || !both || section.plugin.Name() != f.Sink.plugin.Name() || location(section.config) != location(f.Sink.config) {
				return
			}
			for _, rule := range c.Mapping.Rules {
				target := rule.Target()
				letters := target
				letters.Topic = "" // a collection's own topic is for its events
				if own.Route(letters) == events.Route(target) {
					d.Report(spec.Error, at, spec.CodeBadValue, "give it a place of its own",
						"errors.dead_letter writes to %s, where the events of collection %s go", own.Route(letters), rule.Collection.Name)
					return
				}
			}
		})
	})
}

func location(config any) string {
	if l, ok := config.(syncd.Locator); ok {
		return l.Location()
	}
	return ""
}

// keyOf is the place of a node as a whole: its key, else its value.
func keyOf(n *spec.Node) spec.Pos {
	if !n.Key.IsZero() {
		return n.Key
	}
	return n.Pos
}

// hints improves the proposals for unknown fields with what only the whole configuration knows: that a setting of that name
// stands elsewhere.
func (l *loader) hints() {
	var settings map[string][]string
	for i, d := range l.diags {
		if d.Code != spec.CodeUnknownField || d.Pos.Line == 0 || strings.HasPrefix(d.Hint, "did you mean") {
			continue
		}
		if settings == nil {
			settings = map[string][]string{}
			collect(Describe(l.in.Registry), settings)
		}
		path := strings.Split(d.Path, ".")
		name := path[len(path)-1]
		switch found := l.inUse(settings[name]); {
		case len(path) == 1 && spec.Nearest(name, []string{"extends"}) != "":
			l.diags[i].Hint = `did you mean "extends"?`
		case len(found) > 0 && len(found) <= 3:
			before := ""
			if n := len(found) - 1; n > 0 {
				before = strings.Join(found[:n], ", ") + " or "
			}
			l.diags[i].Hint = "did you mean " + before + found[len(found)-1] + "?"
		}
	}
}

// collect gathers the paths of all settings by name.
func collect(settings []spec.Setting, by map[string][]string) {
	for _, s := range settings {
		by[s.Name] = append(by[s.Name], spec.PathString(s.Path))
		collect(s.Shape.Fields, by)
	}
}

// inUse keeps the paths that are the configuration's own or those of a plugin that it names.
func (l *loader) inUse(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		section, rest, _ := strings.Cut(p, ".")
		if !slices.Contains(pluginSections, syncd.Kind(section)) {
			return strings.Contains(p, "*")
		}
		plugin, _, _ := strings.Cut(rest, ".")
		return !slices.ContainsFunc(l.layers, func(n *spec.Node) bool { return n.Get(section).Get(plugin) != nil })
	})
}
