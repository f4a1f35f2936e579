package config

import (
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/spec"
)

// Limits is the `limits` section: what slows a run down, and what stops it. 0 is no limit.
type Limits struct {
	DocumentsPerSecond float64 `yaml:"documents_per_second" rule:"min=0" doc:"Documents read per second, by all readers together; 0 is no limit."`
	BytesPerSecond     float64 `yaml:"bytes_per_second" rule:"min=0" doc:"Bytes of events sent per second, by all workers together; 0 is no limit."`
	MaxEvents          int64   `yaml:"max_events" rule:"min=0" doc:"Stop before more events than this are sent; 0 is no limit."`
	MaxMissingRatio    float64 `yaml:"max_missing_ratio" rule:"min=0,max=1" doc:"Stop where a larger share of a collection is missing though the index holds its content type; 0 is no limit."`
	MaxDeletes         int64   `yaml:"max_deletes" rule:"min=0" doc:"Delete nothing if more documents than this would be; 0 is 1 % of what the index holds, but at least 1,000, and of no content type more than a fifth of its documents, but at least 5."`
}

// Tolerance says what a document that can't be handled does to the run.
type Tolerance string

// The tolerances.
const (
	TolerateAll  Tolerance = "all"  // it is counted and named, the rest goes on, and the run ends with its own status
	TolerateNone Tolerance = "none" // the run stops
)

// Oversize says what happens to an event that is larger than the sink takes.
type Oversize string

// The policies.
const (
	OversizeDLQ       Oversize = "dlq"            // its document can't be sent
	OversizeReference Oversize = "reference_only" // it is sent without its document
	OversizeFail      Oversize = "fail"           // the run stops
)

// Errors is the `errors` section.
type Errors struct {
	Tolerance  Tolerance     `yaml:"tolerance" rule:"oneof=all none" doc:"What a document that can't be sent does to the run: counted, named and passed over (all), or the run stops (none)."`
	Max        int64         `yaml:"max" rule:"min=0" doc:"Stop when more documents than this can't be sent; 0 is no limit."`
	Oversize   Oversize      `yaml:"oversize" rule:"oneof=dlq reference_only fail" doc:"What happens to an event that is too large for the sink: its document can't be sent and goes to dead_letter (dlq), it is sent without its document and with the header syncd-document: reference (reference_only), or the run stops (fail)."`
	DeadLetter pluginSection `yaml:"dead_letter" doc:"Where documents go that can't be sent, with the reason in headers as Kafka Connect names them. What it does not set is taken from the sink, if that is of the same kind."`
}

// Plugin is a chosen plugin with its decoded settings; Config is nil when the section is absent.
type Plugin struct {
	syncd.Plugin
	Settings any
}

// Place is what people call the plugin, and where its server or its files are, without secrets.
func (p Plugin) Place() string {
	l, ok := p.Settings.(syncd.Locator)
	if !ok || l.Location() == "" {
		return p.Label()
	}
	return p.Label() + " at " + spec.ScrubURLs(l.Location())
}

// Config is a configuration that was found valid.
type Config struct {
	Name    string // of the job
	Source  Plugin
	Checker Plugin   // Settings is nil when there is none, which only full mode allows
	Stages  []Plugin // in their order
	Sink    Plugin
	// DeadLetter has no Settings where there are to be none.
	DeadLetter Plugin
	Mapping    *mapping.Mapping // the selected collections
	Run        Run
	Stream     Stream
	Schedule   Schedule
	Limits     Limits
	Errors     Errors
	Observe    Observe
	Cluster    Cluster
	// Coordination is the Kafka of the cluster; it has no Settings where that is the sink.
	Coordination Plugin

	Files []string // that were read, the most basic first
}

// Previewer shows the events that the configured sink would write, without a connection; nil if the sink writes no bytes.
func (c *Config) Previewer() syncd.Previewer {
	p, _ := c.Sink.Settings.(syncd.Previewer)
	return p
}

// Override is a setting from a flag.
type Override struct {
	Flag  string // as the user wrote it: --batch-size
	Path  []string
	Value string
}

// Scope says how much of a configuration a file is expected to hold.
type Scope uint8

// The scopes.
const (
	Whole    Scope = iota // everything that a run needs, together with what it extends
	Base                  // what others extend: what is missing may come from them
	Fragment              // as Base; and the files that it extends need not exist
)

// Input is where a configuration comes from.
type Input struct {
	Path          string // of the YAML file
	Text          []byte // what Path holds, if it is not a file to be read; nil reads it
	Scope         Scope
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
	parsed []parsedFile
	broken bool // a file could not be read, so that what seems to be missing may be in it

	known   *secretSettings // made when it is first asked for: see secrets
	unheard *unheard        // nil where the files' values take effect
}

// parsedFile is a file that was read; root is nil if its syntax is broken.
type parsedFile struct {
	text *text
	root *spec.Node
}

// file is the whole of a configuration file.
type file struct {
	Name     string         `yaml:"name" rule:"omitempty,min=1,max=100" example:"pages-to-qdrant" doc:"The job's name, under which its state is kept and its metrics and reports are found; not set, the file's name without its extension."`
	Source   pluginSection  `yaml:"source" doc:"Where documents are read."`
	Checker  pluginSection  `yaml:"checker" doc:"The index that is asked which documents it holds."`
	Stages   stagesBlock    `yaml:"stages" doc:"What is made of documents before they are sent: the stages that they go through, in the order in which they stand here."`
	Sink     pluginSection  `yaml:"sink" doc:"Where events are sent."`
	Mapping  mapping.Config `yaml:"mapping" doc:"Which collections are read and how their point ids are made."`
	Run      Run            `yaml:"run" doc:"How a run works."`
	Stream   Stream         `yaml:"stream" doc:"How changes are followed, with run.follow."`
	Schedule Schedule       `yaml:"schedule" doc:"What is done again and again."`
	Limits   Limits         `yaml:"limits" doc:"What slows a run down, and what stops it."`
	Errors   Errors         `yaml:"errors" doc:"What happens to documents that can't be sent."`
	Cluster  Cluster        `yaml:"cluster" doc:"Several processes that share the job's work."`
	Observe  Observe        `yaml:"observe" doc:"How a run can be watched: metrics, health and traces."`
}

// newFile returns the defaults of a configuration of a program with these plugins.
func newFile(registry *syncd.Registry) *file {
	section := func(kind syncd.Kind) pluginSection { return pluginSection{kind: kind, registry: registry} }
	cluster := defaultCluster()
	cluster.Connection = section(syncd.KindSink)
	return &file{
		Source: section(syncd.KindSource), Checker: section(syncd.KindChecker), Sink: section(syncd.KindSink),
		Stages:  stagesBlock{registry: registry},
		Mapping: mapping.Defaults(), Run: defaultRun(), Stream: Stream{OnPositionLost: PositionReconcile}, Errors: Errors{
			Tolerance: TolerateAll, Oversize: OversizeDLQ, DeadLetter: section(syncd.KindSink),
		},
		Observe: defaultObserve(), Cluster: cluster,
	}
}

// Result is what became of a configuration.
type Result struct {
	Config      *Config // nil if a diagnostic is an error, or the scope is not Whole
	Diagnostics spec.Diagnostics
	Files       []string // that were read, the most basic first
}

// Load reads, merges, decodes and checks a configuration. The diagnostics are sorted; Config is nil if any is an error.
func Load(in Input) (*Config, spec.Diagnostics) {
	r := Check(in)
	return r.Config, r.Diagnostics
}

// Check is Load, and says as well which files were read.
func Check(in Input) Result {
	if in.Env == nil {
		in.Env = lookupIn(in.Environ)
	}
	l := &loader{in: in}
	c := l.load()
	l.checkUnheard()
	diags := l.finish()
	if diags.HasErrors() || in.Scope != Whole {
		c = nil
	}
	return Result{Config: c, Diagnostics: diags, Files: l.Files}
}

func (l *loader) load() *Config {
	l.files(l.in.Path)
	if l.diags.HasErrors() && len(l.layers) == 0 {
		return nil
	}
	tree, err := l.tree()
	if err != nil {
		l.diags = append(l.diags, spec.Diagnostic{Severity: spec.Error, Code: spec.CodeSyntax, Message: err.Error()})
		return nil
	}
	return l.decode(tree)
}

// partial reports whether what is missing may come from elsewhere.
func (l *loader) partial() bool { return l.broken || l.in.Scope != Whole }

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
	files, diags, err := merge(l.layers)
	if err != nil {
		return nil, err
	}
	flags := &spec.Node{Kind: spec.Map}
	for _, o := range l.in.Overrides {
		set(flags, o.Path, scalarFrom("flag "+o.Flag, o.Value))
	}
	environment := l.environment(files)
	if len(environment.Entries) == 0 && len(flags.Entries) == 0 {
		l.diags = append(l.diags, diags...)
		return files, nil
	}
	all, diags, err := merge(append(l.layers, environment, flags))
	if err != nil {
		return nil, err
	}
	l.diags = append(l.diags, diags...)
	if beaten := l.beaten(files, environment, flags); len(beaten) > 0 {
		own, _, err := merge(append(slices.Clone(l.layers), flags))
		if err != nil {
			return nil, err
		}
		l.unheard = &unheard{own, beaten}
	}
	all.Pos = files.Pos
	return all, nil
}

// decode reads the merged tree and applies the rules that span sections.
func (l *loader) decode(tree *spec.Node) *Config {
	f := newFile(l.in.Registry)
	f.Errors.DeadLetter.beside, f.Cluster.Connection.beside = &f.Sink, &f.Sink
	l.checkEmpty(tree)
	d := spec.NewDecoder()
	if l.partial() {
		d.AllowMissing()
	}
	d.Decode(reportMoved(d, tree), f)
	l.checkName(d, tree, f)
	if followedOnly(f) {
		f.Run.Mode = Full // no index is asked about changes
	}
	for _, s := range []*pluginSection{&f.Source, &f.Checker, &f.Sink} {
		needed := s.kind != syncd.KindChecker || f.Run.Mode != Full
		if needed && tree.Get(string(s.kind)).IsNull() && !l.partial() {
			d.Errorf(tree, spec.CodeMissingField, "plugins: "+strings.Join(l.in.Registry.Names(s.kind), ", "), "missing field %q", s.kind)
		}
	}
	f.Run.setTimeouts()
	database := ""
	if namer, ok := f.Source.config.(syncd.DatabaseNamer); ok {
		database = namer.DatabaseName()
	}
	l.checkCollections(d, tree, f)
	c := &Config{Name: f.Name, Run: f.Run, Stream: f.Stream, Schedule: f.Schedule, Limits: f.Limits, Errors: f.Errors, Observe: f.Observe, Cluster: f.Cluster, Files: l.Files}
	f.indexed()
	d.In("mapping", func() { c.Mapping = compileMapping(f.Mapping, database, d, tree.Get("mapping")) })
	l.checkRules(d, tree, f, c)
	l.checkRun(d, tree, f)
	l.checkMemory(d, tree, f)
	l.checkPrune(d, tree, f, c)
	l.checkFollow(d, tree, f, c)
	l.checkErrors(d, tree, f, c)
	l.checkCluster(d, tree, f)
	l.checkStages(d, tree, f)
	l.diags = append(l.diags, l.located(tree, d.Diagnostics())...)
	c.Source = Plugin{f.Source.plugin, f.Source.config}
	c.Checker = Plugin{f.Checker.plugin, f.Checker.config}
	c.Stages = f.Stages.stages
	c.Sink = Plugin{f.Sink.plugin, f.Sink.config}
	c.Coordination = Plugin{f.Cluster.Connection.plugin, f.Cluster.Connection.config}
	c.DeadLetter = Plugin{f.Errors.DeadLetter.plugin, f.Errors.DeadLetter.config}
	return c
}

// compileMapping compiles what can be relied on: collections that were decoded, with seeds that were. That the others are
// left out does no harm, since their errors keep the configuration from being used.
func compileMapping(m mapping.Config, database string, d *spec.Decoder, n *spec.Node) *mapping.Mapping {
	if hasErrorsUnder(d.Diagnostics(), "mapping.namespace") {
		m.Namespace = mapping.Defaults().Namespace
	}
	sharedSeed := !hasErrorsUnder(d.Diagnostics(), "mapping.seed")
	bad := badCollections(d.Diagnostics())
	m.Collections = slices.DeleteFunc(slices.Clone(m.Collections), func(c mapping.Collection) bool {
		return bad[c.Name] || c.Seed == "" && !sharedSeed
	})
	for i, c := range m.Collections {
		if c.ContentType == "" { // not known here; it will differ from the others
			m.Collections[i].ContentType = "the content type of " + c.Name
		}
	}
	if len(m.Collections) == 0 && sharedSeed { // no collection to check the seed with: take any
		m.Collections = mapping.Collections{{Name: "collection", ContentType: "content_type"}}
		mapping.Compile(m, database, d, n)
		return &mapping.Mapping{}
	}
	m.Lint(d, n)
	return mapping.Compile(m, database, d, n)
}

// badCollections are the names of collections that have an error at or below their entries. A name may hold dots, so whatever
// of a path may be one counts.
func badCollections(diags spec.Diagnostics) map[string]bool {
	bad := map[string]bool{}
	for _, d := range diags {
		name, under := strings.CutPrefix(d.Path, "mapping.collections.")
		if !under || !unreliable(d) {
			continue
		}
		bad[name] = true
		for i := range len(name) {
			if name[i] == '.' {
				bad[name[:i]] = true
			}
		}
	}
	return bad
}

// unreliable reports whether what a diagnostic is about can't be relied on; a field beside it that is unknown or stands
// elsewhere does no harm.
func unreliable(d spec.Diagnostic) bool {
	return d.Severity == spec.Error && d.Code != spec.CodeUnknownField && d.Code != spec.CodeMoved
}

// hasErrorsUnder reports whether something at or below the path can't be relied on.
func hasErrorsUnder(diags spec.Diagnostics, section string) bool {
	for _, d := range diags {
		if unreliable(d) && (d.Path == section || strings.HasPrefix(d.Path, section+".")) {
			return true
		}
	}
	return false
}
