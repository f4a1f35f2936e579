package mapping

import (
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Owner is the `mapping.owner` section: what makes a point in the index this source's. That a rule can make a point's id again
// does not: another database, or another job, may have documents with the same ids under the same content types.
type Owner struct {
	Payload   string `yaml:"payload" rule:"name" example:"source_db" doc:"The payload key under which the indexer names the source of a point; a point that does not name this one is never deleted."`
	Value     string `yaml:"value" example:"\"{database}\"" doc:"What stands there in this source's points: text with {database}, {collection} and {content_type}; {database} alone if it is not set."`
	Exclusive bool   `yaml:"exclusive" doc:"In place of payload: nobody but this job, no other database and no other job, has points of these content types in the index."`
}

// CheckConfig implements spec.SelfChecker.
func (o *Owner) CheckConfig(d *spec.Decoder, n *spec.Node) {
	switch {
	case o.Exclusive && o.Payload != "":
		d.Report(spec.Error, n.Get("exclusive"), spec.CodeContradiction, "remove one of them", "%s.exclusive and payload exclude each other", d.Path())
	case o.Payload == "" && o.Value != "":
		d.Report(spec.Error, n.Get("value"), spec.CodeMissingField, "name the payload key in which it stands", "%s.value needs payload", d.Path())
	case o.Payload == "" && !o.Exclusive:
		d.Report(spec.Error, n, spec.CodeMissingField, `write {payload: KEY}, the payload key that names the source, or {exclusive: true}`,
			"%s says nothing", d.Path())
	}
}

// ownership is what makes a point a rule's.
type ownership struct {
	key, value string // the payload key that names the source, and what must stand there; no key: nothing names it
	known      bool   // declared, or provable
}

// own compiles the ownership of a rule whose seed is compiled.
func (r *Rule) own(o *Owner, value string) {
	switch {
	case o != nil && o.Payload != "":
		r.ownership = ownership{key: o.Payload, value: value, known: value != ""}
	case o != nil && o.Exclusive:
		r.ownership.known = true
	default:
		r.ownership.known = r.seed.database && r.Database != ""
	}
}

// value is what stands under the owner's payload key in the points of a collection; empty where the source names no database.
func (o *Owner) value(constants map[string]string) (string, *templateError) {
	if o == nil || o.Payload == "" {
		return "", nil
	}
	text := o.Value
	if text == "" {
		text = "{" + placeholderDatabase + "}"
	}
	t, err := compile(text, constants)
	if err != nil && err.offset >= 0 {
		return "", err
	}
	if t.database && constants[placeholderDatabase] == "" {
		return "", nil // it would name nothing
	}
	var value strings.Builder
	for _, p := range t.parts {
		if p.kind != partLiteral {
			return "", &templateError{0, "it must be the same for all points of a collection", "use {database}, {collection} and {content_type} only"}
		}
		value.WriteString(p.text)
	}
	return value.String(), nil
}

// Owned reports whether it is declared or provable which points are the rule's: by a payload key that names the source, by a
// seed that names the database, or because the index is declared to be this job's alone. Where it is not, a point whose
// document the source lacks may be another database's or another job's.
func (r *Rule) Owned() bool { return r.ownership.known }

// OwnerKey is the payload key that names the source of a point; empty where none does.
func (r *Rule) OwnerKey() string { return r.ownership.key }

// Owns reports whether what a point holds under OwnerKey names the rule's source. Where there is no such key, nothing speaks
// against it.
func (r *Rule) Owns(named syncd.Value) bool {
	return r.ownership.key == "" || named.Set && named.Text == r.ownership.value
}
