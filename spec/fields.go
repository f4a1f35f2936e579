package spec

import (
	"reflect"
	"slices"
	"strings"
)

// Field is the declaration of one setting, read from a config struct.
type Field struct {
	Name     string // in a file
	Doc      string // its sentence
	Rule     string // as in the `rule` tag
	Required bool
	Secret   bool
	Env      string // the environment variable that sets it besides SYNCD_…, from the `env` tag
	Example  string // YAML for documentation, from the `example` tag
	Default  any    // the value that the config struct holds

	Deprecated string // what to use instead, as "use batch_size"; empty if the field is current

	index []int
}

// Fields lists the settings that *config declares, in their order, with the values that it holds as defaults. Fields of
// an embedded struct count as its own; a field without a `yaml` name is not a setting.
func Fields(config any) []Field {
	v := reflect.ValueOf(config).Elem()
	var out []Field
	for _, sf := range reflect.VisibleFields(v.Type()) {
		name, _, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		if name == "" || name == "-" || !sf.IsExported() {
			continue
		}
		rule := sf.Tag.Get("rule")
		out = append(out, Field{
			Name:     name,
			Doc:      sf.Tag.Get("doc"),
			Rule:     rule,
			Required: contains(strings.Split(rule, ","), "required"),
			Env:      sf.Tag.Get("env"),
			Example:  sf.Tag.Get("example"),
			Secret:   sf.Type == reflect.TypeFor[Secret](),
			Default:  v.FieldByIndex(sf.Index).Interface(),

			Deprecated: sf.Tag.Get("deprecated"),

			index: sf.Index,
		})
	}
	return out
}

func contains(list []string, s string) bool { return slices.Contains(list, s) }
