package mapping

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Mapping is a compiled set of rules, in configuration order.
type Mapping struct {
	Rules []*Rule
}

// Rule says how one collection's documents become points. It is read-only and safe for concurrent use.
type Rule struct {
	Database    string
	Collection  syncd.Collection
	ContentType string
	Topic       string   // empty: the sink's rule
	Watch       []string // dotted paths; while following, an update that touches none of them is not sent. Empty watches all

	Payload Payload

	namespace  uuid.UUID
	seed       template
	version    *Version
	chunks     *Chunks
	fields     []string // the seed's, then the version's
	versionAt  []int    // where the version's fields are in fields
	payload    []string // keys to read of a point: the version's, the chunk count's
	chunkCount int      // where the chunk count is in payload
	cleaned    bool     // no chunk is to be left over of an older version
	model      *Model   // nil: whatever model the vectors are of
	modelAt    int      // where the model is in payload
	ofOneType  []*Rule  // of the whole mapping, also those that Select leaves out
	ownership  ownership
	types      []string // content types of the whole mapping, likewise
}

// Namespaces are the named UUID namespaces of RFC 9562.
var namespaces = map[string]uuid.UUID{
	"url":  uuid.NameSpaceURL,
	"dns":  uuid.NameSpaceDNS,
	"oid":  uuid.NameSpaceOID,
	"x500": uuid.NameSpaceX500,
}

// ParseNamespace reads url, dns, oid, x500, or a UUID.
func ParseNamespace(text string) (uuid.UUID, error) {
	if ns, ok := namespaces[text]; ok {
		return ns, nil
	}
	ns, err := uuid.Parse(text)
	if err != nil {
		return uuid.UUID{}, fmt.Errorf("%q is neither url, dns, oid, x500 nor a UUID", text)
	}
	return ns, nil
}

// Compile checks and compiles a mapping. database is the source's, for {database}. What is wrong is reported to d, which
// stands at the mapping's own path; n is the mapping's node, for positions. The result is usable only if d has no errors.
func Compile(c Config, database string, d *spec.Decoder, n *spec.Node) *Mapping {
	at := func(path ...string) *spec.Node {
		if n == nil {
			return nil
		}
		found, _ := n.Nearest(path)
		return found
	}
	ns, err := ParseNamespace(c.Namespace)
	if err != nil {
		d.In("namespace", func() { d.Errorf(at("namespace"), spec.CodeBadValue, "", "%s: %v", d.Path(), err) })
	}
	m := &Mapping{}
	bad := map[string]bool{} // a bad shared template is reported once, not once a collection
	report := func(severity spec.Severity, code spec.Code, terr *templateError, path ...string) {
		key := spec.PathString(path)
		if bad[key] {
			return
		}
		bad[key] = true
		diag := spec.Diagnostic{
			Severity: severity, Code: code, Message: "mapping." + key + ": " + terr.message, Hint: terr.hint, Path: "mapping." + key,
		}
		if node := at(path...); node != nil {
			diag.Pos = node.At(terr.offset)
		}
		d.Add(diag)
	}
	refuse := func(code spec.Code, terr *templateError, path ...string) { report(spec.Error, code, terr, path...) }
	for _, col := range c.Collections {
		text, path := col.Seed, []string{"collections", col.Name, "seed"}
		if text == "" {
			text, path = c.Seed, []string{"seed"}
		}
		constants := map[string]string{
			placeholderContentType: col.ContentType,
			placeholderCollection:  col.Name,
			placeholderDatabase:    database,
		}
		t, terr := compile(text, constants)
		if terr == nil {
			terr = checkChunks(&t, c.Chunks)
		}
		if terr != nil {
			refuse(spec.CodeSeed, terr, path...)
			continue
		}
		if doubt := warnAmbiguous(&t); doubt != nil {
			report(spec.Warning, spec.CodeSeed, doubt, path...)
		}
		owner, oerr := c.Owner.value(constants)
		if oerr != nil {
			refuse(spec.CodeBadValue, oerr, "owner", "value")
			continue
		}
		filter, ferr := filterText(col.Filter)
		if ferr != nil {
			d.Errorf(col.Filter, spec.CodeBadValue, "", "mapping.collections.%s.filter: %v", col.Name, ferr)
			continue
		}
		r := &Rule{
			Database:    database,
			Collection:  syncd.Collection{Name: col.Name, Filter: filter},
			ContentType: col.ContentType,
			Topic:       col.Topic,
			Watch:       col.Watch,
			Payload:     c.Payload,
			namespace:   ns,
			seed:        t,
			fields:      t.fields,
		}
		r.watch(cmp.Or(col.Version, c.Version), c.Chunks, c.model)
		r.cleaned = c.cleaned && c.Chunks != nil && r.TellsChunks()
		r.own(c.Owner, owner)
		m.Rules = append(m.Rules, r)
	}
	byType := map[string][]*Rule{}
	for _, r := range m.Rules {
		byType[r.ContentType] = append(byType[r.ContentType], r)
	}
	types := slices.Sorted(maps.Keys(byType))
	for _, r := range m.Rules {
		r.ofOneType, r.types = byType[r.ContentType], types
	}
	m.reportCollisions(d, at)
	return m
}

// reportCollisions reports each set of collections whose seeds can be the same text once.
func (m *Mapping) reportCollisions(d *spec.Decoder, at func(...string) *spec.Node) {
	languages := make([][]symbol, len(m.Rules))
	for i, r := range m.Rules {
		languages[i] = r.seed.language()
	}
	place := func(r *Rule) spec.Pos {
		if n := at("collections", r.Collection.Name); n != nil {
			if !n.Key.IsZero() {
				return n.Key
			}
			return n.Pos
		}
		return spec.Pos{}
	}
	found, _ := collisions(languages)
	for _, c := range found {
		a, b := m.Rules[c.a], m.Rules[c.b]
		others := ""
		if n := len(c.all) - 2; n > 0 {
			others = fmt.Sprintf(", as those of %d more,", n)
		}
		d.Add(spec.Diagnostic{
			Severity: spec.Error, Code: spec.CodeSeedCollision, Pos: place(b), Related: place(a),
			Path:    "mapping.collections." + b.Collection.Name,
			Message: fmt.Sprintf("the seeds of collections %q and %q%s can be the same text, so two documents can get one point id", a.Collection.Name, b.Collection.Name, others),
			Hint:    "give them different content types, or put {collection} into the seed",
		})
	}
}

// Select returns the mapping of the named collections, in configuration order. An unknown name is an error that proposes
// the nearest one.
func (m *Mapping) Select(names []string) (*Mapping, error) {
	wanted := make(map[string]bool, len(names)) // whether it was found
	for _, name := range names {
		wanted[name] = false
	}
	out := &Mapping{}
	for _, r := range m.Rules {
		if _, is := wanted[r.Collection.Name]; is {
			wanted[r.Collection.Name] = true
			out.Rules = append(out.Rules, r)
		}
	}
	for _, name := range names {
		if !wanted[name] {
			return nil, m.unknown(name)
		}
	}
	return out, nil
}

// unknown is the error about a name that is none of the collections'.
func (m *Mapping) unknown(name string) error {
	known := make([]string, len(m.Rules))
	for i, r := range m.Rules {
		known[i] = r.Collection.Name
	}
	return syncd.Hint(fmt.Errorf("unknown collection %q", name), "%s", spec.Proposals(name, known))
}

// Target is where the rule's events go.
func (r *Rule) Target() syncd.Target {
	return syncd.Target{Database: r.Database, Collection: r.Collection.Name, ContentType: r.ContentType, Topic: r.Topic}
}

// Fields lists the document fields that a record must carry for its seed to be made and its version to be known, as
// ScanRequest.Fields.
func (r *Rule) Fields() []string { return r.fields }

// SeedFields is how many of Fields, from the first, are the seed's.
func (r *Rule) SeedFields() int { return len(r.seed.fields) }

// OfOneType lists the rules of the rule's content type, itself among them: under that name the index holds the documents of
// all their collections, whether they are selected or not.
func (r *Rule) OfOneType() []*Rule { return r.ofOneType }

// ContentTypes lists the content types of the whole mapping, whether their collections are selected or not.
func (r *Rule) ContentTypes() []string { return r.types }

// AppendSeed appends the seed of one chunk of the record.
func (r *Rule) AppendSeed(dst []byte, rec *syncd.Change, chunk int) ([]byte, error) {
	if rec.Err != nil {
		return dst, rec.Err
	}
	return r.seed.append(dst, rec, chunk)
}

// PointID returns the point id of one chunk of the record; chunk 0 stands for the document. buf is scratch space of the
// caller's, to be passed to the next call, so that nothing is allocated: its content is not part of the result.
func (r *Rule) PointID(buf *[]byte, rec *syncd.Change, chunk int) (uuid.UUID, error) {
	b := append((*buf)[:0], r.namespace[:]...)
	b, err := r.AppendSeed(b, rec, chunk)
	*buf = b
	if err != nil {
		return uuid.UUID{}, err
	}
	// uuid.NewSHA1 is the same on a hash.Hash of its own; a test holds the two together.
	id := uuid.UUID(hashed(buf))
	id[6] = id[6]&0x0f | 0x50 // version 5
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id, nil
}
