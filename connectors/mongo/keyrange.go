package mongo

import (
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// A split's upper bound is a key, with nothing of that key or beyond it inside; or behind and a key, with that key inside
// and nothing beyond. No BSON type has the number 0, so no key begins with it. MongoDB knows the first kind alone, and not
// every value has a next one, so the reading itself ends before the first document behind the second kind.
const behind = "\x00"

// upperBound reads a split's upper bound; the zero value is none.
func upperBound(k syncd.Key) (v bson.RawValue, inclusive bool, err error) {
	text, inclusive := strings.CutPrefix(string(k), behind)
	if inclusive && text == "" {
		text = behind // not a key: an error
	}
	v, err = bound(syncd.Key(text))
	return v, inclusive, err
}

// lowerBound reads a split's lower bound, which is where another one ends. Where that is behind a key, the split begins as one
// that was read up to there.
func lowerBound(split syncd.Split, after syncd.Key) (v bson.RawValue, from syncd.Key, err error) {
	v, inclusive, err := upperBound(split.Lower)
	if inclusive && after == "" {
		after = split.Lower[len(behind):]
	}
	return v, after, err
}

func bound(k syncd.Key) (bson.RawValue, error) {
	if k == "" {
		return bson.RawValue{}, nil
	}
	v, err := bsondoc.ParseKey(string(k))
	if err != nil {
		return bson.RawValue{}, fmt.Errorf("reading a split: %w", err)
	}
	return v, nil
}

// keyRange is the part of a split that is still to be read, and picks the documents that belong to it. They come in the
// server's order; compareValues is that order too, except for text in a collection with a collation, which therefore is
// compared only where there is no other way.
type keyRange struct {
	lower, upper bson.RawValue
	inclusive    bool // upper is
	after        bson.RawValue
	afterKey     string

	served  bool // the server was given the bounds, and obeys them; or there are none
	byOrder bool // the document with the key after is gone: compare instead of waiting for it
	// collated says that text may have an order of its own: what byOrder can't place counts as inside.
	collated bool
	begun    bool // past after
	twins    bool // documents before after were skipped that are equal to it for the server, such as 5 and 5.0
}

func newKeyRange(split syncd.Split, after syncd.Key) (*keyRange, error) {
	lower, after, err := lowerBound(split, after)
	if err != nil {
		return nil, err
	}
	k := &keyRange{lower: lower, afterKey: string(after), begun: after == ""}
	if k.upper, k.inclusive, err = upperBound(split.Upper); err != nil {
		return nil, err
	}
	k.after, err = bound(after)
	return k, err
}

// span is what a server is to be asked for, for a keyRange.
type span struct {
	none     bool          // nothing by bounds
	from, to bson.RawValue // the half-open range; a zero value means no bound
	maxKey   bool          // the document whose _id is MaxKey, by name
}

// span gives the bounds as far as the server can be told. from is inclusive, so the document at after comes once more.
//
// A missing max is MaxKey to MongoDB, exclusive as ever, so that with min alone a document whose _id is MaxKey is left out
// in silence; and a min that is not less than max is an error (51175), be they given or not.
func (k *keyRange) span() (s span) {
	s.from = k.lower
	if k.after.Type != 0 {
		s.from = k.after
	}
	if !k.inclusive {
		s.to = k.upper
	}
	open := k.upper.Type == 0 || k.inclusive && k.upper.Type == bson.TypeMaxKey
	switch {
	case k.after.Type == bson.TypeMaxKey:
		return span{none: true} // nothing is behind it
	case s.from.Type == bson.TypeMaxKey:
		return span{none: true, maxKey: open}
	case s.from.Type == bson.TypeMinKey:
		s.from = bson.RawValue{} // as good as no bound
	}
	s.maxKey = open && s.from.Type != 0
	if s.to.Type != 0 {
		low := s.from
		if low.Type == 0 {
			low.Type = bson.TypeMinKey
		}
		// Whether text is in order is for the server to say: a collation may differ.
		c := compareValues(low, s.to)
		s.none = c == 0 || c > 0 && (!hasText(low) || !hasText(s.to))
	}
	return s
}

// place is where a document is seen from a keyRange.
type place uint8

const (
	outside place = iota // in front of it
	inside
	beyond // behind its end, as is all that follows
)

func (k *keyRange) place(key []byte, id bson.RawValue) place {
	if !k.begun {
		if p := k.begin(key, id); p != inside {
			return p
		}
	}
	if k.upper.Type != 0 && (k.inclusive || !k.served) {
		if c := compareValues(id, k.upper); c > 0 || c == 0 && !k.inclusive {
			return beyond
		}
	}
	if !k.served && k.lower.Type != 0 && compareValues(id, k.lower) < 0 {
		return outside
	}
	return inside
}

// begin looks for the document to continue behind, and for whether this one is past it.
func (k *keyRange) begin(key []byte, id bson.RawValue) place {
	switch {
	case string(key) == k.afterKey:
		k.begun = !k.byOrder
		return outside
	case k.byOrder:
		unsure := k.collated && typeRank(id.Type) == typeRank(k.after.Type)
		if !k.served && !unsure && compareValues(id, k.after) < 0 {
			return outside
		}
		return inside // what is equal may come twice; the alternative would be never
	case !k.served:
		return outside
	}
	// The server began at after. What is equal to it and in front of it was read before it.
	if compareValues(id, k.after) == 0 {
		k.twins = true
		return outside
	}
	if k.twins {
		return beyond // after itself is gone: see lost
	}
	k.begun = true
	return inside
}

// lost reports, at the end of a pass, that it did not find its beginning because the document at after no longer exists.
func (k *keyRange) lost() bool { return !k.begun && !k.byOrder && (k.twins || !k.served) }
