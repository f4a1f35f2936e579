package spec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-playground/validator/v10"
)

// NodeDecoder is implemented by a config type whose YAML form is not simply its fields (a shorthand, say). It reports
// what is wrong through d and must not panic on any node.
type NodeDecoder interface {
	DecodeNode(d *Decoder, n *Node)
}

// SelfChecker is implemented by a config struct with rules that tags can't express, such as two fields that exclude
// each other. It is called after its fields were decoded without errors; n is the struct's own node.
type SelfChecker interface {
	CheckConfig(d *Decoder, n *Node)
}

// Decode reads node over the defaults that *dst holds and returns every problem found. Fields that node lacks keep their
// defaults; a nil or null node keeps all of them and still reports the fields that must be set. path is where node stands
// in the whole configuration, for messages.
func Decode(node *Node, dst any, path ...string) Diagnostics {
	d := NewDecoder(path...)
	d.Decode(node, dst)
	return d.Diagnostics()
}

// Decoder collects problems while values are read. It is not safe for concurrent use.
type Decoder struct {
	diags Diagnostics
	path  []string
	rules *validator.Validate
}

// NewDecoder returns a Decoder that starts at the given path.
func NewDecoder(path ...string) *Decoder {
	return &Decoder{path: path, rules: validator.New(validator.WithRequiredStructEnabled())}
}

// Diagnostics returns what has been reported so far.
func (d *Decoder) Diagnostics() Diagnostics { return d.diags }

// Report adds a diagnostic at n: at its value, or, where code says that something is missing or unknown, at its key.
func (d *Decoder) Report(sev Severity, n *Node, code Code, hint, format string, args ...any) {
	pos := Pos{}
	if n != nil {
		pos = n.Pos
		if code == CodeMissingField || code == CodeUnknownField || code == CodeUnknownPlugin {
			pos = n.where()
		}
	}
	d.Add(Diagnostic{Severity: sev, Code: code, Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// Errorf reports an error at n.
func (d *Decoder) Errorf(n *Node, code Code, hint, format string, args ...any) {
	d.Report(Error, n, code, hint, format, args...)
}

// Add adds a diagnostic as it is, filling in the current path if it has none.
func (d *Decoder) Add(diag Diagnostic) {
	if diag.Path == "" {
		diag.Path = PathString(d.path)
	}
	d.diags = append(d.diags, diag)
}

// In runs f with name appended to the path.
func (d *Decoder) In(name string, f func()) {
	d.path = append(d.path, name)
	f()
	d.path = d.path[:len(d.path)-1]
}

// Path is where the decoder stands, for messages.
func (d *Decoder) Path() string { return PathString(d.path) }

// Decode reads n into *dst at the current path.
func (d *Decoder) Decode(n *Node, dst any) {
	d.value(n, reflect.ValueOf(dst).Elem())
}

// UnknownField reports entry e of a block whose known fields are given.
func (d *Decoder) UnknownField(e Entry, known []string) {
	where := ""
	if p := d.Path(); p != "" {
		where = " in " + p
	}
	d.In(e.Name, func() {
		d.Errorf(e.Value, CodeUnknownField, DidYouMean(e.Name, known), "unknown field %q%s", e.Name, where)
	})
}

func (d *Decoder) value(n *Node, v reflect.Value) {
	if n != nil && n.Broken {
		return
	}
	if nd, ok := v.Addr().Interface().(NodeDecoder); ok {
		nd.DecodeNode(d, n)
		return
	}
	if n.IsNull() && v.Kind() != reflect.Struct {
		return
	}
	switch v.Type() {
	case reflect.TypeFor[time.Duration]():
		d.duration(n, v)
		return
	case reflect.TypeFor[*Node]():
		v.Set(reflect.ValueOf(n))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		d.value(n, p.Elem())
		v.Set(p)
	case reflect.Map:
		d.mapping(n, v)
	case reflect.Slice:
		d.list(n, v)
	default:
		d.scalar(n, v)
	}
}

func (d *Decoder) structure(n *Node, v reflect.Value) {
	if n != nil && !n.IsNull() && n.Kind != Map {
		d.Errorf(n, CodeWrongType, "", "%s must be a block of fields, not %s", d.subject(), n.describe())
		return
	}
	before := len(d.diags)
	fields := Fields(v.Addr().Interface())
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	if n != nil {
		for _, e := range n.Entries {
			if !contains(names, e.Name) {
				d.UnknownField(e, names)
			}
		}
	}
	for _, f := range fields {
		fv := v.FieldByIndex(f.index)
		child := n.Get(f.Name)
		d.In(f.Name, func() {
			count := len(d.diags)
			d.value(child, fv)
			if len(d.diags) == count {
				d.rule(f, n, child, fv)
			}
		})
	}
	if sc, ok := v.Addr().Interface().(SelfChecker); ok && len(d.diags) == before {
		if n == nil {
			n = &Node{Kind: Map}
		}
		sc.CheckConfig(d, n)
	}
}

// rule applies the field's `rule` tag to its decoded value.
func (d *Decoder) rule(f Field, parent, n *Node, v reflect.Value) {
	if f.Rule == "" || n != nil && n.Broken {
		return
	}
	if v.IsZero() && !f.Required {
		if n == nil {
			return
		}
	}
	if f.Required && v.IsZero() && v.Kind() != reflect.Bool {
		d.missing(f, parent, n)
		return
	}
	if v.Kind() == reflect.Struct {
		return
	}
	rule := strings.TrimPrefix(strings.TrimPrefix(f.Rule, "required"), ",")
	if rule == "" {
		return
	}
	err := d.rules.Var(v.Interface(), rule)
	failed, ok := errors.AsType[validator.ValidationErrors](err)
	if !ok {
		if err != nil {
			d.Errorf(n, CodeBadValue, "", "%s can't be checked: %v", d.subject(), err)
		}
		return
	}
	for _, fe := range failed {
		where := n
		if i, found := strings.CutPrefix(fe.Field(), "["); found && n != nil && n.Kind == List {
			if k, err := strconv.Atoi(strings.TrimSuffix(i, "]")); err == nil && k < len(n.Items) {
				where = n.Items[k]
			}
		}
		d.Errorf(where, CodeBadValue, "", "%s %s", d.subject(), broken(fe))
	}
}

func (d *Decoder) missing(f Field, parent, n *Node) {
	if n != nil {
		d.Add(Diagnostic{Severity: Error, Code: CodeMissingField, Pos: n.Pos, Message: d.subject() + " must not be empty", Hint: f.Doc})
		return
	}
	where := PathString(d.path[:len(d.path)-1])
	if where != "" {
		where = " in " + where
	}
	d.Errorf(parent, CodeMissingField, f.Doc, "missing field %q%s", f.Name, where)
}

// broken says which rule a value breaks, in an operator's words.
func broken(fe validator.FieldError) string {
	unit := ""
	switch fe.Kind() {
	case reflect.String:
		unit = " characters long"
	case reflect.Slice, reflect.Map:
		unit = " entries long"
	}
	switch fe.Tag() {
	case "min", "gte":
		return "must be at least " + fe.Param() + unit
	case "max", "lte":
		return "must be at most " + fe.Param() + unit
	case "gt":
		return "must be greater than " + fe.Param()
	case "lt":
		return "must be less than " + fe.Param()
	case "oneof":
		return "must be one of: " + strings.Join(strings.Fields(fe.Param()), ", ")
	case "required":
		return "must not be empty"
	case "hostname_port":
		return "must be host:port"
	case "url":
		return "must be a URL"
	case "file":
		return "must be an existing file"
	}
	return "breaks the rule " + fe.Tag() + " " + fe.Param()
}

// subject names the current path for a message; the root is "the file".
func (d *Decoder) subject() string {
	if len(d.path) == 0 {
		return "the file"
	}
	return d.Path()
}

func (d *Decoder) mapping(n *Node, v reflect.Value) {
	if n.Kind != Map {
		d.Errorf(n, CodeWrongType, "", "%s must be a block of fields, not %s", d.subject(), n.describe())
		return
	}
	out := reflect.MakeMap(v.Type())
	for _, e := range n.Entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.In(e.Name, func() { d.value(e.Value, item) })
		out.SetMapIndex(reflect.ValueOf(e.Name).Convert(v.Type().Key()), item)
	}
	v.Set(out)
}

// list reads a list; a single scalar stands for a list of one, and text with commas for several, since environment
// variables and flags have no other way to write one.
func (d *Decoder) list(n *Node, v reflect.Value) {
	items := n.Items
	switch n.Kind {
	case Map:
		d.Errorf(n, CodeWrongType, "", "%s must be a list, not %s", d.subject(), n.describe())
		return
	case Scalar:
		items = nil
		for part := range strings.SplitSeq(n.Text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				item := *n
				item.Text = part
				items = append(items, &item)
			}
		}
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		d.In(strconv.Itoa(i), func() { d.value(item, out.Index(i)) })
	}
	v.Set(out)
}

func (d *Decoder) scalar(n *Node, v reflect.Value) {
	wrong := func(want string) {
		got := n.describe()
		if v.Type() == reflect.TypeFor[Secret]() || v.Kind() != reflect.String && n.Rewrote {
			got = "what it holds" // may be a secret, or come from a variable that holds one
		}
		d.Errorf(n, CodeWrongType, "", "%s must be %s, not %s", d.subject(), want, got)
	}
	if n.Kind != Scalar {
		wrong(scalarName(v.Kind()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		if n.Type != Text && v.Type() != reflect.TypeFor[Secret]() && !n.Rewrote {
			d.Errorf(n, CodeWrongType, fmt.Sprintf("quote it: %q", n.Text), "%s must be text, not %s", d.subject(), n.describe())
			return
		}
		v.SetString(n.Text)
	case reflect.Bool:
		b, err := strconv.ParseBool(strings.ToLower(n.Text))
		if err != nil || n.literal() || n.Type == Int {
			wrong(scalarName(v.Kind()))
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64, reflect.Int32:
		i, err := strconv.ParseInt(strings.ReplaceAll(n.Text, "_", ""), 0, v.Type().Bits())
		if err != nil || n.literal() || n.Type == Bool {
			wrong(scalarName(v.Kind()))
			return
		}
		v.SetInt(i)
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Text, 64)
		if err != nil || math.IsNaN(f) || n.literal() {
			wrong(scalarName(v.Kind()))
			return
		}
		v.SetFloat(f)
	default:
		d.Errorf(n, CodeWrongType, "", "%s can't be set in a file", d.subject())
	}
}

// duration reads "250ms", "1m30s", or a plain number of seconds.
func (d *Decoder) duration(n *Node, v reflect.Value) {
	if n.Kind == Scalar {
		if dur, err := time.ParseDuration(n.Text); err == nil {
			v.SetInt(int64(dur))
			return
		}
		if s, err := strconv.ParseFloat(n.Text, 64); err == nil && math.Abs(s) < math.MaxInt64/float64(time.Second) {
			v.SetInt(int64(s * float64(time.Second)))
			return
		}
	}
	d.Errorf(n, CodeWrongType, "", `%s must be a time span such as 500ms, 10s or 2m (a plain number is seconds), not %s`,
		d.subject(), n.describe())
}

func scalarName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	}
	return "a whole number"
}
