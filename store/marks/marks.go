package marks

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// The names of marks, behind the job's prefix. Where marks take several commits, they are sent in the order of their names: the
// run decides which collections count, and they which splits. A collection's name may hold anything, so it comes last.
const (
	nameInfo       = "about"
	nameCollection = "collection/"
	nameSplit      = "split/"
)

// mark is one of the job's marks, as the sink has it or is to have it.
type mark struct {
	name  string
	turn  int64
	split *store.Split // of a split's mark
	value []byte       // nil forgets it
}

// Value is what a mark holds: one of info, collection and split. Turns are numbers that only grow: a run takes one when it
// begins, and when it ends and can't be resumed; a collection takes one whenever it begins. A collection's mark counts if its
// turn is a later one than the run's, or it is a stream, and a split's if its turn is the collection's. All other marks are left
// over from before.
type Value struct {
	Turn       int64             `json:"turn"`
	At         time.Time         `json:"at"` // when the state was kept
	Info       *store.Info       `json:"info,omitempty"`
	Handled    int64             `json:"handled,omitempty"` // beside Info: documents of a run whose splits are forgotten
	Collection *store.Collection `json:"collection,omitempty"`
	Split      *store.Split      `json:"split,omitempty"`
}

// behind reports whether a split's mark is no news where another one of the split is kept.
func (m *mark) behind(kept *mark) bool {
	if m.split == nil || kept.split == nil || m.turn != kept.turn {
		return m.turn < kept.turn
	}
	a, b := m.split, kept.split
	if a.Done != b.Done {
		return b.Done
	}
	return a.Counts.Scanned < b.Counts.Scanned || a.After == b.After && a.Counts == b.Counts
}

// PrefixOf begins the names of a job's marks. No job's prefix begins another's.
func PrefixOf(job string) string { return url.PathEscape(job) + "/" }

// SplitName is the name of a split's mark, behind the prefix.
func SplitName(collection string, index int) string {
	return nameSplit + strconv.Itoa(index) + "/" + collection
}

// CollectionOf is the collection that a mark is of, whose name stands behind the prefix; "" if it is of none.
func CollectionOf(name string) string {
	if collection, ok := strings.CutPrefix(name, nameCollection); ok {
		return collection
	}
	if rest, ok := strings.CutPrefix(name, nameSplit); ok {
		_, collection, _ := strings.Cut(rest, "/")
		return collection
	}
	return ""
}

// CollectionName is the name of a collection's mark, behind the prefix.
func CollectionName(collection string) string { return nameCollection + collection }

// IsSplit reports whether a mark, whose name stands behind the prefix, is of a split.
func IsSplit(name string) bool { return strings.HasPrefix(name, nameSplit) }

// state is what the marks of a job say.
type state struct {
	info        store.Info
	infoTurn    int64
	handled     int64
	collections map[string]*store.Collection
	turns       map[string]int64 // of the collections
	lastTurn    int64            // of all marks
	there       map[string]*mark // all of them
}

// parse reads the marks of a job.
func parse(prefix string, all map[string][]byte) (*state, error) {
	s := &state{collections: map[string]*store.Collection{}, turns: map[string]int64{}, there: map[string]*mark{}}
	values := map[string]Value{}
	for name, text := range all {
		v, err := ParseValue(strings.TrimPrefix(name, prefix), text)
		if err != nil {
			return s, unfit(name, err)
		}
		s.there[name] = &mark{name: name, turn: v.Turn, split: v.Split, value: text}
		s.lastTurn = max(s.lastTurn, v.Turn)
		values[strings.TrimPrefix(name, prefix)] = v
	}
	first, ok := values[nameInfo]
	if !ok {
		if len(values) > 0 {
			return s, unfit(prefix+nameInfo, errors.New("it is not there, but others are"))
		}
		return s, nil
	}
	s.info, s.infoTurn = *first.Info, first.Turn
	for name, v := range values {
		if v.Turn >= s.infoTurn && v.At.After(s.info.Updated) {
			s.info.Updated = v.At
		}
		if collection, ok := strings.CutPrefix(name, nameCollection); ok && (v.Turn > s.infoTurn || store.IsStream(collection)) {
			s.collections[collection], s.turns[collection] = v.Collection, v.Turn
		}
	}
	for name, v := range values {
		if v.Split == nil {
			continue
		}
		_, collection, _ := strings.Cut(strings.TrimPrefix(name, nameSplit), "/")
		turn := s.turns[collection]
		if !store.IsStream(collection) {
			turn = max(turn, s.infoTurn) // without a collection, none of the run's
		}
		switch {
		case v.Turn > turn:
			return s, unfit(prefix+name, errors.New("its collection is not there"))
		case v.Turn == s.turns[collection]:
			c := s.collections[collection]
			c.Splits = append(c.Splits, *v.Split)
		}
	}
	for _, c := range s.collections {
		slices.SortFunc(c.Splits, func(a, b store.Split) int { return a.Index - b.Index })
	}
	s.handled = max(first.Handled, store.Handled(s.collections))
	return s, nil
}

// ParseValue reads one mark, whose name stands behind the prefix.
func ParseValue(name string, text []byte) (v Value, err error) {
	if err := json.Unmarshal(text, &v); err != nil {
		return v, err
	}
	is := func(there bool) bool {
		return v.Turn > 0 && there && (v.Info != nil) == (name == nameInfo) && (v.Split == nil || v.Collection == nil)
	}
	if name == nameInfo && is(true) || strings.HasPrefix(name, nameCollection) && is(v.Collection != nil) {
		return v, nil
	}
	if rest, ok := strings.CutPrefix(name, nameSplit); ok && is(v.Split != nil) {
		number, _, named := strings.Cut(rest, "/")
		if named && number == strconv.Itoa(v.Split.Index) && v.Split.Index >= 0 {
			return v, nil
		}
	}
	return v, errors.New("the value is not of that name")
}

// unfit says that a mark is none that a run wrote.
func unfit(name string, err error) error {
	return syncd.Hint(fmt.Errorf("%w: the committed mark %q: %w", store.ErrNotResumable, name, err), "--fresh starts from the beginning")
}

// interrupt says of a run that did not end that it was interrupted.
func (s *state) interrupt() {
	if s.info.Outcome == tally.Running {
		s.info.Outcome = tally.Interrupted
	}
}
