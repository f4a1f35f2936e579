// Package verdict asks the index what a mapping rule wants to know of documents: is the point there, is it of the document's
// version, are its chunks there? It is the only place where chunks are asked about. It also asks the source which documents share a
// point id, so that one answer would stand for several.
//
// Invariants:
//   - a verdict is set from an answer of the index, or is Unknown; after an error none means anything;
//   - no question is about more than the given changes, or than 5,000 chunks.
package verdict

import (
	"errors"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// ErrNoPayload says that the rules ask for more than the checker can tell.
var ErrNoPayload = errors.New("the checker can't read what points carry, which mapping.version and mapping.chunks need")

// Item is a document and what the index says about it. An orphan is an Item, too: its document is gone.
type Item struct {
	Rule    *mapping.Rule
	Verdict syncd.Verdict
	ID      string
	Key     syncd.Key // "" of an orphan
	PointID uuid.UUID // of chunk 0
	Held    uuid.UUID // of an orphan: the point that was found
	// OtherModel says of a stale document that its vectors are of another model.
	OtherModel bool
}

// CheckAbilities returns ErrNoPayload if the rules ask for what the checker can't tell. A nil checker is asked nothing.
func CheckAbilities(rules []*mapping.Rule, checker syncd.Checker) error {
	if checker == nil || checker.Abilities().Read != nil {
		return nil
	}
	for _, rule := range rules {
		if len(rule.PayloadKeys()) > 0 {
			return ErrNoPayload
		}
	}
	return nil
}
