package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

const (
	envSource = "environment variable " // begins the Source of what a variable sets
	envPrefix = "SYNCD_"
	envTest   = "SYNCD_TEST_" // the test suites' own
	envClient = "SYNCD_SERVER"

	// EnvFile names the file of the configuration itself.
	EnvFile = "SYNCD_CONFIG"

	envSeparator = "__"
	envMode      = "INCREMENTAL_BACKFILL"
)

// environment builds the layer of environment variables: SYNCD_RUN__BATCH_SIZE for run.batch_size and so on, and the
// described system's own names, which the settings declare in their `env` tags. A variable that is set but empty counts as
// unset, since that is how compose files and CI systems pass on what nobody set.
func (l *loader) environment(soFar *spec.Node) *spec.Node {
	layer := &spec.Node{Kind: spec.Map}
	put := func(name, value string, path ...string) {
		if value != "" {
			set(layer, path, scalarFrom(envSource+name, value))
		}
	}
	aliases := func(config any, path ...string) {
		for _, f := range spec.Fields(config) {
			if f.Env == "" {
				continue
			}
			value, _ := l.in.Env(f.Env)
			if f.Env == envMode {
				value = modeOf(value)
			}
			if _, ok := f.Default.(bool); ok {
				value = switchOf(value)
			}
			put(f.Env, value, append(slices.Clone(path), f.Name)...)
		}
	}
	run := defaultRun()
	aliases(&run, "run")
	for _, kind := range pluginSections {
		section := soFar.Get(string(kind))
		if section == nil || section.Kind != spec.Map || len(section.Entries) != 1 {
			continue
		}
		name := section.Entries[0].Name
		if p, ok := l.in.Registry.Lookup(kind, name); ok {
			aliases(p.Config(), string(kind), name)
		}
	}
	if stages := soFar.Get(stagesSection); stages != nil && stages.Kind == spec.Map {
		for _, e := range stages.Entries {
			if p, ok := l.in.Registry.Lookup(syncd.KindStage, e.Name); ok {
				aliases(p.Config(), stagesSection, e.Name)
			}
		}
	}
	for _, v := range l.variables() {
		if v.path[0] != serverPrefix { // a service's: see LoadServer
			put(v.name, v.value, v.path...)
		}
	}
	return layer
}

// envSetting is a variable of the environment that names a setting.
type envSetting struct {
	name, value string
	path        []string
}

// variables are those of the environment that name settings, in the order of their names. What names none is reported.
func (l *loader) variables() (out []envSetting) {
	for _, pair := range slices.Sorted(slices.Values(l.in.Environ)) {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, envTest) {
			continue
		}
		path := strings.Split(strings.ToLower(strings.TrimPrefix(name, envPrefix)), envSeparator)
		if len(path) == 1 && strings.HasPrefix(name, envClient) {
			continue // how clients reach a service
		}
		if name == EnvFile {
			continue
		}
		if len(path) < 2 && path[0] != "name" || slices.Contains(path, "") {
			l.diags = append(l.diags, spec.Diagnostic{
				Severity: spec.Warning, Code: spec.CodeUnknownField, Pos: spec.Pos{Source: envSource + name},
				Message: "it names no setting and is ignored",
				Hint:    "write two underscores between the names of a path, such as SYNCD_RUN__BATCH_SIZE",
			})
			continue
		}
		if value != "" {
			out = append(out, envSetting{name, value, path})
		}
	}
	return out
}

// modeOf translates the described system's switch.
func modeOf(value string) string {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "true", "1", "yes", "on":
		return string(Incremental)
	case "false", "0", "no", "off":
		return string(Full)
	}
	return value // an error at its place, when decoded
}

// switchOf translates what people write for on and off where no YAML tells them what is right.
func switchOf(value string) string {
	switch modeOf(value) {
	case string(Incremental):
		return "true"
	case string(Full):
		return "false"
	}
	return value
}

// pluginSections are the top-level fields that name a plugin.
var pluginSections = []syncd.Kind{syncd.KindSource, syncd.KindChecker, syncd.KindSink}

// pluginSection is one of them: a block with one entry, the plugin's name and its settings.
type pluginSection struct {
	kind     syncd.Kind
	registry *syncd.Registry

	plugin syncd.Plugin
	config any
	set    bool
	beside *pluginSection // of the same kind, from whose settings this one's start
}

// DecodeNode finds the plugin that the section names and decodes its settings over the plugin's defaults.
func (s *pluginSection) DecodeNode(d *spec.Decoder, n *spec.Node) {
	if n.IsNull() {
		return
	}
	names := s.registry.Names(s.kind)
	if n.Kind != spec.Map || len(n.Entries) == 0 {
		d.Errorf(n, spec.CodeWrongType, "plugins: "+strings.Join(names, ", "), "%s must be a block with the name of a plugin", d.Path())
		return
	}
	var chosen []spec.Entry
	for _, e := range n.Entries {
		if _, known := s.registry.Lookup(s.kind, e.Name); !known {
			d.In(e.Name, func() {
				d.Errorf(e.Value, spec.CodeUnknownPlugin, spec.DidYouMean(e.Name, names), "unknown %s plugin %q", s.kind, e.Name)
			})
			continue
		}
		chosen = append(chosen, e)
	}
	if len(chosen) > 1 {
		d.Add(spec.Diagnostic{
			Severity: spec.Error, Code: spec.CodeOnePlugin, Pos: chosen[1].Value.Key, Related: chosen[0].Value.Key,
			Message: fmt.Sprintf("%s names two plugins, %q and %q", d.Path(), chosen[0].Name, chosen[1].Name),
			Hint:    "keep one",
		})
		return
	}
	if len(chosen) == 0 {
		return
	}
	e := chosen[0]
	s.plugin, _ = s.registry.Lookup(s.kind, e.Name)
	s.config = s.plugin.Config()
	if s.beside != nil && s.beside.plugin.Name() == e.Name {
		if of, ok := s.beside.config.(syncd.Deriver); ok {
			s.config = of.Derive()
		}
	}
	d.In(e.Name, func() {
		d.Decode(e.Value, s.config)
		s.set = !hasErrorsUnder(d.Diagnostics(), d.Path())
	})
}
