package wizard

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
)

// proseWidth is how long the lines of explanations are at most.
const proseWidth = 100

// starter is the text of a first configuration. It is made from the declarations of all settings, so it can't grow stale.
type starter struct {
	b       strings.Builder
	choices Choices
	follows bool // the source can only be followed
}

// Starter writes the text of a first configuration of a program with these plugins.
func Starter(registry *syncd.Registry, choices Choices) (string, error) {
	s := &starter{choices: choices, follows: choices.OnlyFollows(registry)}
	fmt.Fprintf(&s.b, "# yaml-language-server: $schema=%s\n", choices.Schema)
	s.prose("", `A configuration of syncd, written by "syncd init".`)
	if !choices.All {
		s.prose("", `It has what most people set first. "syncd init --all" writes every setting, and "syncd settings run.orphans" explains one.`)
	}
	s.prose("", `A line that begins with # and a name, without a space, is a setting that is not set: it shows the default, or, where it says so, `+
		`an example. To set it take the # away, and that of the block around it, if it has one.`)
	s.prose("", `${NAME} is an environment variable, ${NAME:-value} has a value for where it is not set, and ${file:/run/secrets/name} is `+
		`what a file holds.`)
	for _, section := range config.Describe(registry) {
		switch section.Shape.Form {
		case spec.OneOfForm:
			kind := syncd.Kind(section.Name)
			i := slices.IndexFunc(section.Shape.Fields, func(f spec.Setting) bool { return f.Name == choices.Plugins[kind] })
			if i < 0 {
				return "", fmt.Errorf("the %s %q has no settings", kind, choices.Plugins[kind])
			}
			plugin := section.Shape.Fields[i]
			plugin.Shape.Fields = s.chosen(plugin.Shape.Fields)
			s.b.WriteString("\n")
			s.prose("", sentence(section.Doc)+" "+sentence(plugin.Doc))
			if len(plugin.Shape.Fields) == 0 {
				fmt.Fprintf(&s.b, "%s: {%s: {}}\n", section.Name, plugin.Name)
				continue
			}
			fmt.Fprintf(&s.b, "%s:\n", section.Name)
			s.block(plugin, "  ")
		case spec.BlockForm:
			if section.Name == syncd.KindStage.Section() {
				section.Shape.Fields = stagesFor(registry, choices.Plugins[syncd.KindSink], section.Shape.Fields)
			}
			if section.Shape.Fields = s.chosen(section.Shape.Fields); len(section.Shape.Fields) == 0 {
				continue
			}
			s.b.WriteString("\n")
			s.prose("", sentence(section.Doc))
			s.block(section, "")
		}
	}
	return s.b.String(), nil
}

// OnlyFollows reports whether the chosen source has changes, and no documents to look at.
func (c Choices) OnlyFollows(registry *syncd.Registry) bool {
	source, known := registry.Lookup(syncd.KindSource, c.Plugins[syncd.KindSource])
	if !known {
		return false
	}
	_, only := source.Config().(syncd.FollowedOnly)
	return only
}

// stagesFor are the stages that the sink can't do without, as such that must be set: a sink that writes an index needs chunks and
// vectors, and another has no use for them.
func stagesFor(registry *syncd.Registry, sink string, stages []spec.Setting) (out []spec.Setting) {
	plugin, known := registry.Lookup(syncd.KindSink, sink)
	if !known {
		return nil
	}
	if _, indexes := plugin.Config().(syncd.Indexer); !indexes {
		return nil
	}
	for _, stage := range stages {
		plugin, _ := registry.Lookup(syncd.KindStage, stage.Name)
		switch plugin.Config().(type) {
		case syncd.Chunker, syncd.VectorMaker:
			stage.Optional = false
			out = append(out, stage)
		}
	}
	return out
}

// firsts are the settings that the short form shows though nothing has to be set: what most people come to next.
var firsts = []string{
	"checker.qdrant.collection", "checker.qdrant.api_key", "sink.kafka.topic", "sink.qdrant.collection", "sink.qdrant.api_key",
	"sink.qdrant.create", "sink.pgvector.create", "sink.pgvector.updated_at", "stages.chunk.title", "stages.chunk.size", "stages.embed.api_key", "mapping.version", "run.orphans", "errors.dead_letter",
}

// chosen are those of settings, and of what is in them, that the file shows.
func (s *starter) chosen(fields []spec.Setting) (out []spec.Setting) {
	if s.choices.All {
		return fields
	}
	for _, f := range fields {
		if s.active(f) || slices.Contains(firsts, spec.PathString(f.Path)) {
			if f.Shape.Form == spec.BlockForm && !slices.Contains(firsts, spec.PathString(f.Path)) {
				f.Shape.Fields = s.chosen(f.Shape.Fields)
			}
			out = append(out, f)
		}
	}
	return out
}

func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}

// prose writes an explanation.
func (s *starter) prose(indent, text string) {
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > proseWidth {
			s.b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	if line != indent+"#" {
		s.b.WriteString(line + "\n")
	}
}

// block writes a setting that is a block, and all that is in it. If nothing in it has to be set it is all a comment.
func (s *starter) block(b spec.Setting, indent string) {
	if s.active(b) {
		fmt.Fprintf(&s.b, "%s%s:\n", indent, b.Name)
	} else {
		fmt.Fprintf(&s.b, "%s#%s:\n", indent, b.Name)
	}
	for _, f := range b.Shape.Fields {
		s.setting(f, indent+"  ")
	}
}

func (s *starter) setting(f spec.Setting, indent string) {
	if f.Deprecated != "" {
		return
	}
	s.prose(indent, f.Doc+s.variables(f))
	value, set := s.value(f)
	switch {
	case spec.PathString(f.Path) == "mapping.collections":
		fmt.Fprintf(&s.b, "%s%s:\n", indent, f.Name)
		s.collections(indent + "  ")
	case set:
		fmt.Fprintf(&s.b, "%s%s: %s\n", indent, f.Name, value)
	case f.Shape.Form == spec.BlockForm && s.active(f):
		s.block(f, indent)
	default:
		line := indent + "#" + sampleLine(f)
		if len(line) <= proseWidth || f.Shape.Form != spec.BlockForm {
			s.b.WriteString(line + "\n")
			return
		}
		fmt.Fprintf(&s.b, "%s#%s:\n", indent, f.Name)
		for _, inner := range f.Shape.Fields {
			if inner.Deprecated == "" {
				fmt.Fprintf(&s.b, "%s#  %s\n", indent, sampleLine(inner))
			}
		}
	}
}

// variables names the variable of its own that sets the setting, if it has one.
func (s *starter) variables(f spec.Setting) string {
	if len(f.Env) > 1 { // the last is SYNCD_…, which every setting has
		return fmt.Sprintf(" The environment variable %s overrides it.", f.Env[0])
	}
	return ""
}

// active reports whether something in a block is written as set.
func (s *starter) active(b spec.Setting) bool {
	if spec.PathString(b.Path) == "mapping.collections" {
		return true
	}
	if b.Shape.Form != spec.BlockForm {
		_, set := s.value(b)
		return set
	}
	return !b.Optional && slices.ContainsFunc(b.Shape.Fields, s.active)
}

// starters are what a first configuration says where that is neither a default nor an example of the declaration, and the
// settings that most people change first.
var starters = map[string]string{
	"source.mongo.uri":      "mongodb://localhost:27017",
	"source.mongo.database": "ProjectManagement",
	"source.postgres.dsn":   "postgres://localhost:5432/postgres",
	"checker.pgvector.dsn":  "postgres://localhost:5432/postgres",
	"sink.pgvector.dsn":     "postgres://localhost:5432/postgres",
	"stages.chunk.text":     "",
	"stages.embed.url":      "http://localhost:11434/v1",
	"stages.embed.model":    "all-minilm",
	"mapping.seed":          "",
	"run.mode":              "",
	"run.batch_size":        "",
}

// samples stand for settings that have no default and no example of their own.
var samples = map[string]string{
	"schedule.reconcile":   "{every: 6h}", // or cron
	"sink.qdrant.create":   "{enabled: true}",
	"sink.pgvector.create": "{enabled: true}",
	"mapping.owner":        `{payload: source_db}`,
	"mapping.version":      "{field: updatedAt, payload: updatedAt}",
	"mapping.chunks":       "{payload: chunk_count}",

	"cluster.connection": "{kafka: {bootstrap_servers: localhost:9092}}",
	"errors.dead_letter": "{file: {path: dead-letters.ndjson, format: envelope}}",
}

// value is what the file sets f to, as YAML; false if f is left at its default.
func (s *starter) value(f spec.Setting) (string, bool) {
	path := spec.PathString(f.Path)
	if f.Name == "database" && s.choices.Database != "" && f.Path[0] == string(syncd.KindSource) {
		return scalar(s.choices.Database), true
	}
	if path == "source.mongo.uri" && s.choices.Variable != "" {
		return quoted("${" + s.choices.Variable + "}"), true
	}
	if path == "run.follow" && s.follows {
		return "true", true
	}
	fallback, wanted := starters[path]
	if fallback == "" {
		fallback = f.Example
	}
	// An example is what a setting could be, not what it should be: only what must be set is.
	if !wanted && !f.Required && (f.Example == "" || len(f.Env) < 2) {
		return "", false
	}
	if wanted && fallback == "" {
		return shown(f), true
	}
	if f.Shape.Form != spec.TextForm && f.Shape.Form != spec.SecretForm {
		return fallback, fallback != ""
	}
	text := strings.Trim(fallback, `"'`)
	own := len(f.Env) > 1
	switch {
	case text == "" && f.Shape.Form == spec.SecretForm: // a secret belongs into a variable, whatever its name
		name := strings.ToUpper(strings.Join(f.Path[max(0, len(f.Path)-2):], "_"))
		if own {
			name = f.Env[0]
		}
		return quoted("${" + name + "}"), true
	case text == "":
		text = "change-me"
	}
	if own && f.Name != "database" {
		return quoted("${" + f.Env[0] + ":-" + text + "}"), true
	}
	return scalar(text), true
}

// sampleLine is a setting with a value that it could have, which is called an example where it is not the default.
func sampleLine(f spec.Setting) string {
	line := f.Name + ": " + sampleOf(f)
	if isExample(f) {
		line += "  # an example"
	}
	return line
}

// isExample reports whether sampleOf has something else than the default.
func isExample(f spec.Setting) bool {
	if _, ok := samples[spec.PathString(f.Path)]; ok {
		return true
	}
	if f.Shape.Form == spec.BlockForm {
		return slices.ContainsFunc(f.Shape.Fields, func(inner spec.Setting) bool { return inner.Deprecated == "" && isExample(inner) })
	}
	return f.Example != "" && f.Example != shown(f)
}

// sampleOf is a value that a setting which is left at its default could have, in one line: the default, where there is one.
func sampleOf(f spec.Setting) string {
	if sample, ok := samples[spec.PathString(f.Path)]; ok {
		return sample
	}
	switch f.Shape.Form {
	case spec.BlockForm:
		var fields []string
		for _, inner := range f.Shape.Fields {
			if inner.Deprecated == "" {
				fields = append(fields, inner.Name+": "+sampleOf(inner))
			}
		}
		return "{" + strings.Join(fields, ", ") + "}"
	case spec.NamedForm:
		return "{}"
	}
	if f.Example != "" {
		return f.Example
	}
	return shown(f)
}

// shown is a setting's default as YAML.
func shown(f spec.Setting) string {
	switch value := f.Value.(type) {
	case nil:
		if f.Shape.Form == spec.ListForm {
			return "[]"
		}
		return `""`
	case string:
		return scalar(value)
	default:
		text, err := json.Marshal(value)
		if err != nil {
			return `""`
		}
		return string(text)
	}
}

// scalar is a text as YAML, in quotes only where it needs them.
func scalar(value string) string {
	out, err := yaml.Marshal(value)
	plain := strings.TrimSuffix(string(out), "\n")
	if err != nil || plain != value || strings.ContainsAny(value, "{}[],") || text.Line(value) != value {
		return quoted(value)
	}
	return plain
}

func quoted(value string) string {
	var b strings.Builder
	enc := json.NewEncoder(text.Escape(&b))
	enc.SetEscapeHTML(false)
	_ = enc.Encode(value) // a text always has a JSON form, which is YAML too
	return strings.TrimSuffix(b.String(), "\n")
}

// collections writes what the database holds, or else the described system's.
func (s *starter) collections(indent string) {
	list := s.choices.Collections
	if len(list) == 0 {
		for _, c := range defaultCollections() {
			list = append(list, Collection{Name: c.Name, ContentType: c.ContentType, Count: -1})
		}
	}
	lines := make([]string, len(list))
	width := 0
	for i, c := range list {
		lines[i] = indent + scalar(c.Name) + ": " + scalar(c.ContentType)
		width = max(width, len(lines[i]))
	}
	for i, c := range list {
		var notes []string
		if c.Count >= 0 {
			notes = append(notes, text.Plural(c.Count, "document", "documents"))
		}
		if c.Guessed {
			notes = append(notes, "a plural made singular: is that what the index calls it?")
		}
		if len(notes) > 0 {
			lines[i] = fmt.Sprintf("%-*s  # %s", width, lines[i], strings.Join(notes, "; "))
		}
		s.b.WriteString(lines[i] + "\n")
	}
}
