package spec

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"
)

// NodeDecoder is implemented by a config type whose YAML form is not simply its fields (a shorthand, say). It reports
// what is wrong through d and must not panic on any node.
type NodeDecoder interface {
	DecodeNode(d *Decoder, n *Node)
}

// SelfChecker is implemented by a config struct with rules that tags can't express, such as two fields that exclude
// each other. It is called if all its fields were decoded, without errors but for unknown ones, and no variable in it was
// unset; n is the struct's own node.
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
	diags   Diagnostics
	path    []string
	rules   *validator.Validate
	partial bool // what is missing may come from elsewhere
	absent  int  // required fields that were missing, of a partial configuration
}

// NewDecoder returns a Decoder that starts at the given path.
func NewDecoder(path ...string) *Decoder {
	return &Decoder{path: path, rules: rules()}
}

// AllowMissing takes what is decoded from now on as part of a configuration: a required field that is absent is not reported,
// and no SelfChecker is asked about a struct that lacks one.
func (d *Decoder) AllowMissing() { d.partial = true }

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
	fields := Fields(v.Addr().Interface())
	d.unknown(n, fields)
	before, absent := len(d.diags), d.absent
	for _, f := range fields {
		fv := v.FieldByIndex(f.index)
		child := n.Get(f.Name)
		d.In(f.Name, func() {
			if f.Deprecated != "" && child != nil {
				d.Add(Diagnostic{
					Severity: Warning, Code: CodeDeprecated, Pos: child.where(), Hint: f.Deprecated,
					Message: d.Path() + " is deprecated",
				})
			}
			count := len(d.diags)
			d.value(child, fv)
			if !d.diags[count:].HasErrors() {
				d.rule(f, n, child, fv)
			}
		})
	}
	if sc, ok := v.Addr().Interface().(SelfChecker); ok && !d.diags[before:].blocking() && d.absent == absent && !n.broken() {
		if n == nil {
			n = &Node{Kind: Map}
		}
		sc.CheckConfig(d, n)
	}
}

// unknown reports the entries of a block that are none of its fields. What is deprecated is not proposed.
func (d *Decoder) unknown(n *Node, fields []Field) {
	if n == nil {
		return
	}
	var names, current []string
	for _, f := range fields {
		names = append(names, f.Name)
		if f.Deprecated == "" {
			current = append(current, f.Name)
		}
	}
	for _, e := range n.Entries {
		if !contains(names, e.Name) {
			d.UnknownField(e, current)
		}
	}
}

// blocking reports whether a value that was decoded can't be relied on. Unknown fields leave the known ones as they are.
func (ds Diagnostics) blocking() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity == Error && d.Code != CodeUnknownField })
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
		if text, ok := fe.Value().(string); ok && fe.Tag() == ruleName {
			d.CheckName(where, text)
			continue
		}
		diag := Diagnostic{Severity: Error, Code: codeOf(fe), Message: d.subject() + " " + broken(fe)}
		if where != nil {
			diag.Pos = where.Pos
		}
		d.Add(diag)
	}
}

func (d *Decoder) missing(f Field, parent, n *Node) {
	if n != nil {
		d.Add(Diagnostic{
			Severity: Error, Code: CodeMissingField, Pos: n.Pos, Message: d.subject() + " must not be empty",
			Hint: prefixed("set it: ", inSentence(f.Doc)),
		})
		return
	}
	if d.partial {
		d.absent++
		return
	}
	where := PathString(d.path[:len(d.path)-1])
	if where != "" {
		where = " in " + where
	}
	hint := prefixed(fmt.Sprintf("add %q: ", f.Name), inSentence(f.Doc))
	d.Errorf(parent, CodeMissingField, hint, "missing field %q%s", f.Name, where)
}

// inSentence gives the first sentence of a field's documentation as the end of another: "The file." as "the file".
func inSentence(doc string) string {
	first, _, _ := strings.Cut(doc, ". ")
	first = strings.TrimSuffix(first, ".")
	if r, size := utf8.DecodeRuneInString(first); size > 0 && len(first) > size {
		// An abbreviation such as UUID stays as it is.
		if next, _ := utf8.DecodeRuneInString(first[size:]); !unicode.IsUpper(next) {
			first = string(unicode.ToLower(r)) + first[size:]
		}
	}
	return first
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// codeOf is the code of a broken rule.
func codeOf(fe validator.FieldError) Code {
	if broken(fe) == mustNotBeEmpty {
		return CodeMissingField
	}
	switch fe.Tag() {
	case "min", "gte", "max", "lte", "gt", "lt":
		return CodeOutOfRange
	case "oneof":
		return CodeNotOneOf
	}
	return CodeBadValue
}

const mustNotBeEmpty = "must not be empty"

// broken says which rule a value breaks, in an operator's words.
func broken(fe validator.FieldError) string {
	unit := ""
	switch fe.Kind() {
	case reflect.String:
		unit = " characters long"
	case reflect.Slice, reflect.Map:
		unit = " entries long"
	}
	one := strings.Replace(strings.Replace(unit, "characters", "character", 1), "entries", "entry", 1)
	switch fe.Tag() {
	case "min", "gte":
		if unit != "" && fe.Param() == "1" {
			return mustNotBeEmpty
		}
		return "must be at least " + fe.Param() + unit
	case "max", "lte":
		if fe.Param() == "1" {
			unit = one
		}
		return "must be at most " + fe.Param() + unit
	case "gt":
		return "must be greater than " + fe.Param()
	case "lt":
		return "must be less than " + fe.Param()
	case "oneof":
		return "must be one of: " + strings.Join(strings.Fields(fe.Param()), ", ")
	case "required":
		return mustNotBeEmpty
	case "hostname_port":
		return "must be host:port"
	case "url":
		return "must be a URL"
	case "file":
		return "must be an existing file"
	}
	return strings.TrimSpace("breaks its rule: " + strings.ReplaceAll(fe.Tag(), "_", " ") + " " + fe.Param())
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
		hint := ""
		if zeroes.MatchString(n.Text) {
			hint = "write it without the zero at its beginning"
		}
		got := n.describe()
		if v.Type() == reflect.TypeFor[Secret]() || v.Kind() != reflect.String && n.Rewrote && !n.Pos.FromFlag() {
			got = "what it holds" // may be a secret, or come from a variable that holds one
		}
		d.Errorf(n, CodeWrongType, hint, "%s must be %s, not %s", d.subject(), want, got)
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
		d.leadingZero(n, "as octal", strconv.FormatInt(i, 10))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.Text, 64)
		if err != nil || math.IsNaN(f) || n.literal() {
			wrong(scalarName(v.Kind()))
			return
		}
		v.SetFloat(f)
		d.leadingZero(n, "as decimal", strconv.FormatFloat(f, 'g', -1, 64))
	default:
		d.Errorf(n, CodeWrongType, "", "%s can't be set in a file", d.subject())
	}
}

// zeroes matches what YAML 1.1 takes for an octal number, and YAML 1.2 for a decimal one.
var zeroes = regexp.MustCompile(`^[-+]?0[0-9_]*[0-9]$`)

// leadingZero warns of a whole number that begins with a zero: people mean a decimal one, YAML may read an octal one. value is
// what was read, which is not shown where it comes from a variable that may hold a secret.
func (d *Decoder) leadingZero(n *Node, how, value string) {
	if !zeroes.MatchString(n.Text) || strings.Trim(n.Text, "+-0_") == "" {
		return
	}
	if n.Rewrote && !n.Pos.FromFlag() {
		d.Report(Warning, n, CodeLeadingZero, "write it without the zero", "%s begins with a zero and is read %s", d.subject(), how)
		return
	}
	hint := "write " + value + " if that is meant"
	if decimal := strings.TrimLeft(strings.ReplaceAll(n.Text, "_", ""), "+-0"); decimal != strings.TrimLeft(value, "-") {
		hint += ", or else " + decimal
	}
	d.Report(Warning, n, CodeLeadingZero, hint, "%s is %s, which begins with a zero and is read %s: %s", d.subject(), n.Text, how, value)
}

// duration reads "250ms", "1m30s", or a plain number of seconds.
func (d *Decoder) duration(n *Node, v reflect.Value) {
	if n.Kind == Scalar {
		if span, plain, ok := ParseSpan(n.Text); ok {
			v.SetInt(int64(span))
			if plain {
				d.leadingZero(n, "as decimal", strconv.FormatFloat(span.Seconds(), 'g', -1, 64)+"s")
			}
			return
		}
	}
	d.Errorf(n, CodeWrongType, "", `%s must be %s, not %s`, d.subject(), SpanForms, n.describe())
}

// SpanForms says in messages how a time span is written.
const SpanForms = "a time span such as 500ms, 10s or 2m (a plain number is seconds)"

// ParseSpan reads a time span as settings and flags have it: "250ms", "1m30s", or a plain number of seconds, which plain reports.
func ParseSpan(text string) (span time.Duration, plain, ok bool) {
	if span, err := time.ParseDuration(text); err == nil {
		return span, false, true
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(math.Abs(s) < math.MaxInt64/float64(time.Second)) { // NaN is no span
		return 0, false, false
	}
	return time.Duration(s * float64(time.Second)), true, true
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
