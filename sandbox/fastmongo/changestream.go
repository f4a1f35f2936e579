package fastmongo

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// mostEvent bounds an event, as MongoDB's limit for documents of its own does.
const mostEvent = maxDocument + 16<<10

// eventSizes bound events: those that may be split are from whole on, into pieces of about piece bytes; others end at most.
type eventSizes struct{ whole, piece, most int }

func eventSizesOf(c Config) eventSizes {
	if n := c.EventBytes; n > 0 {
		return eventSizes{n, n, n}
	}
	return eventSizes{mostEvent - 8<<10, mostEvent - 16<<10, mostEvent}
}

// stream is the part of a cursor that follows the oplog. It is used by one goroutine at a time, as its cursor is.
type stream struct {
	log      *oplog
	sizes    eventSizes
	scope    scope
	steps    []func(bsoncore.Document) bsoncore.Document // what follows $changeStream; nil drops the event
	reshaped bool                                        // some step may touch _id
	watchSpec

	from  uint64 // the number of the next record
	since uint64 // what is older is not shown
	skip  int    // fragments of the first event that were seen
	room  []*record
	more  <-chan struct{} // closed when there may be more than there was at the last look

	pending []pendingEvent
	token   token // of the last event that was given out, or that nothing else has happened until its time
}

// watchSpec is what $changeStream says, apart from where to begin.
type watchSpec struct {
	full, before string // documents that are asked for: "", updateLookup, whenAvailable or required
	expanded     bool
	split        bool
}

// pendingEvent is ready to be sent.
type pendingEvent struct {
	doc   bsoncore.Document // nil if the pipeline dropped it
	token token
	last  bool // ends the cursor
}

// scope is what a stream watches: a collection, a database if coll is empty, or everything.
type scope struct{ db, coll string }

func (s scope) covers(r *record, expanded bool) bool {
	switch {
	case r.op == opNoop, r.op == opCreate && !expanded:
		return false
	case s.db == "":
		return r.db != "admin" && r.db != "config" && r.db != "local" && !strings.HasPrefix(r.coll, "system.")
	case r.db != s.db:
		return r.op == opRename && r.to == s.db+"."+s.coll
	case s.coll == "":
		return !strings.HasPrefix(r.coll, "system.")
	}
	return r.coll == s.coll && r.op != opDropDatabase || r.op == opRename && r.to == s.db+"."+s.coll
}

// endedBy reports whether nothing can follow a record that the scope covers.
func (s scope) endedBy(r *record) bool {
	switch {
	case s.db == "":
		return false
	case s.coll == "":
		return r.op == opDropDatabase
	}
	return r.op == opDrop || r.op == opRename
}

// watch opens a change stream.
func (s *Server) watch(r *request, pipeline []stage, dst []byte) ([]byte, error) {
	if s.quirks.Load().NoChangeStreams {
		return dst, fail(40324, "Unrecognized pipeline stage name: '$changeStream'")
	}
	if s.oplog == nil {
		return dst, fail(40573, "The $changeStream stage is only supported on replica sets")
	}
	st := &stream{log: s.oplog, sizes: eventSizesOf(s.cfg), room: make([]*record, 0, 256)}
	target := lookup(r.body, "aggregate")
	ns := r.db + ".$cmd.aggregate"
	st.scope.db = r.db
	if coll, ok := target.StringValueOK(); ok {
		st.scope.coll, ns = coll, r.ns()
	}
	if err := st.begin(pipeline[0].spec, s.quirks.Load()); err != nil {
		return dst, err
	}
	if err := st.compile(pipeline[1:], s.quirks.Load()); err != nil {
		return dst, err
	}
	most := firstBatch
	if n := lookup(lookup(r.body, "cursor").Data, "batchSize"); n.IsNumber() {
		most = int(toInt(n))
	}
	return s.replyStream(context.Background(), dst, "firstBatch", 0, &cursor{ns: ns, stream: st}, most, 0)
}

// begin reads $changeStream.
func (st *stream) begin(spec value, quirks *Quirks) error {
	d, ok := spec.DocumentOK()
	if !ok {
		return fail(50808, "$changeStream stage expects a document as argument")
	}
	var resume, start, at value
	cluster := false
	for rest := body(d); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		v := e.Value()
		unknown := fail(40415, "BSON field '$changeStream.%s' is an unknown field.", e.Key())
		switch e.Key() {
		case "resumeAfter":
			resume = v
		case "startAfter":
			if quirks.NoStartAfter {
				return unknown
			}
			start = v
		case "startAtOperationTime":
			if at = v; v.Type != bsoncore.TypeTimestamp {
				return fail(codeTypeMismatch, "BSON field '$changeStream.startAtOperationTime' is the wrong type '%s', expected type 'timestamp'", v.Type)
			}
		case "fullDocument", "fullDocumentBeforeChange":
			mode, _ := v.StringValueOK()
			into, allowed := &st.full, []string{"default", "updateLookup", "whenAvailable", "required"}
			if e.Key() == "fullDocumentBeforeChange" {
				into, allowed = &st.before, []string{"off", "whenAvailable", "required"}
			}
			if !slices.Contains(allowed, mode) {
				return fail(codeBadValue, "Enumeration value '%s' for field '$changeStream.%s' is not a valid value.", mode, e.Key())
			}
			if *into = mode; mode == allowed[0] {
				*into = ""
			}
		case "allChangesForCluster":
			cluster = truthy(v)
		case "showExpandedEvents":
			st.expanded = truthy(v)
		default:
			return unknown
		}
	}
	if err := st.legal(cluster); err != nil {
		return err
	}
	if resume.Type != 0 && start.Type != 0 {
		return fail(50865, "Do not specify both 'resumeAfter' and 'startAfter' in a $changeStream stage")
	}
	if resume.Type == 0 && start.Type == 0 {
		return st.beginAt(at)
	}
	given := start
	if resume.Type != 0 {
		given = resume
	}
	t, err := parseToken(given)
	if err != nil {
		return err
	}
	if at.Type != 0 {
		return fail(40674, "Only one type of resume option is allowed, but multiple were found")
	}
	if resume.Type != 0 && t.invalidate {
		return fail(codeInvalidToken, "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification")
	}
	return st.beginAfter(t)
}

// legal checks where the stream is opened.
func (st *stream) legal(cluster bool) error {
	switch in := st.scope; {
	case cluster && (in.db != "admin" || in.coll != ""):
		return fail(72, "A $changeStream with 'allChangesForCluster:true' may only be opened on the 'admin' database, and with no collection name; found %s.%s", in.db, in.coll)
	case cluster:
		st.scope = scope{}
	case in.db == "admin", in.db == "config", in.db == "local":
		return fail(73, "$changeStream may not be opened on the internal %s database", in.db)
	case strings.HasPrefix(in.coll, "system."):
		return fail(73, "$changeStream may not be opened on the internal %s.%s collection", in.db, in.coll)
	}
	return nil
}

// beginAt begins at a time, or now.
func (st *stream) beginAt(at value) error {
	if at.Type == 0 {
		from, last := st.log.next()
		st.from = from
		st.token = token{time: last + 1}
		return nil
	}
	t, i := at.Timestamp()
	return st.beginAfter(token{time: uint64(t)<<32 | uint64(i)})
}

// beginAfter begins behind an event, or at a high water mark.
func (st *stream) beginAfter(t token) error {
	n, r, reaches := st.log.seek(t.time, t.index)
	if !reaches {
		return historyLost()
	}
	st.from, st.since, st.token = n, t.time, t
	if !t.event {
		return nil
	}
	if r == nil || !st.scope.covers(r, true) {
		return lostForGood("cannot resume stream; the resume token was not found. %s", t.appendHex(nil))
	}
	switch {
	case t.fragment > 0: // the event comes again, without what was seen of it
		st.skip = t.fragment
	case !t.invalidate && st.scope.endedBy(r):
		st.from++
		st.pending = []pendingEvent{st.invalidate(r)}
	default:
		st.from++
	}
	return nil
}

func historyLost() *failure {
	f := fail(codeHistoryLost, "Resume of change stream was not possible, as the resume point may no longer be in the oplog.")
	f.labels = []string{"NonResumableChangeStreamError"}
	return f
}

func lostForGood(format string, args ...any) *failure {
	f := fail(codeStreamFatal, format, args...)
	f.labels = []string{"NonResumableChangeStreamError"}
	return f
}

// compile reads what follows $changeStream.
func (st *stream) compile(pipeline []stage, quirks *Quirks) error {
	for i, s := range pipeline {
		switch s.name {
		case "$match":
			f, err := compileFilter(s.spec.Data)
			if err != nil {
				return err
			}
			st.steps = append(st.steps, func(d bsoncore.Document) bsoncore.Document {
				if f.match(d) {
					return d
				}
				return nil
			})
		case "$project", "$unset":
			spec := s.spec.Data
			if s.name == "$unset" {
				spec = exclusion(s.spec)
			}
			p, err := compileProjection(spec)
			if err != nil {
				return err
			}
			st.reshaped = true
			st.steps = append(st.steps, func(d bsoncore.Document) bsoncore.Document { return p.append(nil, d) })
		case "$changeStreamSplitLargeEvent":
			switch {
			case quirks.NoSplit:
				return fail(40324, "Unrecognized pipeline stage name: '%s'", s.name)
			case len(body(s.spec.Data)) > 1:
				return fail(7182800, "$changeStreamSplitLargeEvent spec should be an empty object")
			case i != len(pipeline)-1:
				return fail(7182802, "$changeStreamSplitLargeEvent must be the last stage in the pipeline")
			}
			st.split = true
		case "$addFields", "$set", "$replaceRoot", "$replaceWith", "$redact":
			return fail(238, "%s is not implemented here", s.name)
		case "$changeStream":
			return fail(40602, "$changeStream is only valid as the first stage in a pipeline")
		case "$sort", "$limit", "$skip", "$count", "$group", "$sample", "$collStats", "$lookup", "$unwind", "$out", "$merge", "$facet":
			return fail(codeIllegalOperation, "%s is not permitted in a $changeStream pipeline", s.name)
		default:
			return fail(40324, "Unrecognized pipeline stage name: '%s'", s.name)
		}
	}
	if st.skip > 0 && !st.split {
		return lostForGood("Attempted to resume from a split event fragment, but the resumed stream does not split events")
	}
	return nil
}

// exclusion is the projection that $unset stands for.
func exclusion(spec value) bsoncore.Document {
	names := []value{spec}
	if spec.Type == bsoncore.TypeArray {
		names, _ = bsoncore.Array(spec.Data).Values()
	}
	d := bson.D{}
	for _, n := range names {
		if name, ok := n.StringValueOK(); ok {
			d = append(d, bson.E{Key: name, Value: 0})
		}
	}
	return marshal(d)
}

// invalidate is the event that follows a record which ends the stream.
func (st *stream) invalidate(r *record) pendingEvent {
	t := token{time: r.time, event: true, index: r.index, invalidate: true, uuid: r.uuid, op: opInvalidate}
	start, b := bsoncore.AppendDocumentStart(nil)
	b = t.appendDocument(bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "_id"))
	b = bsoncore.AppendStringElement(b, "operationType", opInvalidate)
	b = bsoncore.AppendTimestampElement(b, "clusterTime", uint32(r.time>>32), uint32(r.time))
	b = bsoncore.AppendDateTimeElement(b, "wallTime", r.wall)
	b, _ = bsoncore.AppendDocumentEnd(b, start)
	p := pendingEvent{doc: b, token: t, last: true}
	for _, step := range st.steps {
		if p.doc = step(p.doc); p.doc == nil {
			break
		}
	}
	return p
}

// fill puts into a batch what has happened. It returns true if nothing more can follow.
func (st *stream) fill(b *batch) (bool, error) {
	for {
		for len(st.pending) > 0 {
			p := st.pending[0]
			if p.doc != nil {
				if b.full() {
					return false, nil
				}
				mark := len(b.dst)
				b.dst = append(appendIndex(b.dst, bsoncore.TypeEmbeddedDocument, b.n), p.doc...)
				if !b.take(mark) {
					return false, nil
				}
			}
			st.pending, st.token = st.pending[1:], p.token
			if p.last {
				return true, nil
			}
		}
		if b.full() {
			return false, nil
		}
		records, more, ok := st.log.read(st.from, st.room)
		if !ok {
			return false, historyLost()
		}
		if len(records) == 0 {
			st.more = more
			return false, nil
		}
		for _, r := range records {
			more, err := st.add(b, r)
			if err != nil || !more {
				return false, err
			}
			if len(st.pending) > 0 {
				break
			}
		}
	}
}

// add puts a record's event into a batch. It returns false if there is no room.
func (st *stream) add(b *batch, r *record) (bool, error) {
	if r.time < st.since || !st.scope.covers(r, st.expanded) {
		st.from++
		if r.time > st.token.time {
			st.token = token{time: r.time}
		}
		return true, nil
	}
	if b.full() {
		return false, nil
	}
	mark := len(b.dst)
	b.dst = appendIndex(b.dst, bsoncore.TypeEmbeddedDocument, b.n)
	at := len(b.dst)
	var err error
	if b.dst, err = st.render(b.dst, r); err != nil {
		return false, err
	}
	if len(st.steps) > 0 {
		doc := bsoncore.Document(b.dst[at:])
		for _, step := range st.steps {
			if doc = step(doc); doc == nil {
				break
			}
		}
		if doc == nil {
			b.dst = b.dst[:mark]
			st.from++
			if r.time > st.token.time {
				st.token = token{time: r.time}
			}
			if st.scope.endedBy(r) { // whatever the pipeline leaves out
				st.pending = append(st.pending, st.invalidate(r))
			}
			return true, nil
		}
		if len(doc) != len(b.dst)-at || &doc[0] != &b.dst[at] {
			b.dst = append(b.dst[:at], doc...)
		}
		if st.reshaped && !bytes.Equal(lookup(b.dst[at:], "_id").Data, r.token().appendDocument(nil)) {
			return false, lostForGood("Encountered an event whose _id field, which contains the resume token, was modified by the pipeline. " +
				"Modifying the _id field of an event makes it impossible to resume the stream from that point. " +
				"Only transformations that retain the unmodified _id field are allowed.")
		}
	}
	switch size := len(b.dst) - at; {
	case st.split && size > st.sizes.whole:
		doc := slices.Clone(b.dst[at:])
		b.dst = b.dst[:mark]
		st.pending = split(doc, r.token(), st.sizes.piece)
		if st.skip > len(st.pending) {
			return false, lostForGood("Attempted to resume from a split event, but the resumed stream produced a different split.")
		}
		st.pending, st.skip = st.pending[st.skip:], 0
		st.from++
		return true, nil
	case size > st.sizes.most:
		return false, fail(codeTooLarge, "Executor error during getMore :: caused by :: BSONObj size: %d (0x%X) is invalid. "+
			"Size must be between 0 and %d(16MB) First element: _id: %s", size, size, mostEvent, r.token().appendDocument(nil))
	case st.skip > 0:
		return false, lostForGood("Attempted to resume from a split event fragment, but the event in the resumed stream was not large enough to be split")
	}
	if !b.take(mark) {
		return false, nil
	}
	st.from++
	st.token = r.token()
	if st.scope.endedBy(r) {
		st.pending = append(st.pending, st.invalidate(r))
	}
	return true, nil
}

// render appends the event as the stream's options want it.
func (st *stream) render(dst []byte, r *record) ([]byte, error) {
	var full, before value
	if r.op == opUpdate && st.full != "" {
		doc := r.after
		if st.full == "updateLookup" {
			doc = r.of.get(r.id)
		}
		if full = documentOrNull(doc); doc == nil && st.full == "required" {
			return dst, r.missing("a post-image for all update events, but the post-image was not found")
		}
	}
	if st.before != "" && (r.op == opUpdate || r.op == opReplace || r.op == opDelete) {
		if before = documentOrNull(r.before); r.before == nil && st.before == "required" {
			return dst, r.missing("a pre-image for all update, delete and replace events, but the pre-image was not found")
		}
	}
	if full.Type == 0 && before.Type == 0 && !st.expanded {
		return append(dst, r.event...), nil
	}
	start := len(dst)
	wall := r.cut - wallTimeSize
	dst = append(dst, r.event[:wall]...)
	if st.expanded && r.op != opDropDatabase {
		dst = bsoncore.AppendBinaryElement(dst, "collectionUUID", bson.TypeBinaryUUID, r.uuid[:])
	}
	dst = append(dst, r.event[wall:r.cut]...)
	if full.Type != 0 && !st.log.last8 {
		dst = append(bsoncore.AppendHeader(dst, full.Type, "fullDocument"), full.Data...)
	}
	dst = append(dst, r.event[r.cut:len(r.event)-1]...)
	if full.Type != 0 && st.log.last8 {
		dst = append(bsoncore.AppendHeader(dst, full.Type, "fullDocument"), full.Data...)
	}
	if before.Type != 0 {
		dst = append(bsoncore.AppendHeader(dst, before.Type, "fullDocumentBeforeChange"), before.Data...)
	}
	return bsoncore.AppendDocumentEnd(dst, int32(start))
}

func documentOrNull(d bsoncore.Document) value {
	if d == nil {
		return value{Type: bsoncore.TypeNull}
	}
	return value{Type: bsoncore.TypeEmbeddedDocument, Data: d}
}

// missing says that an image that has to be there is not.
func (r *record) missing(what string) error {
	return fail(codeNoMatch, "Executor error during getMore :: caused by :: Change stream was configured to require %s for event: "+
		"{operationType: %q, ns: {db: %q, coll: %q}, clusterTime: Timestamp(%d, %d)}", what, r.op, r.db, r.coll, r.time>>32, uint32(r.time))
}

// split cuts an event into fragments: the smallest fields first, as many as fit into each.
func split(event bsoncore.Document, t token, most int) []pendingEvent {
	type field struct {
		name string
		e    bsoncore.Element
	}
	var fields []field
	for rest := body(event); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		if e.Key() != "_id" {
			fields = append(fields, field{e.Key(), e})
		}
	}
	slices.SortFunc(fields, func(a, b field) int {
		return cmp.Or(cmp.Compare(len(a.e), len(b.e)), strings.Compare(a.name, b.name))
	})
	var parts [][]field
	size := 0
	for _, f := range fields {
		if len(parts) == 0 || size+len(f.e) > most {
			parts, size = append(parts, nil), 0
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], f)
		size += len(f.e)
	}
	out := make([]pendingEvent, len(parts))
	for i, part := range parts {
		t.fragment = i + 1
		start, b := bsoncore.AppendDocumentStart(nil)
		b = t.appendDocument(bsoncore.AppendHeader(b, bsoncore.TypeEmbeddedDocument, "_id"))
		b = bsoncore.AppendDocumentElement(b, "splitEvent", marshal(bson.D{{Key: "fragment", Value: int32(i + 1)}, {Key: "of", Value: int32(len(parts))}}))
		for _, f := range part {
			b = append(b, f.e...)
		}
		b, _ = bsoncore.AppendDocumentEnd(b, start)
		out[i] = pendingEvent{doc: b, token: t}
	}
	return out
}

// replyStream appends a reply with what has happened, or what happens within a time if that is nothing, and keeps the cursor if
// more may follow.
func (s *Server) replyStream(ctx context.Context, dst []byte, field string, id int64, c *cursor, most int, patience time.Duration) ([]byte, error) {
	reply, dst := bsoncore.AppendDocumentStart(dst)
	inner, dst := bsoncore.AppendDocumentElementStart(dst, "cursor")
	b := batch{dst: dst, most: most, bytes: s.replyBytes}
	b.begin(field)
	end, err := s.await(ctx, id, c, &b, patience)
	if err != nil {
		return b.dst, err
	}
	b.end()
	s.count.returned.Add(int64(b.n))
	if end {
		s.forgetCursor(id)
		id = 0
	} else if id, err = s.keepCursor(id, c); err != nil {
		return b.dst, err
	}
	dst = bsoncore.AppendHeader(b.dst, bsoncore.TypeEmbeddedDocument, "postBatchResumeToken")
	dst = c.stream.token.appendDocument(dst)
	dst = bsoncore.AppendInt64Element(dst, "id", id)
	dst = bsoncore.AppendStringElement(dst, "ns", c.ns)
	dst, _ = bsoncore.AppendDocumentEnd(dst, inner)
	dst = bsoncore.AppendDoubleElement(dst, "ok", 1)
	dst, _ = bsoncore.AppendDocumentEnd(dst, reply)
	return dst, nil
}

// defaultAwait is how long a getMore waits for an event unless it says so.
const defaultAwait = time.Second

// await fills a batch, waiting for its first event.
func (s *Server) await(ctx context.Context, id int64, c *cursor, b *batch, patience time.Duration) (bool, error) {
	var over <-chan time.Time
	for waiting := patience > 0; ; {
		end, err := c.stream.fill(b)
		if end || err != nil || b.n > 0 || b.full() || !waiting {
			return end, err
		}
		if err := s.alive(id, c); err != nil {
			return false, err
		}
		if over == nil {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-ctx.Done():
			return false, errReset
		case <-over:
			waiting = false
		case <-c.stream.more:
		}
	}
}
