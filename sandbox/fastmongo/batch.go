package fastmongo

import (
	"encoding/binary"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// batch is the array of documents in a reply, as it is written.
type batch struct {
	dst   []byte
	start int32
	n     int
	most  int // documents; negative for no limit
	bytes int // of the array, unless it has only one document
}

func (b *batch) begin(name string) {
	b.dst = bsoncore.AppendHeader(b.dst, bsoncore.TypeArray, name)
	b.start, b.dst = bsoncore.AppendArrayStart(b.dst)
}

func (b *batch) end() {
	b.dst, _ = bsoncore.AppendArrayEnd(b.dst, b.start)
}

func (b *batch) full() bool { return b.most >= 0 && b.n >= b.most }

// take ends a document that was appended after mark. If it is too much, it is taken back, and false returned.
func (b *batch) take(mark int) bool {
	if b.n > 0 && len(b.dst)-int(b.start) > b.bytes {
		b.dst = b.dst[:mark]
		return false
	}
	b.n++
	return true
}

// appendIndex appends the header of an array's element.
func appendIndex(dst []byte, t bsoncore.Type, n int) []byte {
	dst = strconv.AppendInt(append(dst, byte(t)), int64(n), 10)
	return append(dst, 0)
}

// appendIDOnly appends {_id: id}.
func appendIDOnly(dst []byte, id value) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(id.Type), '_', 'i', 'd', 0)
	dst = append(append(dst, id.Data...), 0)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// fillFast fills a batch from a generated collection without going row by row through visitors: it is what makes this
// server faster than its clients. It returns true at the end.
func (w *generatedWalk) fillFast(b *batch, idOnly bool) bool {
	id, document := w.of.ID, w.of.Document
	for ; w.at != w.end; w.step() {
		if b.full() {
			return false
		}
		mark := len(b.dst)
		dst := appendIndex(b.dst, bsoncore.TypeEmbeddedDocument, b.n)
		if idOnly {
			start := len(dst)
			dst = append(dst, 0, 0, 0, 0, 0, '_', 'i', 'd', 0)
			t, grown := id(w.ordinal(), dst)
			dst = append(grown, 0)
			dst[start+4] = byte(t)
			binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
		} else {
			dst = document(w.ordinal(), dst)
		}
		b.dst = dst
		if !b.take(mark) {
			return false
		}
	}
	return !b.full()
}
