package mapping

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Fingerprint identifies how the mapping makes point ids: two mappings with one fingerprint give a document the same point
// id. It is 16 hexadecimal digits.
func (m *Mapping) Fingerprint() string {
	h := sha256.New()
	for _, r := range m.Rules {
		fmt.Fprintf(h, "%q %q %q %x", r.Database, r.Collection.Name, r.ContentType, r.namespace)
		for _, p := range r.seed.parts {
			fmt.Fprintf(h, " %d %q", p.kind, p.text)
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
