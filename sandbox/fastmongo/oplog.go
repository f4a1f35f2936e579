package fastmongo

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// Oplog says how far back change streams reach. What is older than any of the bounds is forgotten, except for the last entry.
type Oplog struct {
	Entries int           // 0 means any number
	Bytes   int           // of events; 0 means 1 GiB
	Age     time.Duration // 0 means for ever

	// Noop is how often the server writes an entry that says nothing, so that tokens move on where nobody writes; 0 means
	// never. MongoDB does so every ten seconds.
	Noop time.Duration

	// Now is the server's clock; nil means time.Now. Times of the cluster never go back even so.
	Now func() time.Time
}

// change is what happened to a collection or a database.
type change struct {
	op     string
	db     string
	coll   string
	to     string    // the new name, db.coll, of a rename
	uuid   uuid.UUID // of the collection
	of     *stored   // the collection, for lookups
	id     value     // of the document
	before bsoncore.Document
	after  bsoncore.Document
	diff   *description
	images bool // before and after are kept
}

// Operation types.
const (
	opInsert       = "insert"
	opUpdate       = "update"
	opReplace      = "replace"
	opDelete       = "delete"
	opCreate       = "create"
	opDrop         = "drop"
	opRename       = "rename"
	opDropDatabase = "dropDatabase"
	opInvalidate   = "invalidate"
	opNoop         = "" // no event
)

// record is an entry of the oplog: one event, in the form in which streams without options send it. It is never changed, so
// that all streams share its bytes.
type record struct {
	change
	time  uint64
	wall  int64 // milliseconds
	index int   // in its transaction
	event []byte
	cut   int // of event: behind wallTime, where fullDocument stands in front of ns
}

func (r *record) token() token {
	return token{time: r.time, event: true, index: r.index, uuid: r.uuid, op: r.op}
}

// size is what the record takes, roughly.
func (r *record) size() int {
	n := len(r.event) + 256
	if r.images {
		n += len(r.before) + len(r.after)
	}
	return n
}

// oplog is the order of all changes. A nil one, of a standalone server, takes nothing in.
type oplog struct {
	limits Oplog
	last8  bool // fullDocument stands behind updateDescription, as from MongoDB 8.3.4 on

	mu      sync.Mutex
	records []*record
	base    uint64 // the number of the first record
	bytes   int
	last    uint64 // the time of the last record
	held    uint64 // if not 0, the number of the first record that streams do not see yet
	waiting bool
	more    chan struct{} // closed when there is more, or streams have to look after themselves
}

func newOplog(limits Oplog, last8 bool) *oplog {
	limits.Entries, limits.Bytes = cmp.Or(limits.Entries, math.MaxInt), cmp.Or(limits.Bytes, 1<<30)
	if limits.Now == nil {
		limits.Now = time.Now
	}
	o := &oplog{limits: limits, last8: last8, base: 1, more: make(chan struct{})}
	o.append(nil, change{op: opNoop}) // as the initiation of a replica set
	return o
}

// append adds changes as one entry: they have one time and, if they are of a transaction, numbers.
func (o *oplog) append(txn *transaction, changes ...change) {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.limits.Now()
	o.last = max(o.last+1, uint64(now.Unix())<<32|1)
	for i := range changes {
		r := &record{change: changes[i], time: o.last, wall: now.UnixMilli(), index: i}
		if r.op != opNoop {
			r.encode(txn, o.last8)
		}
		if !r.images {
			r.before, r.after = nil, nil
		}
		r.diff = nil
		o.records = append(o.records, r)
		o.bytes += r.size()
	}
	o.trim(now)
	o.wake()
}

// trim forgets what is beyond the limits.
func (o *oplog) trim(now time.Time) {
	n := max(0, len(o.records)-o.limits.Entries)
	for _, r := range o.records[:n] {
		o.bytes -= r.size()
	}
	for n < len(o.records)-1 && (o.bytes > o.limits.Bytes || (o.limits.Age > 0 && now.UnixMilli()-o.records[n].wall > o.limits.Age.Milliseconds())) {
		o.bytes -= o.records[n].size()
		n++
	}
	o.drop(n)
}

func (o *oplog) drop(n int) {
	clear(o.records[:n])
	o.records = o.records[n:]
	o.base += uint64(n)
}

func (o *oplog) wake() {
	if o.waiting {
		close(o.more)
		o.more, o.waiting = make(chan struct{}), false
	}
}

// interrupt makes those that wait look around.
func (o *oplog) interrupt() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake()
}

// end is the number of the record that comes next for streams; it is called with mu held.
func (o *oplog) end() uint64 {
	if o.held != 0 {
		return max(o.held, o.base)
	}
	return o.base + uint64(len(o.records))
}

// read returns some records from a number on, or false if that is forgotten. If there are none yet, more is closed when there may
// be: since both come of one look, nothing happens unseen in between.
func (o *oplog) read(from uint64, into []*record) (records []*record, more <-chan struct{}, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.limits.Age > 0 {
		o.trim(o.limits.Now())
	}
	if from < o.base {
		return nil, nil, false
	}
	if from >= o.end() {
		o.waiting = true
		return nil, o.more, true
	}
	rest := o.records[from-o.base : o.end()-o.base]
	return append(into[:0], rest[:min(len(rest), cap(into))]...), nil, true
}

// next is where a new stream begins, and the time of what is before.
func (o *oplog) next() (uint64, uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held > o.base {
		return o.held, o.records[o.held-1-o.base].time
	}
	return o.end(), o.last
}

// seek returns the number of the first record at or behind a time and a place in its transaction, and whether the oplog still
// reaches back to that time.
func (o *oplog) seek(at uint64, index int) (n uint64, r *record, reaches bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.limits.Age > 0 {
		o.trim(o.limits.Now())
	}
	if at < o.records[0].time {
		return 0, nil, false
	}
	i, found := slices.BinarySearchFunc(o.records, struct{}{}, func(r *record, _ struct{}) int {
		return cmp.Or(cmp.Compare(r.time, at), cmp.Compare(r.index, index))
	})
	if found {
		r = o.records[i]
	}
	return o.base + uint64(i), r, true
}

// times are the operation time, and the time up to which streams see.
func (o *oplog) times() (last, visible uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held > o.base {
		return o.last, o.records[o.held-1-o.base].time
	}
	return o.last, o.last
}

// truncate forgets everything that has happened.
func (o *oplog) truncate() {
	o.append(nil, change{op: opNoop})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(len(o.records) - 1)
	o.bytes = o.records[0].size()
	o.wake()
}

// hold keeps later changes from streams, or shows them.
func (o *oplog) hold(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = 0
	if on {
		o.held = o.end()
	}
	o.wake()
}

// noops writes entries that say nothing until done is closed.
func (o *oplog) noops(done <-chan struct{}) {
	tick := time.NewTicker(o.limits.Noop)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			o.append(nil, change{op: opNoop})
		}
	}
}

// nobody is what stands in lsid for the user of a server without users.
var nobody = sha256.Sum256(nil)

// encode makes the event.
func (r *record) encode(txn *transaction, last8 bool) {
	room := 400 + len(r.after)
	if r.diff != nil {
		room = 400 + r.diff.size()
	}
	idEnd := 0
	start, b := bsoncore.AppendDocumentStart(make([]byte, 0, room))
	// What comes first is what MongoDB's own code adds first.
	if txn != nil {
		b = bsoncore.AppendInt64Element(b, "txnNumber", txn.number)
		b = bsoncore.AppendDocumentElement(b, "lsid", txn.lsid)
	}
	if r.op == opRename {
		b = bsoncore.AppendDocumentElement(b, "to", namespaceOf(r.to))
	}
	b = bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "_id")
	b = r.token().appendDocument(b)
	b = bsoncore.AppendStringElement(b, "operationType", r.op)
	b = bsoncore.AppendTimestampElement(b, "clusterTime", uint32(r.time>>32), uint32(r.time))
	b = bsoncore.AppendDateTimeElement(b, "wallTime", r.wall)
	r.cut = len(b)
	full := r.op == opInsert || r.op == opReplace
	if full && !last8 {
		b = bsoncore.AppendDocumentElement(b, "fullDocument", r.after)
	}
	b = bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "ns")
	ns, b := bsoncore.AppendDocumentStart(b)
	b = bsoncore.AppendStringElement(b, "db", r.db)
	if r.coll != "" {
		b = bsoncore.AppendStringElement(b, "coll", r.coll)
	}
	b, _ = bsoncore.AppendDocumentEnd(b, ns)
	if r.id.Type != 0 {
		b = bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "documentKey")
		b = appendIDOnly(b, r.id)
		idEnd = len(b) - 1
	}
	if r.diff != nil {
		b = bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "updateDescription")
		b = r.diff.append(b)
	}
	if full && last8 {
		b = bsoncore.AppendDocumentElement(b, "fullDocument", r.after)
	}
	if r.op == opCreate {
		b = bsoncore.AppendDocumentElement(b, "operationDescription", marshal(bson.D{{Key: "idIndex", Value: idIndex}}))
		b = bsoncore.AppendStringElement(b, "nsType", "collection")
	}
	r.event, _ = bsoncore.AppendDocumentEnd(b, start)
	if r.id.Type != 0 {
		r.id.Data = r.event[idEnd-len(r.id.Data) : idEnd] // so as not to keep the document
	}
}

func namespaceOf(ns string) bsoncore.Document {
	db, coll, _ := strings.Cut(ns, ".")
	return marshal(bson.D{{Key: "db", Value: db}, {Key: "coll", Value: coll}})
}

// wallTimeSize is the size of the element that ends at record.cut.
const wallTimeSize = len("\x09wallTime\x00") + 8

// describe is the record as the collection local.oplog.rs shows it, without what it changed.
func (r *record) describe() bsoncore.Document {
	op := map[string]string{opInsert: "i", opUpdate: "u", opReplace: "u", opDelete: "d", opNoop: "n"}[r.op]
	ns := r.db + "." + r.coll
	switch op {
	case "":
		op, ns = "c", r.db+".$cmd"
	case "n":
		ns = ""
	}
	return marshal(bson.D{
		{Key: "op", Value: op}, {Key: "ns", Value: ns}, {Key: "ts", Value: timestamp(r.time)}, {Key: "t", Value: int64(1)},
		{Key: "v", Value: int64(2)}, {Key: "wall", Value: bson.DateTime(r.wall)},
	})
}

func timestamp(t uint64) bson.Timestamp { return bson.Timestamp{T: uint32(t >> 32), I: uint32(t)} }

// appendTimes adds to a reply what a member of a replica set adds to each.
func (o *oplog) appendTimes(dst []byte, start int) []byte {
	last, _ := o.times()
	t, i := uint32(last>>32), uint32(last)
	dst = dst[:len(dst)-1] // the document's end
	dst = bsoncore.AppendHeader(dst, bsoncore.TypeEmbeddedDocument, "$clusterTime")
	at, dst := bsoncore.AppendDocumentStart(dst)
	dst = bsoncore.AppendTimestampElement(dst, "clusterTime", t, i)
	signature, dst := bsoncore.AppendDocumentElementStart(dst, "signature")
	dst = bsoncore.AppendBinaryElement(dst, "hash", bson.TypeBinaryGeneric, make([]byte, 20))
	dst = bsoncore.AppendInt64Element(dst, "keyId", 0)
	dst, _ = bsoncore.AppendDocumentEnd(dst, signature)
	dst, _ = bsoncore.AppendDocumentEnd(dst, at)
	dst = bsoncore.AppendTimestampElement(dst, "operationTime", t, i)
	dst = append(dst, 0)
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}
