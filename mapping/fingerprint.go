package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// Fingerprint identifies how the mapping makes point ids: two mappings with one fingerprint give a document the same point
// id. It is 16 hexadecimal digits.
func (m *Mapping) Fingerprint() string {
	h := sha256.New()
	for _, r := range m.Rules {
		r.identify(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Fingerprint identifies what a run does with the collection: which documents it reads, which point ids it makes, what it asks
// of the index and where it sends. Positions that were kept under another fingerprint mean nothing. It is 16 hexadecimal digits.
func (r *Rule) Fingerprint() string {
	h := sha256.New()
	r.identify(h)
	fmt.Fprintf(h, "%q %q %q %q", r.Collection.Filter, r.Topic, r.fields, r.payload)
	if r.model != nil {
		fmt.Fprintf(h, " %q", r.model.Name)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Identity identifies how the rule makes point ids, as Mapping.Fingerprint does of all rules.
func (r *Rule) Identity() string { return (&Mapping{Rules: []*Rule{r}}).Fingerprint() }

// identify writes what makes the rule's point ids.
func (r *Rule) identify(w io.Writer) {
	fmt.Fprintf(w, "%q %q %q %x", r.Database, r.Collection.Name, r.ContentType, r.namespace)
	for _, p := range r.seed.parts {
		fmt.Fprintf(w, " %d %q", p.kind, p.text)
	}
	fmt.Fprintln(w)
}
