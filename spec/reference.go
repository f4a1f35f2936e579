package spec

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-playground/validator/v10"
)

// EnvPrefix begins the names of the environment variables that every setting has.
const EnvPrefix = "SYNCD_"

// EnvName is the environment variable of the setting at path: SYNCD_RUN__BATCH_SIZE for run.batch_size.
func EnvName(path []string) string {
	return EnvPrefix + strings.ToUpper(strings.Join(path, "__"))
}

// What stands in a path for a name that the configuration's author chooses, and for the number of a list's item.
const (
	FreeName   = "<name>"
	ItemNumber = "<n>"
)

// Setting is the description of one setting, read from its declaration.
type Setting struct {
	Name     string
	Path     []string // in the whole configuration; FreeName and ItemNumber stand for what is not fixed
	Doc      string   // its sentence
	Shape    Shape
	Required bool     // it must be set, since its default is not a valid value; of a block, something in it
	Optional bool     // a block that may be left out as a whole though fields of it are required
	Nullable bool     // writing null is the same as leaving it out
	Default  string   // in words; "" where there is none
	Value    any      // the default as JSON has it, or nil
	Env      []string // the environment variables that set it: its own name's, if any, and SYNCD_…
	Example  string   // YAML, from the `example` tag

	Deprecated string // what to use instead
}

// Describe lists the settings that *config declares, in their order, as Fields does, with all that is below them. path is
// where config stands in a configuration.
func Describe(config any, path ...string) []Setting {
	d := describer{rules: rules()}
	return d.settings(reflect.ValueOf(config).Elem(), path)
}

type describer struct {
	rules  *validator.Validate
	inside []reflect.Type // the structs that enclose the current one, against types that contain themselves
}

func (d *describer) settings(v reflect.Value, path []string) []Setting {
	var out []Setting
	for _, f := range Fields(v.Addr().Interface()) {
		fv := v.FieldByIndex(f.index)
		s := Setting{
			Name: f.Name, Path: append(slices.Clone(path), f.Name), Doc: f.Doc, Example: f.Example, Deprecated: f.Deprecated,
			Required: f.Required && fv.IsZero() && fv.Kind() != reflect.Bool,
			Optional: fv.Kind() == reflect.Pointer || fv.Kind() == reflect.Map || fv.Kind() == reflect.Slice,
		}
		s.Shape = d.shape(fv, s.Path)
		if f.Rule != "" {
			s.Shape.Rule = f.Rule
		}
		if _, items := clauses(f.Rule); items != "" && s.Shape.Item != nil {
			s.Shape.Item.Rule = items
		}
		s.Value, s.Default = value(fv), s.Shape.Default
		if s.Default == "" {
			s.Default = inWords(s.Value)
		}
		if s.Shape.Form == BlockForm && !s.Optional {
			s.Required = s.Required || slices.ContainsFunc(s.Shape.Fields, func(f Setting) bool { return f.Required })
		}
		s.Nullable = !s.Required && (s.Shape.Form == BlockForm || d.valid(fv, f.Rule))
		if (s.Shape.scalar() || s.Shape.Form == ListForm && s.Shape.Item.scalar()) && !slices.Contains(path, FreeName) && !slices.Contains(path, ItemNumber) {
			if f.Env != "" {
				s.Env = append(s.Env, f.Env)
			}
			s.Env = append(s.Env, EnvName(s.Path))
		}
		out = append(out, s)
	}
	return out
}

// valid reports whether the default keeps the rules, as the decoder checks them when the setting is null.
func (d *describer) valid(v reflect.Value, rule string) bool {
	rule = strings.TrimPrefix(strings.TrimPrefix(rule, "required"), ",")
	return rule == "" || d.rules.Var(v.Interface(), rule) == nil
}

func (d *describer) shape(v reflect.Value, path []string) Shape {
	switch c := v.Addr().Interface().(type) {
	case Describer:
		return c.DescribeShape(path)
	case NodeDecoder:
		return Shape{}
	}
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		return Shape{Form: SpanForm}
	case reflect.TypeFor[Secret]():
		return Shape{Form: SecretForm}
	case reflect.TypeFor[*Node]():
		return Shape{}
	}
	items := func(form Form, place string) Shape {
		item := d.shape(reflect.New(v.Type().Elem()).Elem(), append(slices.Clone(path), place))
		return Shape{Form: form, Item: &item}
	}
	switch v.Kind() {
	case reflect.Struct:
		if slices.Contains(d.inside, v.Type()) {
			return Shape{}
		}
		d.inside = append(d.inside, v.Type())
		fields := d.settings(v, path)
		d.inside = d.inside[:len(d.inside)-1]
		return Shape{Form: BlockForm, Fields: fields}
	case reflect.Pointer:
		if v.IsNil() {
			return d.shape(reflect.New(v.Type().Elem()).Elem(), path)
		}
		return d.shape(v.Elem(), path)
	case reflect.Map:
		return items(NamedForm, FreeName)
	case reflect.Slice:
		return items(ListForm, ItemNumber)
	case reflect.String:
		return Shape{Form: TextForm}
	case reflect.Bool:
		return Shape{Form: SwitchForm}
	case reflect.Int, reflect.Int64, reflect.Int32:
		return Shape{Form: WholeForm}
	case reflect.Float64:
		return Shape{Form: NumberForm}
	}
	return Shape{}
}

// value gives a scalar default, or a list of texts, as JSON has it; what is empty is no default.
func value(v reflect.Value) any {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		return span(time.Duration(v.Int()).String())
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() > 0 && v.Type() != reflect.TypeFor[Secret]() {
			return v.String()
		}
	case reflect.Bool:
		return v.Bool()
	case reflect.Int, reflect.Int64, reflect.Int32:
		return v.Int()
	case reflect.Float64:
		return v.Float()
	case reflect.Slice:
		var list []string
		for i := range v.Len() {
			if v.Index(i).Kind() != reflect.String || v.Index(i).Type() == reflect.TypeFor[Secret]() {
				return nil
			}
			list = append(list, v.Index(i).String())
		}
		if list != nil {
			return list
		}
	}
	return nil
}

// span shortens a time span: 1m0s is 1m.
func span(text string) string {
	for _, tail := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, tail) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Example writes as YAML what a first configuration should say: the settings that must not be empty and those with an
// example of their own. One that a variable of its own can set is written as that variable, with the example or the default
// behind it.
func Example(settings []Setting) string {
	var b strings.Builder
	writeExample(&b, settings, "")
	return b.String()
}

func writeExample(b *strings.Builder, settings []Setting, indent string) {
	for _, s := range settings {
		_, needed := s.Shape.clause("required")
		switch {
		case s.Deprecated != "":
		case s.Example == "" && s.Shape.Form == BlockForm && !s.Optional:
			var inner strings.Builder
			writeExample(&inner, s.Shape.Fields, indent+"  ")
			if inner.Len() > 0 {
				b.WriteString(indent + s.Name + ":\n" + inner.String())
			}
		case s.Example != "" || needed && s.Shape.Default == "":
			b.WriteString(indent + s.Name + ": " + s.exampleValue() + "\n")
		}
	}
}

func (s Setting) exampleValue() string {
	fallback := s.Example
	if fallback == "" && s.Default != "" {
		fallback = s.Default
		if s.Shape.Form == TextForm {
			fallback = strconv.Quote(fallback)
		}
	}
	own := len(s.Env) > 1 // the last is SYNCD_…, which overrides the file anyway
	switch {
	case own && s.Shape.Form == SecretForm, own && fallback == "":
		return strconv.Quote("${" + s.Env[0] + "}")
	case own:
		return strconv.Quote("${" + s.Env[0] + ":-" + strings.Trim(fallback, `"'`) + "}")
	case fallback != "":
		return fallback
	case s.Shape.Form == SecretForm: // a secret belongs into a variable, whatever its name
		return strconv.Quote("${" + strings.ToUpper(strings.Join(s.Path[max(0, len(s.Path)-2):], "_")) + "}")
	}
	return `""` // the setting lacks an example; a test of the plugin's reference finds it
}
