package syncd

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// Kind is what a plugin is.
type Kind string

// The kinds of plugin.
const (
	KindSource  Kind = "source"
	KindChecker Kind = "checker"
	KindStage   Kind = "stage"
	KindSink    Kind = "sink"
)

// Section is the top-level section of a configuration in which plugins of the kind stand.
func (k Kind) Section() string {
	if k == KindStage {
		return "stages"
	}
	return string(k)
}

// Plugin is a plugin's declaration. Make one with NewSource, NewChecker, NewStage or NewSink; the zero value is not a plugin.
type Plugin struct {
	kind    Kind
	name    string
	label   string
	summary string
	version string
	level   Stability
	config  func() any
	open    func(ctx context.Context, config any, env Env) (any, error)
}

// NewSource declares a source. name stands in configurations; summary is one sentence; defaults is the config struct with
// its default values, whose tags declare every setting (see package spec), and holds no map, slice or pointer, since all
// configs are copies of it; open connects, within a bounded time, and is the only function here that may have side effects.
func NewSource[C any](name, summary string, defaults C, open func(ctx context.Context, config C, env Env) (Source, error)) Plugin {
	return newPlugin(KindSource, name, summary, defaults, open)
}

// NewChecker declares a checker, as NewSource declares a source.
func NewChecker[C any](name, summary string, defaults C, open func(ctx context.Context, config C, env Env) (Checker, error)) Plugin {
	return newPlugin(KindChecker, name, summary, defaults, open)
}

// NewStage declares a stage, as NewSource declares a source.
func NewStage[C any](name, summary string, defaults C, open func(ctx context.Context, config C, env Env) (Stage, error)) Plugin {
	return newPlugin(KindStage, name, summary, defaults, open)
}

// NewSink declares a sink, as NewSource declares a source.
func NewSink[C any](name, summary string, defaults C, open func(ctx context.Context, config C, env Env) (Sink, error)) Plugin {
	return newPlugin(KindSink, name, summary, defaults, open)
}

func newPlugin[C, P any](kind Kind, name, summary string, defaults C, open func(context.Context, C, Env) (P, error)) Plugin {
	return Plugin{
		kind: kind, name: name, summary: summary,
		config: func() any { c := defaults; return &c },
		open: func(ctx context.Context, config any, env Env) (any, error) {
			c, ok := config.(*C)
			if !ok {
				return nil, fmt.Errorf("opening %s %q: the configuration belongs to another plugin", kind, name)
			}
			p, err := open(ctx, *c, env)
			if err != nil {
				return nil, err // a typed nil must not become a plugin
			}
			return p, nil
		},
	}
}

// Kind says what the plugin is.
func (p Plugin) Kind() Kind { return p.kind }

// Section is the top-level section of a configuration in which the plugin stands.
func (p Plugin) Section() string { return p.kind.Section() }

// Name is the plugin's name in configurations.
func (p Plugin) Name() string { return p.name }

// WithLabel returns the plugin with the name that people know the product by, such as "MongoDB", for messages.
func (p Plugin) WithLabel(label string) Plugin {
	p.label = label
	return p
}

// Label is the name for messages: that of WithLabel, else Name.
func (p Plugin) Label() string {
	if p.label != "" {
		return p.label
	}
	return p.name
}

// Stability says how much a plugin may still change.
type Stability string

// The levels.
const (
	Experimental Stability = "experimental" // settings may change with any version
	Stable       Stability = "stable"       // settings change only with a new major version, and the changelog says so
)

// WithVersion returns the plugin with the version of its code and its stability. Without it a plugin has no version and is
// Experimental.
func (p Plugin) WithVersion(version string, level Stability) Plugin {
	p.version, p.level = version, level
	return p
}

// Version is the version of the plugin's code, or "".
func (p Plugin) Version() string { return p.version }

// Stability says how much the plugin may still change.
func (p Plugin) Stability() Stability {
	if p.level == "" {
		return Experimental
	}
	return p.level
}

// Summary is one sentence about the plugin.
func (p Plugin) Summary() string { return p.summary }

// Config returns a pointer to a fresh config struct that holds the defaults.
func (p Plugin) Config() any { return p.config() }

// OpenSource opens a source with a config that Config returned.
func (p Plugin) OpenSource(ctx context.Context, config any, env Env) (Source, error) {
	return opened[Source](ctx, p, KindSource, config, env)
}

// OpenChecker opens a checker with a config that Config returned.
func (p Plugin) OpenChecker(ctx context.Context, config any, env Env) (Checker, error) {
	return opened[Checker](ctx, p, KindChecker, config, env)
}

// OpenStage opens a stage with a config that Config returned.
func (p Plugin) OpenStage(ctx context.Context, config any, env Env) (Stage, error) {
	return opened[Stage](ctx, p, KindStage, config, env)
}

// OpenSink opens a sink with a config that Config returned.
func (p Plugin) OpenSink(ctx context.Context, config any, env Env) (Sink, error) {
	return opened[Sink](ctx, p, KindSink, config, env)
}

func opened[P any](ctx context.Context, p Plugin, kind Kind, config any, env Env) (P, error) {
	var none P
	if p.kind != kind {
		return none, fmt.Errorf("opening %q: it is a %s, not a %s", p.name, p.kind, kind)
	}
	if env.Logger == nil {
		env.Logger = slog.New(slog.DiscardHandler)
	}
	if env.Retried == nil {
		env.Retried = func(string) {}
	}
	if env.Adapted == nil {
		env.Adapted = func(string, int, int) {}
	}
	v, err := p.open(ctx, config, env)
	if err != nil {
		return none, err
	}
	return v.(P), nil
}

// Registry is the set of plugins that a program knows. It is a value: read-only, safe for concurrent use.
type Registry struct {
	plugins []Plugin // sorted by kind, then name
}

// NewRegistry returns a registry of the given plugins. Two of one kind with one name are an error, as is an empty name.
func NewRegistry(plugins ...Plugin) (*Registry, error) {
	sorted := slices.Clone(plugins)
	slices.SortStableFunc(sorted, func(a, b Plugin) int {
		if c := strings.Compare(string(a.kind), string(b.kind)); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	for i, p := range sorted {
		if p.name == "" || p.open == nil {
			return nil, fmt.Errorf("registering plugins: a %s plugin without a name", p.kind)
		}
		if i > 0 && sorted[i-1].kind == p.kind && sorted[i-1].name == p.name {
			return nil, fmt.Errorf("registering plugins: two %s plugins are named %q", p.kind, p.name)
		}
	}
	return &Registry{plugins: sorted}, nil
}

// Plugins lists all plugins, by kind, then name.
func (r *Registry) Plugins() []Plugin { return slices.Clone(r.plugins) }

// Lookup returns the plugin of that kind and name.
func (r *Registry) Lookup(kind Kind, name string) (Plugin, bool) {
	i := slices.IndexFunc(r.plugins, func(p Plugin) bool { return p.kind == kind && p.name == name })
	if i < 0 {
		return Plugin{}, false
	}
	return r.plugins[i], true
}

// Names lists the names of one kind, sorted.
func (r *Registry) Names(kind Kind) []string {
	var out []string
	for _, p := range r.plugins {
		if p.kind == kind {
			out = append(out, p.name)
		}
	}
	return out
}
