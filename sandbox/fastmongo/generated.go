package fastmongo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Generated is a collection that is not stored: its documents are made when they are read, so it may be of any length. It
// can't be written to. The functions must be pure and safe for concurrent use.
type Generated struct {
	N int // documents, numbered from 0

	// ID appends the encoded _id of document i to dst and returns its type. Ids ascend with i in MongoDB's order.
	ID func(i int, dst []byte) (bson.Type, []byte)

	// Document appends document i, whose first element is the _id that ID gives.
	Document func(i int, dst []byte) []byte

	// Search returns how many ids are below the given one; it may be nil, and a binary search by ID is made instead.
	Search func(t bson.Type, id []byte) int
}

// Documents is a collection of n documents of about size bytes each (at least 100): _id, an ObjectId that counts up;
// title, a text with its number; updatedAt, a date; archived, false; body, text to fill up.
func Documents(n, size int) Generated {
	// The time in the ids ascends every perSecond documents, and the counter, which divides by it, does not wrap within.
	const firstSecond, perSecond, process = 1_600_000_000, 1 << 10, "\x5a\xfe\xc0\xde\x01"
	id := func(i int, dst []byte) (bson.Type, []byte) {
		dst = binary.BigEndian.AppendUint32(dst, uint32(firstSecond+i/perSecond))
		dst = append(dst, process...)
		return bson.TypeObjectID, append(dst, byte(i>>16), byte(i>>8), byte(i))
	}
	search := func(t bson.Type, want []byte) int {
		if t != bson.TypeObjectID {
			if ranks[byte(t)] < ranks[byte(bson.TypeObjectID)] {
				return 0
			}
			return n
		}
		low := (int(binary.BigEndian.Uint32(want)) - firstSecond) * perSecond
		switch c := strings.Compare(string(want[4:9]), process); {
		case c > 0:
			low += perSecond
		case c == 0:
			counter := int(want[9])<<16 | int(want[10])<<8 | int(want[11])
			low += min(max(0, counter-low&(1<<24-1)), perSecond)
		}
		return min(max(0, low), n)
	}
	text := prose(1<<16 + size)
	return Generated{
		N: n, ID: id, Search: search,
		Document: func(i int, dst []byte) []byte {
			start, dst := bsoncore.AppendDocumentStart(dst)
			dst = bsoncore.AppendHeader(dst, bsoncore.TypeObjectID, "_id")
			_, dst = id(i, dst)
			dst = bsoncore.AppendHeader(dst, bsoncore.TypeString, "title")
			dst = append(dst, 19, 0, 0, 0)
			dst = append(dst, "Document "...)
			for digit := 100_000_000; digit > 0; digit /= 10 {
				dst = append(dst, byte('0'+i/digit%10))
			}
			dst = append(dst, 0)
			dst = bsoncore.AppendDateTimeElement(dst, "updatedAt", int64(firstSecond+i)*1000)
			dst = bsoncore.AppendBooleanElement(dst, "archived", false)
			const rest = 12 // type and name of body, its length, its final zero, the document's
			fill := max(1, size-(len(dst)-int(start))-rest)
			at := i * 7919 & (1<<16 - 1)
			dst = bsoncore.AppendHeader(dst, bsoncore.TypeString, "body")
			dst = binary.LittleEndian.AppendUint32(dst, uint32(fill+1))
			dst = append(dst, text[at:at+fill]...)
			dst = append(dst, 0, 0)
			binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-int(start)))
			return dst
		},
	}
}

// prose is n bytes of words, always the same, that compress about as well as text does.
func prose(n int) string {
	words := strings.Fields("a project plan needs an owner and every page of it names what the team has agreed on before the next " +
		"cycle starts so that search can find decisions tasks risks milestones and notes about customers orders or releases later")
	r := rand.New(rand.NewPCG(2, 3))
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// generated is a Generated as a collection.
type generated struct {
	Generated
	bytes int64
}

func newGenerated(g Generated) (*generated, error) {
	if g.N < 0 || g.ID == nil || g.Document == nil {
		return nil, errors.New("a generated collection needs N, ID and Document")
	}
	out := &generated{Generated: g}
	if g.N == 0 {
		return out, nil
	}
	previous := value{}
	for _, i := range []int{0, g.N / 2, g.N - 1} {
		doc := bsoncore.Document(g.Document(i, nil))
		id := out.id(i)
		if err := doc.Validate(); err != nil {
			return nil, fmt.Errorf("generated document %d: %w", i, err)
		}
		if got := lookup(doc, "_id"); !got.Equal(id) {
			return nil, fmt.Errorf("generated document %d has another _id than ID gives", i)
		}
		if previous.Type != 0 && compare(previous, id) > 0 {
			return nil, fmt.Errorf("the ids of generated documents do not ascend at %d", i)
		}
		previous = id
		out.bytes = int64(len(doc)) * int64(g.N)
	}
	return out, nil
}

func (g *generated) id(i int) value {
	t, b := g.ID(i, nil)
	return value{Type: bsoncore.Type(t), Data: b}
}

func (g *generated) count() int  { return g.N }
func (g *generated) size() int64 { return g.bytes }

func (g *generated) below(c cut) int {
	if g.Search == nil || c.at.Type == 0 {
		return searchIDs(g.N, g.id, c)
	}
	i := g.Search(bson.Type(c.at.Type), c.at.Data)
	if c.behind && i < g.N && compare(g.id(i), c.at) == 0 {
		i++
	}
	return i
}

func (g *generated) span(b bounds) (start, end int) {
	end = g.N
	for _, c := range b.lower {
		start = max(start, g.below(c))
	}
	for _, c := range b.upper {
		end = min(end, g.below(c))
	}
	return start, max(start, end)
}

// ordinals are the documents whose ids are among the points.
func (g *generated) ordinals(b bounds) []int {
	start, end := g.span(b)
	out := make([]int, 0, len(b.points))
	for _, p := range b.points {
		if i := g.below(before(p)); i >= start && i < end && compare(g.id(i), p) == 0 {
			out = append(out, i)
		}
	}
	return out
}

func (g *generated) within(b bounds) (int, bool) {
	if b.points != nil {
		return len(g.ordinals(b)), true
	}
	start, end := g.span(b)
	return end - start, true
}

// sample is Floyd's: n different numbers without a list of all.
func (g *generated) sample(n int) []bsoncore.Document {
	n = min(n, g.N)
	chosen := make(map[int]bool, n)
	out := make([]bsoncore.Document, 0, n)
	for j := g.N - n; j < g.N; j++ {
		i := rand.IntN(j + 1)
		if chosen[i] {
			i = j
		}
		chosen[i] = true
		out = append(out, g.Document(i, nil))
	}
	rand.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (g *generated) walk(b bounds, o order) (walk, error) {
	w := &generatedWalk{of: g, down: o == descending || o == backward}
	if b.points != nil {
		w.points = g.ordinals(b)
		w.end = len(w.points)
		return w, nil
	}
	w.at, w.end = g.span(b)
	if w.down {
		w.at, w.end = w.end-1, w.at-1
	}
	return w, nil
}

// generatedWalk goes through numbers: those in points, or from at to end.
type generatedWalk struct {
	of      *generated
	down    bool
	points  []int
	at, end int

	scratch, idScratch []byte
}

// document makes document i; it is valid until the next one is made.
func (w *generatedWalk) document(i int) bsoncore.Document {
	w.scratch = w.of.Document(i, w.scratch[:0])
	return w.scratch
}

func (w *generatedWalk) step() {
	if w.down && w.points == nil {
		w.at--
	} else {
		w.at++
	}
}

// ordinal is the number of the document at the walk's place.
func (w *generatedWalk) ordinal() int {
	switch {
	case w.points == nil:
		return w.at
	case w.down:
		return w.points[len(w.points)-1-w.at]
	}
	return w.points[w.at]
}

func (w *generatedWalk) each(visit func(*row) verdict) (bool, error) {
	r := row{from: w}
	for ; w.at != w.end; w.step() {
		r.ordinal = w.ordinal()
		t, id := w.of.ID(r.ordinal, w.idScratch[:0])
		w.idScratch = id
		r.id, r.doc = value{Type: bsoncore.Type(t), Data: id}, nil
		switch visit(&r) {
		case stopBehind:
			w.step()
			return false, nil
		case stopBefore:
			return false, nil
		}
	}
	return true, nil
}
