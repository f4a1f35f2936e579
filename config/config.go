package config

import (
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// Mode says which documents a run sends.
type Mode string

// The modes.
const (
	Incremental Mode = "incremental" // those that the index lacks
	Full        Mode = "full"        // all
)

// OutagePolicy says what a run does when the index can't be reached at its start.
type OutagePolicy string

// The policies.
const (
	OutageFull OutagePolicy = "full" // send everything
	OutageFail OutagePolicy = "fail" // end the run
	OutageWait OutagePolicy = "wait" // try again until it can be reached
)

// Run is the `run` section.
type Run struct {
	Mode               Mode          `yaml:"mode" env:"INCREMENTAL_BACKFILL" rule:"oneof=incremental full" doc:"Which documents to send: incremental (those that the index lacks) or full (all)."`
	Collections        []string      `yaml:"collections" env:"BACKFILL_COLLECTIONS" doc:"Read only these collections of the mapping; empty means all."`
	BatchSize          int           `yaml:"batch_size" env:"BACKFILL_BATCH_SIZE" rule:"min=1,max=100000" doc:"Documents that travel together from the source through the check to the sink."`
	BatchBytes         int           `yaml:"batch_bytes" rule:"min=1024,max=1073741824" doc:"Bytes of whole documents after which a batch ends early."`
	Sleep              time.Duration `yaml:"sleep" env:"BACKFILL_SLEEP" rule:"min=0" doc:"Pause after each batch of a collection."`
	DryRun             bool          `yaml:"dry_run" env:"BACKFILL_DRY_RUN" doc:"Read and check, but send nothing, and say what would be sent."`
	Readers            int           `yaml:"readers" rule:"min=0,max=256" doc:"Splits read at the same time; 0 chooses by the number of processors."`
	Workers            int           `yaml:"workers" rule:"min=0,max=1024" doc:"Batches checked and sent at the same time; 0 chooses by the number of processors."`
	OnCheckUnavailable OutagePolicy  `yaml:"on_check_unavailable" rule:"oneof=full fail wait" doc:"When the index can't be reached at the start: send everything (full), end the run (fail), or try again until it can be reached (wait)."`
	WaitTimeout        time.Duration `yaml:"wait_timeout" rule:"min=0" doc:"After sending, wait up to this long for the index to show what was sent before the point count is printed; 0 does not wait."`
}

func defaultRun() Run {
	return Run{
		Mode: Incremental, BatchSize: 1000, BatchBytes: 8 << 20, OnCheckUnavailable: OutageFull, WaitTimeout: 10 * time.Second,
	}
}

// Tolerance says what a document that can't be handled does to the run.
type Tolerance string

// The tolerances.
const (
	TolerateAll  Tolerance = "all"  // it is counted and named, the rest goes on, and the run ends with its own status
	TolerateNone Tolerance = "none" // the run stops
)

// Errors is the `errors` section.
type Errors struct {
	Tolerance Tolerance `yaml:"tolerance" rule:"oneof=all none" doc:"What a document that can't be sent does to the run: counted, named and passed over (all), or the run stops (none)."`
}

// Plugin is a chosen plugin with its decoded settings; Config is nil when the section is absent.
type Plugin struct {
	syncd.Plugin
	Settings any
}

// Config is a configuration that was found valid.
type Config struct {
	Source  Plugin
	Checker Plugin // Settings is nil when there is none, which only full mode allows
	Sink    Plugin
	Mapping *mapping.Mapping // the selected collections
	Run     Run
	Errors  Errors

	Files []string // that were read, the most basic first
}

// Override is a setting from a flag.
type Override struct {
	Flag  string // as the user wrote it: --batch-size
	Path  []string
	Value string
}

// Input is where a configuration comes from.
type Input struct {
	Path          string // of the YAML file
	Environ       []string
	Overrides     []Override
	Registry      *syncd.Registry
	AllowUnsetEnv bool // an unset ${NAME} is empty rather than an error

	Env func(string) (string, bool) // looks a variable up; nil looks into Environ
}

type loader struct {
	in     Input
	layers []*spec.Node
	diags  spec.Diagnostics
	Files  []string
}

// file is the whole of a configuration file.
type file struct {
	Source  pluginSection  `yaml:"source" doc:"Where documents are read."`
	Checker pluginSection  `yaml:"checker" doc:"The index that is asked which documents it holds."`
	Sink    pluginSection  `yaml:"sink" doc:"Where events are sent."`
	Mapping mapping.Config `yaml:"mapping" doc:"Which collections are read and how their point ids are made."`
	Run     Run            `yaml:"run" doc:"How a run works."`
	Errors  Errors         `yaml:"errors" doc:"What happens to documents that can't be sent."`
}

// Load reads, merges, decodes and checks a configuration. The diagnostics are sorted; Config is nil if any is an error.
func Load(in Input) (*Config, spec.Diagnostics) {
	if in.Env == nil {
		in.Env = lookupIn(in.Environ)
	}
	l := &loader{in: in}
	l.files(in.Path, spec.Pos{}, nil)
	if l.diags.HasErrors() && len(l.layers) == 0 {
		return nil, l.diags.Sorted()
	}
	tree, err := l.tree()
	if err != nil {
		l.diags = append(l.diags, spec.Diagnostic{Severity: spec.Error, Code: spec.CodeSyntax, Message: err.Error()})
		return nil, l.diags.Sorted()
	}
	c := l.decode(tree)
	diags := l.diags.Sorted()
	if diags.HasErrors() {
		return nil, diags
	}
	return c, diags
}

func lookupIn(environ []string) func(string) (string, bool) {
	vars := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	}
}

// tree merges the files, the environment and the flags.
func (l *loader) tree() (*spec.Node, error) {
	files, err := merge(l.layers)
	if err != nil {
		return nil, err
	}
	flags := &spec.Node{Kind: spec.Map}
	for _, o := range l.in.Overrides {
		set(flags, o.Path, scalarFrom("flag "+o.Flag, o.Value))
	}
	all, err := merge(append(l.layers, l.environment(files), flags))
	if err != nil {
		return nil, err
	}
	all.Pos = files.Pos
	return all, nil
}

// decode reads the merged tree and applies the rules that span sections.
func (l *loader) decode(tree *spec.Node) *Config {
	section := func(kind syncd.Kind) pluginSection { return pluginSection{kind: kind, registry: l.in.Registry} }
	f := file{
		Source: section(syncd.KindSource), Checker: section(syncd.KindChecker), Sink: section(syncd.KindSink),
		Mapping: mapping.Defaults(), Run: defaultRun(), Errors: Errors{Tolerance: TolerateAll},
	}
	d := spec.NewDecoder()
	d.Decode(tree, &f)
	for _, s := range []*pluginSection{&f.Source, &f.Checker, &f.Sink} {
		needed := s.kind != syncd.KindChecker || f.Run.Mode != Full
		if needed && tree.Get(string(s.kind)).IsNull() {
			d.Errorf(tree, spec.CodeMissingField, "plugins: "+strings.Join(l.in.Registry.Names(s.kind), ", "), "missing field %q", s.kind)
		}
	}
	database := ""
	if namer, ok := f.Source.config.(syncd.DatabaseNamer); ok {
		database = namer.DatabaseName()
	}
	c := &Config{Run: f.Run, Errors: f.Errors, Files: l.Files}
	d.In("mapping", func() {
		if !hasErrorsUnder(d.Diagnostics(), "mapping") {
			c.Mapping = mapping.Compile(f.Mapping, database, d, tree.Get("mapping"))
		}
	})
	if c.Mapping != nil && !hasErrorsUnder(d.Diagnostics(), "mapping") {
		l.checkRules(d, tree, &f, c)
	}
	l.diags = append(l.diags, d.Diagnostics()...)
	c.Source = Plugin{f.Source.plugin, f.Source.config}
	c.Checker = Plugin{f.Checker.plugin, f.Checker.config}
	c.Sink = Plugin{f.Sink.plugin, f.Sink.config}
	return c
}

// checkRules checks what the chosen plugins have to say about the mapping, and the selection of collections.
func (l *loader) checkRules(d *spec.Decoder, tree *spec.Node, f *file, c *Config) {
	place := func(path ...string) *spec.Node {
		n, _ := tree.Nearest(path)
		return n
	}
	filters, _ := f.Source.config.(syncd.FilterChecker)
	targets, _ := f.Sink.config.(syncd.TargetChecker)
	for _, r := range c.Mapping.Rules {
		name := r.Collection.Name
		if filter := r.Collection.Filter; filter != "" && f.Source.set {
			at := place("mapping", "collections", name, "filter")
			if filters == nil {
				d.Errorf(at, spec.CodeBadValue, "", "the source %s can't filter; mapping.collections.%s.filter can't be used", f.Source.plugin.Name(), name)
			} else if err := filters.CheckFilter(filter); err != nil {
				d.Errorf(at, spec.CodeBadValue, "", "mapping.collections.%s.filter: %v", name, err)
			}
		}
		if targets != nil && f.Sink.set {
			if err := targets.CheckTarget(r.Target()); err != nil {
				d.Errorf(place("mapping", "collections", name, "topic"), spec.CodeBadValue, "", "mapping.collections.%s: %v", name, err)
			}
		}
	}
	if len(f.Run.Collections) > 0 {
		selected, err := c.Mapping.Select(f.Run.Collections)
		if err != nil {
			d.Errorf(place("run", "collections"), spec.CodeUnknownCollection, syncd.HintOf(err), "%v", err)
			return
		}
		c.Mapping = selected
	}
}

func hasErrorsUnder(diags spec.Diagnostics, section string) bool {
	for _, d := range diags {
		if d.Severity == spec.Error && (d.Path == section || strings.HasPrefix(d.Path, section+".")) {
			return true
		}
	}
	return false
}
