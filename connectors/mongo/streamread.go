package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/connectors/internal/rows"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/internal/wait"
)

// follow reads a stream. Without req.After it begins now.
func (s *source) follow(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		ids := req
		ids.Documents = false // they lie in the events
		f := following{source: s, stream: *req.Split.Stream, req: req, rows: rows.New(ids), yield: yield, mapped: map[string]string{}, filter: map[string]*selecting{}, atOnce: firstLookUp, silence: s.silence}
		f.rows.Place = f.place
		for _, c := range f.stream.Collections {
			f.mapped[c.Name] = c.Name
			if c.Filter != "" {
				query, err := parseFilter(c.Filter)
				if err != nil {
					yield(syncd.Batch{}, s.followError(ctx, f.stream, err))
					return
				}
				selects := selectingOf(query)
				f.filter[c.Name] = &selects
			}
		}
		err := f.run(ctx)
		var gone *syncd.CollectionGoneError
		switch {
		case errors.Is(err, errStopped):
		case errors.As(err, &gone):
			yield(syncd.Batch{}, gone)
		default:
			yield(syncd.Batch{}, s.followError(ctx, f.stream, err))
		}
	}
}

// errEnded means that the server closed a stream without a word.
var errEnded = errors.New("the server closed the stream")

// errInvalidated means that the last event ended the stream, behind which another one goes on.
var errInvalidated = errors.New("the stream ended with what it was open on")

// following is one walk along a stream, over as many cursors as it takes.
type following struct {
	*source
	stream syncd.Stream
	req    syncd.ReadRequest
	mapped map[string]string     // the names of the stream's collections
	filter map[string]*selecting // of those that have a filter
	yield  func(syncd.Batch, error) bool
	shape  streamShape
	single int          // events that have come one by one
	slowed syncd.Offset // where they last began to

	at      position      // behind the last event of a batch: where the next cursor begins
	silence time.Duration // how long the server may take for an answer
	opened  bool          // the last cursor was opened
	replied bool          // and the server has answered for more
	doubted syncd.Offset  // where the last doubtful error was

	// These are of the server's last reply, whose events become batches one after the other.
	queue  []streamEvent
	end    position // behind all of it
	ending error    // what the read of the cursor ends with there
	atOnce int      // documents that are looked up together

	// These are of the events between two batches.
	rows    *rows.Builder
	copies  rows.Copies
	changes []pending
	bytes   int
	text    []byte   // of the paths that updates touched
	paths   [][2]int // where each of them lies in text
	current *streamEvent
}

// pending is a change that is not in a batch yet.
type pending struct {
	streamEvent
	collection string
	paths      int // where its own end in following.paths
	whole      bool
}

func (f *following) run(ctx context.Context) error {
	var err error
	if f.req.After == "" {
		f.at, err = f.now(ctx, f.stream)
	} else if f.at, err = parsePosition(f.req.After); err != nil {
		return positionError{err}
	}
	if err != nil {
		return err
	}
	retrier := f.retrier()
	retrier.Classify = f.classify
	for tries := retrier.Start(); ; {
		f.opened, f.replied = false, false
		from := f.at
		err := f.pass(ctx)
		if f.replied {
			tries.Progress()
			f.silence = f.source.silence
		}
		if errors.Is(err, errSilent) {
			f.silence = min(2*f.silence, longestSilence)
		}
		var gone *syncd.CollectionGoneError
		switch {
		case errors.Is(err, errStopped), errors.As(err, &gone), ctx.Err() != nil:
			return err
		case errors.Is(err, errInvalidated) && !bytes.Equal(from.token, f.at.token):
			continue
		}
		switch meaningOf(err, f.opened) {
		case isLost:
			return positionError{err}
		case isDoubtful:
			at := f.at.offset()
			if f.doubted == at {
				return positionError{err}
			}
			f.doubted = at
		case isRefused:
			return f.judge(ctx, err)
		case isLarge:
			err = f.passLarge(ctx, err)
			switch {
			case err == nil:
				tries.Progress()
				continue
			case errors.Is(err, errStopped), errors.As(err, &gone):
				return err
			}
		case isAbsent:
			// What is not there has no changes, and is waited for: it may be made at any time.
			if err := f.hand(ctx, syncd.Batch{Offset: f.at.offset()}); err != nil {
				return err
			}
			if err := wait.Pause(ctx, f.awaitTime); err != nil {
				return err
			}
			continue
		case isPassing, isFinal:
		}
		if again := tries.Again(ctx, err); again != nil {
			if hasCode(again, codeCappedPositionLost) && !f.opened {
				return f.judge(ctx, again)
			}
			return again
		}
	}
}

// classify is the retrier's for streams.
func (f *following) classify(err error) retry.Decision {
	m := meaningOf(err, f.opened)
	return retry.Decision{Again: m == isPassing || m == isDoubtful, AtOnce: hasCode(err, lostCursorCodes...)}
}

// judge tells which is at fault when a stream can't be opened behind a place: if it can be opened elsewhere, it is the place.
func (f *following) judge(ctx context.Context, err error) error {
	if _, other := f.now(ctx, f.stream); other == nil {
		return positionError{err}
	}
	return err
}

// pass reads one cursor until it fails.
func (f *following) pass(ctx context.Context) error {
	opened, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeStream(opened)
	f.opened, f.queue = true, nil
	c := &streamCursor{ChangeStream: opened, silence: f.silence}
	var pieces joiner
	fill := func(ctx context.Context) ([]syncd.Batch, bool, error) { return f.fill(ctx, c, &pieces) }
	for batches, err := range prefetch(ctx, fill, func() bool { return true }) {
		if err != nil {
			return err
		}
		for _, b := range batches {
			if err := f.hand(ctx, b); err != nil {
				return err
			}
		}
	}
	return errEnded
}

func (f *following) open(ctx context.Context) (*mongodriver.ChangeStream, error) {
	return patiently(ctx, f.silence, func(ctx context.Context) (*mongodriver.ChangeStream, error) {
		return f.openStream(ctx, f.stream, f.at, f.shape)
	})
}

func (f *following) hand(ctx context.Context, b syncd.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !f.yield(b, nil) {
		return errStopped
	}
	return nil
}

// streamCursor is the driver's, with an end to its patience.
type streamCursor struct {
	*mongodriver.ChangeStream
	silence time.Duration
	asked   int
}

// next waits for an event, or for the server's word that there is none.
//
// The driver would resume a stream by itself: in silence, without a pause, for as long as the server opens streams and then
// refuses to read on, and with resumeAfter, which is wrong behind the event that ended a stream. So the first error ends this.
func (c *streamCursor) next(ctx context.Context) (bool, error) {
	if c.RemainingBatchLength() > 0 {
		return c.TryNext(ctx), c.failed(nil)
	}
	c.asked++
	var w watcher
	ok, err := patiently(ctx, c.silence, func(ctx context.Context) (bool, error) {
		ctx, w.stop = context.WithCancel(ctx)
		defer w.stop()
		ok := c.TryNext(context.WithValue(ctx, watcherKey{}, &w))
		return ok, c.failed(w.err)
	})
	return ok, err
}

// How long a server may take for an answer. It may have much of its oplog to read that is of no collection here, and says nothing
// meanwhile; but so does a network that has lost a connection. So each further time in a row it gets twice as long.
const (
	firstSilence   = 5 * time.Minute
	longestSilence = time.Hour
)

// errSilent counts as a timeout of the network.
var errSilent = fmt.Errorf("the server has not answered: %w", context.DeadlineExceeded)

// patiently calls f with a context that ends after a time. It has no deadline, which the driver would tell the server.
func patiently[T any](ctx context.Context, silence time.Duration, f func(context.Context) (T, error)) (T, error) {
	asking, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer time.AfterFunc(silence, func() { stop(errSilent) }).Stop()
	v, err := f(asking)
	if err != nil && errors.Is(context.Cause(asking), errSilent) {
		err = errSilent
	}
	return v, err
}

// failed is why there is no event; first, if it is known, is what happened before the driver tried again.
func (c *streamCursor) failed(first error) error {
	switch err := c.Err(); {
	case err == nil:
		return nil
	case first != nil:
		return first
	default:
		return err
	}
}

// watcher is told of the first command that fails, and stops the driver from repeating it. All that happens where TryNext is called.
type watcher struct {
	err  error
	stop func()
}

type watcherKey struct{}

// commandFailed is told of every command that fails.
func commandFailed(ctx context.Context, e *event.CommandFailedEvent) {
	w, ok := ctx.Value(watcherKey{}).(*watcher)
	if !ok || e.CommandName != "getMore" {
		return
	}
	if w.err != nil {
		return
	}
	w.err = e.Failure
	if de, ok := errors.AsType[driver.Error](e.Failure); ok && de.Code != 0 {
		w.err = mongodriver.CommandError{Code: de.Code, Message: de.Message, Labels: de.Labels, Name: de.Name}
	}
	w.stop()
}

// fill asks the server for one reply and makes batches of it. It runs ahead of whoever handles the batches.
func (f *following) fill(ctx context.Context, c *streamCursor, pieces *joiner) (batches []syncd.Batch, more bool, err error) {
	if len(f.queue) == 0 {
		if err := f.receive(ctx, c, pieces); err != nil {
			return nil, false, err
		}
	}
	events := f.queue
	if f.cfg.Stream.FullDocument != fullLookup {
		events = events[:min(len(events), f.atOnce)]
	}
	f.queue = f.queue[len(events):]
	if err := f.lookUp(ctx, events); err != nil {
		return nil, false, err
	}
	for i := range events {
		f.add(&events[i])
		if left := len(f.queue) + len(events) - 1 - i; left > 0 && (f.full() || i == len(events)-1) {
			batches = append(batches, f.cut(position{token: events[i].token}))
		}
	}
	if len(f.queue) > 0 {
		return batches, true, nil
	}
	return append(batches, f.cut(f.end)), f.ending == nil, f.ending
}

// receive gets the server's next reply.
func (f *following) receive(ctx context.Context, c *streamCursor, pieces *joiner) error {
	ok, err := c.next(ctx)
	if err != nil {
		return err
	}
	f.replied = f.replied || ok || c.asked > 1 // what came with the cursor was not asked for
	f.queue, f.end, f.ending = nil, f.at, nil
	if ok {
		f.queue = make([]streamEvent, 0, 1+c.RemainingBatchLength())
	}
	for ok {
		e, whole, err := f.take(c.Current, pieces)
		if err != nil {
			return err
		}
		if whole {
			f.see(&e)
		}
		if f.ending != nil || c.RemainingBatchLength() == 0 {
			break
		}
		if ok, err = c.next(ctx); err != nil {
			return err
		}
	}
	if f.ending == nil {
		f.rest(c, pieces)
	}
	return nil
}

// rest takes note of what a reply says beside its events.
func (f *following) rest(c *streamCursor, pieces *joiner) {
	if token := c.ResumeToken(); pieces.next == 0 && token != nil && !bytes.Equal(token, f.end.token) {
		f.end = position{token: bytes.Clone(token), told: f.end.told}
	}
	if c.ID() == 0 {
		f.ending = errEnded
	}
	f.patience(c, len(f.queue))
}

// take copies an event out of the driver's memory. It is not whole if it is one of several pieces, and not the last.
func (f *following) take(current bson.Raw, pieces *joiner) (e streamEvent, whole bool, err error) {
	if e, err = parseEvent(f.copies.Bytes(current)); err != nil {
		return e, false, err
	}
	return pieces.add(e)
}

// see takes note of an event: it goes into the queue, or ends the read, or is passed over.
func (f *following) see(e *streamEvent) {
	before := f.end
	f.end = position{token: e.token}
	gone := func(name string, after position) {
		f.end = before // until the error is told, its event comes again
		f.ending = &syncd.CollectionGoneError{Collection: name, Renamed: e.operation == opRename, After: after.offset()}
	}
	from, to := f.mapped[string(e.coll)], ""
	if string(e.toDB) == f.cfg.Database {
		to = f.mapped[string(e.toColl)]
	}
	switch e.operation {
	case opInsert, opUpdate, opReplace, opDelete:
		if from != "" {
			f.queue = append(f.queue, *e)
		}
	case opDrop:
		if from != "" {
			gone(from, position{token: e.token})
		}
	case opRename:
		switch {
		case from != "" && to != "" && !before.told:
			// Of two, the first is told, and the event comes once more for the second.
			told := before
			told.told = true
			gone(from, told)
		case to != "": // what was there is replaced, and nothing is said of what is there now
			gone(to, position{token: e.token})
		case from != "":
			gone(from, position{token: e.token})
		}
	case opInvalidate:
		f.end.time, f.end.ended = e.cluster, true
		f.ending = errInvalidated
	}
}

// How many documents are looked up together: few at first, then as many as have some megabytes.
const (
	firstLookUp = 16
	lookUpBytes = 8 << 20
)

// lookUp reads documents that events should hold and don't: a server that keeps no image of one says null, as it does of one that
// is deleted, and large events come without their documents. Those that are deleted by now remain without.
func (f *following) lookUp(ctx context.Context, events []streamEvent) error {
	missing := map[string]map[syncd.Key][]*streamEvent{}
	for i := range events {
		e := &events[i]
		if e.operation == opDelete || e.full.doc != nil || e.full.null && f.cfg.Stream.FullDocument == fullLookup && e.operation == opUpdate {
			continue
		}
		name := f.mapped[string(e.coll)]
		if missing[name] == nil {
			missing[name] = map[syncd.Key][]*streamEvent{}
		}
		if id := e.id(); id.Type != 0 {
			missing[name][key(id)] = append(missing[name][key(id)], e)
		}
	}
	read, bytes := 0, 0
	for name, of := range missing {
		keys := make([]syncd.Key, 0, len(of))
		for k := range of {
			keys = append(keys, k)
		}
		for found, err := range f.Fetch(ctx, syncd.Collection{Name: name}, keys) {
			if err != nil {
				return err
			}
			doc, _ := found.Document.(syncd.BSONDocument)
			read, bytes = read+1, bytes+doc.Size()
			for _, e := range of[keys[found.Index]] {
				e.full.doc = doc.BSON()
			}
		}
	}
	if read > 0 {
		f.atOnce = min(max(lookUpBytes*read/bytes, 1), maxFetchKeys)
	}
	return nil
}

// add takes an event into the current batch.
func (f *following) add(e *streamEvent) {
	f.current = e
	id := e.id()
	fields := e.full.doc // of the first there is; what a delete and a document that is gone are known by
	for _, d := range []bson.Raw{e.before.doc, e.key} {
		if fields == nil {
			fields = d
		}
	}
	var k []byte
	if id.Type != 0 {
		k = bsondoc.AppendKey(nil, id)
	}
	f.rows.Add(k, id, fields)
	p := pending{streamEvent: *e, collection: f.mapped[string(e.coll)], whole: true}
	if e.operation == opUpdate {
		filter, enters := f.filter[p.collection], false
		said := e.touched(func(path []byte) {
			enters = enters || filter != nil && filter.by(path)
			from := len(f.text)
			f.text = append(f.text, path...)
			f.paths = append(f.paths, [2]int{from, len(f.text)})
		})
		p.whole = !said || enters
	}
	p.paths = len(f.paths)
	f.changes = append(f.changes, p)
	f.bytes += len(e.raw)
}

func (f *following) full() bool {
	return f.rows.Full() || f.req.BatchBytes > 0 && f.bytes >= f.req.BatchBytes
}

var operations = map[string]syncd.Operation{
	opInsert: syncd.Insert, opUpdate: syncd.Update, opReplace: syncd.Replace, opDelete: syncd.Delete,
}

// cut makes a batch of what was added, which ends at a place.
func (f *following) cut(end position) syncd.Batch {
	changes := f.rows.Take()
	streamed := make([]syncd.Streamed, len(changes))
	documents := make([]bsondoc.Document, len(changes))
	text := string(f.text)
	paths := make([]string, len(f.paths))
	for i, p := range f.paths {
		paths[i] = text[p[0]:p[1]]
	}
	from := 0
	for i := range changes {
		c, p := &changes[i], &f.changes[i]
		c.Operation = operations[p.operation]
		switch {
		case p.operation == opDelete:
		case p.full.doc != nil:
			documents[i] = bsondoc.NewDocument(p.full.doc)
			c.Document = &documents[i]
		case c.Operation == syncd.Insert:
			c.Operation = syncd.Replace // of a document that is gone: an insert always has one
		}
		streamed[i] = syncd.Streamed{Collection: p.collection, At: p.at(), Whole: p.whole, Raw: p.raw}
		if f.shape.narrow {
			streamed[i].Raw = nil // it is not whole
		}
		if c.Document == nil {
			known := p.before.doc
			if known == nil {
				known = p.key
			}
			documents[i] = bsondoc.NewDocument(known)
			streamed[i].Before = &documents[i]
		}
		if !p.whole {
			streamed[i].Touched = paths[from:p.paths:p.paths]
		}
		from = p.paths
		c.Streamed = &streamed[i]
	}
	clear(f.changes)
	f.changes, f.bytes, f.text, f.paths, f.current = f.changes[:0], 0, f.text[:0], f.paths[:0], nil
	f.at = end
	return syncd.Batch{Changes: changes, Offset: end.offset()}
}

// place says where the current event stands.
func (f *following) place() string {
	if f.current == nil {
		return "an event of " + f.stream.Name
	}
	return fmt.Sprintf("the event of collection %s of %s", f.mapped[string(f.current.coll)], f.current.at().UTC().Format(time.RFC3339Nano))
}

// How long to wait for the event that the server could not send whole. It is there already.
const largeTime = 30 * time.Second

// passLarge goes on over an event that is too large to be sent, with cause as what the server said. First events come one by one,
// until it is the next; then it comes without what makes it large, and its document is read. Where that fails too, nobody can tell
// which document it is, and the place behind it is lost.
func (f *following) passLarge(ctx context.Context, cause error) error {
	if at := f.at.offset(); f.shape.batchSize != 1 && f.slowed != at {
		f.shape.batchSize, f.single, f.slowed = 1, 0, at
		return nil
	}
	err := f.passNarrow(ctx)
	f.shape = streamShape{}
	var gone *syncd.CollectionGoneError
	switch {
	case errors.Is(err, errInvalidated):
		return nil // the next cursor begins behind it
	case err == nil, errors.Is(err, errStopped), errors.As(err, &gone), errors.Is(err, errEnded), ctx.Err() != nil, isTransient(err):
		return err
	}
	return positionError{fmt.Errorf("%w (and without its documents: %w)", cause, err)}
}

// patience brings the stream back to its pace where the event that was too large does not come again.
func (f *following) patience(c *streamCursor, events int) {
	if f.shape.batchSize != 1 || f.shape.narrow || c.asked < 2 {
		return
	}
	if f.single += events; events == 0 || f.single > documentsAtOnce {
		f.shape, f.single = streamShape{}, 0
		c.SetBatchSize(f.eventsAtOnce(f.shape))
	}
}

// passNarrow hands over one event without its documents.
func (f *following) passNarrow(ctx context.Context) error {
	f.shape = streamShape{batchSize: 1, narrow: true}
	within, cancel := context.WithTimeout(ctx, largeTime)
	defer cancel()
	opened, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeStream(opened)
	f.queue = nil
	c := &streamCursor{ChangeStream: opened, silence: f.silence}
	for within.Err() == nil {
		batches, _, err := f.fill(ctx, c, &joiner{})
		for _, b := range batches {
			if err := f.hand(ctx, b); err != nil {
				return err
			}
			if len(b.Changes) > 0 {
				return nil
			}
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("no event came within %s", largeTime)
}
