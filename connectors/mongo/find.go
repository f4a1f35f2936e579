package mongo

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// A question for ids names at most this many guesses, and about this many bytes of them: a query is a document itself,
// and those end at 16 MiB (Manual, "MongoDB Limits and Thresholds").
const (
	maxGuesses    = 2000
	maxGuessBytes = 4 << 20
)

// Find asks for the values that an id of each text could be, by $in, first for those of the types that ids usually have,
// then, for what was not found, for the rest. It does not take a collection that does not exist for one without documents:
// whoever asks may be about to delete what can't be found. For the same reason it asks the primary, wherever reads ask: a
// secondary may not have the document yet.
func (s *source) Find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	keys, err := s.findIDs(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	return keys, nil
}

func (s *source) findIDs(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return nil, err
	}
	f := newFinding(s, c.Name, filter, ids)
	f.keys = make([]syncd.Key, len(f.ids))
	if err := f.search(ctx, f.ids, (*idGuesses).addUsual); err != nil {
		return nil, s.explain(ctx, err)
	}
	if missing := f.missing(); len(missing) > 0 {
		if _, err := s.look(ctx, c.Name); err != nil {
			return nil, err
		}
		if err := f.searchRare(ctx, missing); err != nil {
			return nil, s.explain(ctx, err)
		}
	}
	if len(f.ids) == len(ids) {
		return f.keys, nil
	}
	out := make([]syncd.Key, len(ids))
	for i, id := range ids {
		out[i] = f.keys[f.places[id]]
	}
	return out, nil
}

// FindAll asks for all values that an id of each text could be, as Find does, but for the usual types and all others at once:
// a document must come in one answer only.
func (s *source) FindAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	out, err := s.findAll(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, err)
	}
	return out, nil
}

func (s *source) findAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	filter, err := parseFilter(c.Filter)
	if err != nil {
		return nil, err
	}
	if _, err := s.look(ctx, c.Name); err != nil {
		return nil, err
	}
	f := newFinding(s, c.Name, filter, ids)
	f.all = make([][]syncd.FoundID, len(f.ids))
	binaries, decimals, err := f.rare(ctx, f.ids)
	if err == nil {
		err = f.search(ctx, f.ids, func(g *idGuesses, text string) {
			g.addUsual(text)
			g.addRare(text, binaries, decimals)
		})
	}
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	out := make([][]syncd.FoundID, len(ids))
	for i, id := range ids {
		out[i] = f.all[f.places[id]]
	}
	return out, nil
}

// finding is one Find or FindAll.
type finding struct {
	*source
	collection string
	filter     bson.Raw
	ids        []string          // that are asked for, each once
	places     map[string]int    // of the ids in ids
	keys       []syncd.Key       // of a Find, aligned with ids; empty until it is found
	all        [][]syncd.FoundID // of a FindAll, aligned with ids
	guesses    idGuesses
	text, key  []byte // reused
}

func newFinding(s *source, collection string, filter bson.Raw, ids []string) *finding {
	f := &finding{source: s, collection: collection, filter: filter, ids: make([]string, 0, len(ids)), places: make(map[string]int, len(ids))}
	for _, id := range ids {
		if _, again := f.places[id]; !again {
			f.places[id] = len(f.ids)
			f.ids = append(f.ids, id)
		}
	}
	return f
}

func (f *finding) missing() []string {
	var out []string
	for i, id := range f.ids {
		if f.keys[i] == "" {
			out = append(out, id)
		}
	}
	return out
}

// searchRare looks for ids of types that ids hardly have.
func (f *finding) searchRare(ctx context.Context, ids []string) error {
	binaries, decimals, err := f.rare(ctx, ids)
	if err != nil {
		return err
	}
	return f.search(ctx, ids, func(g *idGuesses, text string) { g.addRare(text, binaries, decimals) })
}

// rare reports whether the ids may be binaries, and whether they may be of type Decimal128.
func (f *finding) rare(ctx context.Context, ids []string) (binaries, decimals bool, err error) {
	if binaries, err = f.holds(ctx, bson.TypeBinary); err != nil {
		return false, false, err
	}
	if slices.ContainsFunc(ids, mayBeDecimal) {
		decimals, err = f.holds(ctx, bson.TypeDecimal128)
	}
	return binaries, decimals, err
}

// holds asks whether any _id may be of a type, which the index answers at once. A server that has not implemented the type
// holds none; some drop the connection on a value of one.
func (f *finding) holds(ctx context.Context, t bson.Type) (bool, error) {
	filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$type", Value: int32(t)}}}}
	return retried(ctx, f.source, func() (bool, error) {
		c, err := f.upToDate().find(ctx, query{collection: f.collection, filter: filter, projection: projection(nil), limit: 1})
		switch {
		case hasCode(err, codeNotImplemented):
			return false, nil
		case isServerRefusal(err):
			return true, nil // what can't be excluded is looked for
		case err != nil:
			return false, err
		}
		defer c.Close()
		return c.Next(ctx), c.Err()
	})
}

// search asks for the guesses at ids, as many at once as a query may hold.
func (f *finding) search(ctx context.Context, ids []string, add func(g *idGuesses, text string)) error {
	ask := func() error {
		if f.guesses.n == 0 {
			return ctx.Err()
		}
		found, err := retried(ctx, f.source, func() ([]foundID, error) { return f.ask(ctx) })
		for _, id := range found { // of the last try only: each asks for all
			f.all[id.place] = append(f.all[id.place], id.FoundID)
		}
		f.guesses.reset()
		return err
	}
	f.guesses.reset()
	for _, id := range ids {
		add(&f.guesses, id)
		if f.guesses.n >= maxGuesses || len(f.guesses.array) >= maxGuessBytes {
			if err := ask(); err != nil {
				return err
			}
		}
	}
	return ask()
}

// ask asks for the guesses and returns the ids of those that were asked for by their text: a server may find more, as it takes a
// number of any type for one of the same value, and text by the collection's collation.
func (f *finding) ask(ctx context.Context) (found []foundID, err error) {
	c, err := f.upToDate().find(ctx, query{
		collection: f.collection, filter: all(f.filter, f.guesses.in()), projection: projection(nil), batchSize: f.guesses.n,
	})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for c.Next(ctx) {
		id, ok := bsondoc.ID(c.Doc())
		if !ok {
			continue
		}
		if f.text, err = bsondoc.AppendIDText(f.text[:0], id); err != nil {
			continue // it has no text, so it is none of those
		}
		place, asked := f.places[string(f.text)]
		if !asked {
			continue
		}
		f.key = bsondoc.AppendKey(f.key[:0], id)
		switch {
		case f.all != nil:
			found = append(found, foundID{place, syncd.FoundID{Key: syncd.Key(f.key), Text: id.String()}})
		case f.keys[place] == "":
			f.keys[place] = syncd.Key(f.key)
		}
	}
	return found, c.Err()
}

// foundID is an id that was found, and the place of its text in ids.
type foundID struct {
	place int
	syncd.FoundID
}

// in returns {_id: {$in: […]}}.
func (g *idGuesses) in() bson.Raw {
	const around = 5 + len("_id") + 1 + 5 + len("$in") + 1 + 4 + 3 // lengths, types, names and ends
	doc := make([]byte, 0, len(g.array)+around)
	doc = append(doc, 0, 0, 0, 0, byte(bson.TypeEmbeddedDocument), '_', 'i', 'd', 0)
	in := len(doc)
	doc = append(doc, 0, 0, 0, 0, byte(bson.TypeArray), '$', 'i', 'n', 0)
	array := len(doc)
	doc = append(append(doc, 0, 0, 0, 0), g.array...)
	for _, start := range []int{array, in, 0} {
		doc = append(doc, 0)
		binary.LittleEndian.PutUint32(doc[start:], uint32(len(doc)-start))
	}
	return doc
}
