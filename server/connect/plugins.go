package connect

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// plugin is a plugin and the names that it has here, of which the first is its class.
type plugin struct {
	syncd.Plugin
	names []string
}

func (p *plugin) class() string { return p.names[0] }

// findPlugins names the plugins. A source's class is its name: mongo. One of another kind has that in front: sink.kafka. As in Connect
// they have shorter and longer names: MongoSource, MongoSourceConnector, source.mongo; kafka, where no source is called so, and
// KafkaSink.
func (a *API) findPlugins() (all []plugin) {
	sources := a.Registry.Names(syncd.KindSource)
	for _, p := range a.Registry.Plugins() {
		kind := string(p.Kind())
		long := kind + "." + p.Name()
		title := strings.ToUpper(p.Name()[:1]) + p.Name()[1:] + strings.ToUpper(kind[:1]) + kind[1:]
		names := []string{long, title, title + "Connector"}
		switch {
		case p.Kind() == syncd.KindSource:
			names = append([]string{p.Name()}, names...)
		case p.Kind() == syncd.KindSink && !slices.Contains(sources, p.Name()):
			names = append(names, p.Name())
		}
		all = append(all, plugin{p, names})
	}
	return all
}

// plugin finds a plugin by one of its names.
func (a *API) plugin(name string) (*plugin, bool) {
	all := a.plugins()
	i := slices.IndexFunc(all, func(p plugin) bool { return slices.Contains(p.names, name) })
	if i < 0 {
		return nil, false
	}
	return &all[i], true
}

func (a *API) listPlugins(q *request) (answer, error) {
	type shown struct {
		Class   string `json:"class"`
		Type    string `json:"type"`
		Version string `json:"version"`
	}
	list := []shown{}
	for _, p := range a.plugins() {
		if connector := p.Kind() != syncd.KindChecker; connector || strings.EqualFold(q.query.Get("connectorsOnly"), "false") {
			list = append(list, shown{p.class(), string(p.Kind()), cmp.Or(p.Version(), a.Version)})
		}
	}
	return answer{body: list}, nil
}

// definition is what a setting is, as Connect describes one.
type definition struct {
	Name          string   `json:"name"`
	Type          string   `json:"type"`
	Required      bool     `json:"required"`
	Default       *string  `json:"default_value"`
	Importance    string   `json:"importance"`
	Documentation string   `json:"documentation"`
	Group         *string  `json:"group"`
	Order         int      `json:"order_in_group"`
	Width         string   `json:"width"`
	Display       string   `json:"display_name"`
	Dependents    []string `json:"dependents"`
}

func (a *API) pluginConfig(q *request) (answer, error) {
	p, ok := a.plugin(q.names[0])
	if !ok {
		return answer{}, fail(http.StatusNotFound, "Unknown plugin %s.", q.names[0])
	}
	return answer{body: a.definitions(p, nil)}, nil
}

// definitions lists the settings of a plugin: of a source all that a job can say, of another its own. What is required of plugins that
// may be chosen is so for those of which something is set.
func (a *API) definitions(p *plugin, set map[string]string) []definition {
	d := &defining{class: p.Name(), set: set, orders: map[string]int{}}
	if p.Kind() == syncd.KindSource {
		d.common(p)
		for _, s := range a.forms().Settings() {
			if s.Name != "extends" && s.Name != config.FlatName {
				d.add(s, s.Required)
			}
		}
		return d.all
	}
	for _, s := range spec.Describe(p.Config(), string(p.Kind()), p.Name()) {
		d.add(s, s.Required)
	}
	return d.all
}

type defining struct {
	class  string // of the source
	set    map[string]string
	all    []definition
	orders map[string]int // by group
}

func (d *defining) put(group string, x definition) {
	x.Group, x.Order, x.Dependents = &group, d.orders[group]+1, []string{}
	d.orders[group]++
	d.all = append(d.all, x)
}

// common are the settings that every client of Connect looks for.
func (d *defining) common(p *plugin) {
	const group = "Common"
	d.put(group, definition{
		Name: config.FlatName, Type: "STRING", Required: true, Importance: "HIGH", Width: "MEDIUM", Display: "Connector name",
		Documentation: "The job's name, under which its state is kept and its metrics and reports are found.",
	})
	d.put(group, definition{
		Name: config.FlatClass, Type: "STRING", Required: true, Importance: "HIGH", Width: "LONG", Display: "Connector class",
		Documentation: "The plugin that documents are read with: " + strings.Join(p.names, ", ") + ".",
	})
	d.put(group, definition{
		Name: config.FlatTasks, Type: "INT", Importance: "HIGH", Width: "SHORT", Display: "Tasks max",
		Documentation: "Splits read at the same time, which is run.readers; not set, it is chosen by the number of processors.",
	})
}

// add puts a setting, or what is below it.
func (d *defining) add(s spec.Setting, required bool) {
	key := config.FlatKey(s.Path)
	if s.Deprecated != "" || key == config.FlatTasks {
		return
	}
	switch s.Shape.Form {
	case spec.BlockForm:
		for _, f := range s.Shape.Fields {
			d.add(f, f.Required && (required || !s.Optional))
		}
		return
	case spec.OneOfForm:
		for _, f := range s.Shape.Fields {
			if s.Name == string(syncd.KindSource) && f.Name != d.class {
				continue
			}
			chosen := s.Name == string(syncd.KindSource) || d.touches(config.FlatKey(f.Path))
			for _, inner := range f.Shape.Fields {
				d.add(inner, inner.Required && chosen && s.Path[0] != "errors")
			}
		}
		return
	case spec.AnyForm, spec.TextForm, spec.SecretForm, spec.WholeForm, spec.NumberForm, spec.SwitchForm, spec.SpanForm, spec.ListForm,
		spec.NamedForm, spec.EitherForm:
	}
	x := definition{Name: key, Type: typeName(s.Shape), Required: required, Importance: "LOW", Documentation: s.Doc, Width: "NONE", Display: key}
	if s.Shape.Form == spec.NamedForm {
		x.Documentation += " A key of its own for each name: " + key + ".NAME."
	}
	if rules := s.Shape.Rules(); rules != "" {
		x.Documentation += " It is: " + rules + "."
	}
	if s.Default != "" {
		x.Default = &s.Default
	}
	switch {
	case required:
		x.Importance = "HIGH"
	case s.Example != "" || len(s.Env) > 1:
		x.Importance = "MEDIUM"
	}
	d.put(s.Path[0], x)
}

// touches reports whether something at or below a key is set.
func (d *defining) touches(key string) bool {
	for k := range d.set {
		if k == key || strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// typeName is the type that Connect has for a shape.
func typeName(s spec.Shape) string {
	switch s.Form {
	case spec.SecretForm:
		return "PASSWORD"
	case spec.WholeForm:
		return "LONG"
	case spec.NumberForm:
		return "DOUBLE"
	case spec.SwitchForm:
		return "BOOLEAN"
	case spec.ListForm:
		return "LIST"
	case spec.AnyForm, spec.TextForm, spec.SpanForm, spec.BlockForm, spec.NamedForm, spec.OneOfForm, spec.EitherForm:
	}
	return "STRING"
}

// value is what a setting has, and what is wrong with it.
type value struct {
	Name        string   `json:"name"`
	Value       *string  `json:"value"`
	Recommended []string `json:"recommended_values"`
	Errors      []string `json:"errors"`
	Visible     bool     `json:"visible"`
}

type configured struct {
	Definition definition `json:"definition"`
	Value      value      `json:"value"`
}

// validate says what is wrong with a configuration. Of a connector that is there, a mask means what the file has.
func (a *API) validate(q *request) (answer, error) {
	var body settings
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	want := body.set()
	class, ok := want[config.FlatClass]
	if !ok {
		return answer{}, fail(http.StatusBadRequest, "Connector config contains no connector type")
	}
	p, known := a.plugin(q.names[0])
	included, too := a.plugin(class)
	switch {
	case !known || !too:
		return answer{}, fail(http.StatusBadRequest, "Failed to find any class that implements Connector and which name matches %s, available connectors are: %s",
			class, strings.Join(a.Registry.Names(syncd.KindSource), ", "))
	case p.class() != included.class():
		return answer{}, fail(http.StatusBadRequest, "Included connector type %s does not match request type %s", class, q.names[0])
	}
	name, named := want[config.FlatName]
	path, there := filepath.Join(a.Host.Folder(), fileName(name)), false
	if j, _, err := a.findJob(name, notFound); err == nil && named {
		path, there = j.File, true
		if err := a.mayRefer(q, want, a.flat(j).Values); err != nil {
			return answer{}, err
		}
	} else if err := a.mayRefer(q, want, nil); err != nil {
		return answer{}, err
	}
	given := maps.Clone(want)
	var problems []config.FlatProblem
	if !named {
		want[config.FlatName] = "unnamed"
		problems = append(problems, config.FlatProblem{Key: config.FlatName, Message: `Missing required configuration "name" which has no default value.`})
	}
	_, more, err := a.edited(path, there, want)
	if err != nil {
		return answer{}, err
	}
	return answer{body: a.validation(q.names[0], p, given, append(problems, more...))}, nil
}

// mayRefer refuses references that the job's file does not have, to who may only look: what is wrong with a value may tell the value, and
// so what the service's environment holds.
func (a *API) mayRefer(q *request, want, has map[string]string) error {
	if a.CanOperate == nil || a.CanOperate(q.Request) {
		return nil
	}
	for _, key := range sorted(want) {
		if now, there := has[key]; strings.Contains(want[key], "${") && (!there || now != want[key]) {
			return fail(http.StatusForbidden, "%s refers to a variable that the job's file does not: to validate that takes the role operate", strconv.Quote(key))
		}
	}
	return nil
}

// validation shows settings with what is wrong with them.
func (a *API) validation(name string, p *plugin, given map[string]string, problems []config.FlatProblem) any {
	defs := a.definitions(p, given)
	groups := []string{}
	at := map[string]int{}
	for i, d := range defs {
		at[d.Name] = i
		if !slices.Contains(groups, *d.Group) {
			groups = append(groups, *d.Group)
		}
	}
	more := sorted(given)
	for _, problem := range problems {
		more = append(more, problem.Key)
	}
	for _, key := range more { // names that are free, and wrong ones
		if _, ok := at[key]; !ok {
			at[key] = len(defs)
			defs = append(defs, definition{
				Name: key, Type: "STRING", Importance: "LOW", Order: -1, Width: "NONE", Display: key, Dependents: []string{}, Documentation: a.about(key),
			})
		}
	}
	out := struct {
		Name    string       `json:"name"`
		Count   int          `json:"error_count"`
		Groups  []string     `json:"groups"`
		Configs []configured `json:"configs"`
	}{name, 0, groups, make([]configured, len(defs))}
	shown := a.forms().Mask(given)
	for i, d := range defs {
		v := value{Name: d.Name, Value: d.Default, Recommended: []string{}, Errors: []string{}, Visible: true}
		if text, ok := shown[d.Name]; ok {
			v.Value = &text
		}
		out.Configs[i] = configured{d, v}
	}
	for _, problem := range problems {
		v := &out.Configs[at[problem.Key]].Value
		v.Errors = append(v.Errors, problem.Message)
	}
	for i := range out.Configs {
		if c := &out.Configs[i]; len(c.Value.Errors) > 0 {
			out.Count++
			if text := c.Value.Value; text != nil && !parses(c.Definition.Type, *text) {
				c.Value.Value = nil
			}
		}
	}
	return out
}

// parses reports whether a text is of a type.
func parses(kind, text string) bool {
	switch kind {
	case "INT", "LONG":
		var n int64
		_, err := fmt.Sscanf(text+"\n", "%d\n", &n)
		return err == nil
	case "BOOLEAN":
		return strings.EqualFold(text, "true") || strings.EqualFold(text, "false")
	}
	return true
}

// about is what the setting is about in which a free name stands.
func (a *API) about(key string) string {
	path, err := config.FlatPath(key)
	settings := a.forms().Settings()
	if err != nil {
		return ""
	}
	doc := ""
	for _, name := range path {
		i := slices.IndexFunc(settings, func(s spec.Setting) bool { return s.Name == name })
		if i < 0 {
			break
		}
		doc, settings = settings[i].Doc, settings[i].Shape.Fields
	}
	return doc
}
