// Package audit holds what is found out about an index and its source beside what a run delivers: whether the ids have
// drifted, whether too much is missing, which points have lost their documents, and all that is known of one document.
//
// Invariants:
//   - nothing here is sent; what is to be deleted is a source of changes, which the engine delivers;
//   - a point is an orphan only if a rule makes its id again and the source says that it has no such document; whatever can't
//     be asked is an error;
//   - memory does not grow with the index.
package audit

import (
	"errors"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// ErrNoFinder says that the source lacks the Find ability.
var ErrNoFinder = errors.New("the source can't find documents by their ids")

// ownerOf returns which rule makes this point id for the document and chunk, or -1. A rule whose seed needs fields of the
// document can't tell, and claims nothing.
func ownerOf(rules []*mapping.Rule, buf *[]byte, id string, chunk int, point uuid.UUID) int {
	for i, rule := range rules {
		if rule.SeedFields() > 0 {
			continue
		}
		if made, err := rule.PointID(buf, &syncd.Change{ID: id}, chunk); err == nil && made == point {
			return i
		}
	}
	return -1
}
