package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// follow reads a stream. Without req.After it begins at the slot's start.
func (s *source) follow(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return func(yield func(syncd.Batch, error) bool) {
		s.endSnapshots() // all that is to be seen of them was read
		f := following{source: s, stream: *req.Split.Stream, req: req, yield: yield}
		err := f.run(ctx)
		var gone *syncd.CollectionGoneError
		switch {
		case errors.Is(err, errStopped):
		case errors.As(err, &gone):
			yield(syncd.Batch{}, gone)
		default:
			yield(syncd.Batch{}, followingError(f.stream, s.explain(ctx, err)))
		}
	}
}

// following is one walk along a stream, over as many connections as it takes.
type following struct {
	*source
	stream syncd.Stream
	req    syncd.ReadRequest
	yield  func(syncd.Batch, error) bool

	at    position // behind the last change that was handed over
	known map[uint32]string
	names map[string]string // collections by schema and name, as the stream calls them
	keys  map[string]*table // by collection

	// These are of one connection.
	relations map[uint32]*relation
	message   rowMessage
	next      position  // behind the last message
	skip      int64     // rows of the transaction that were handed over before
	inside    bool      // a transaction has begun
	madeAt    time.Time // when it was committed
	status    time.Time // when the server was last told how far this is

	// These are of the batch that is being made.
	changes []syncd.Change
	toFetch []int // changes whose rows did not come whole
	bytes   int
	handed  time.Time
	blocks  blocks
	values  [][]byte
}

// relation is a table as the stream describes it.
type relation struct {
	collection string // empty: not followed
	filtered   bool
	columns    []column
	key        []int // places of the key's columns
	kinds      []kind
}

func (f *following) run(ctx context.Context) error {
	var err error
	if f.req.After == "" {
		f.at, err = f.now(ctx)
	} else if f.at, err = parsePosition(f.req.After); err != nil {
		err = lost("%v", err)
	}
	if err != nil {
		return err
	}
	f.known, f.names, f.keys = map[uint32]string{}, map[string]string{}, map[string]*table{}
	for _, c := range f.stream.Collections {
		t, err := f.look(ctx, c.Name)
		switch {
		case errors.Is(err, syncd.ErrCollectionNotFound):
			continue // it was dropped: there is nothing to tell of it
		case err != nil:
			return fmt.Errorf("collection %s: %w", c.Name, err)
		}
		f.known[t.oid], f.names[t.schema+"\x00"+t.name], f.keys[c.Name] = c.Name, c.Name, t
	}
	for tries := f.retrier().Start(); ; {
		from := f.at
		err := f.pass(ctx)
		var gone *syncd.CollectionGoneError
		if errors.Is(err, errStopped) || errors.As(err, &gone) || errors.Is(err, syncd.ErrPositionLost) || ctx.Err() != nil {
			return err
		}
		if f.at != from {
			tries.Progress()
		}
		if err := tries.Again(ctx, err); err != nil {
			if pg.CodeOf(err) == pg.CodeObjectInUse {
				return syncd.Hint(fmt.Errorf("%w: %w", syncd.ErrUnavailable, err), "another program reads slot %q: give each job its own, source.postgres.stream.slot", f.cfg.Stream.Slot)
			}
			return err
		}
	}
}

// pass reads one connection until it fails.
func (f *following) pass(ctx context.Context) error {
	if err := f.pool.With(ctx, func(c *pgconn.PgConn) error { return f.check(ctx, c) }); err != nil {
		return err
	}
	c, err := f.replication(ctx)
	if err != nil {
		return err
	}
	defer pg.Discard(c)
	f.relations = map[uint32]*relation{}
	f.next, f.skip, f.inside = f.at, 0, false
	f.changes, f.toFetch, f.bytes = nil, nil, 0
	publication := strings.ReplaceAll(pg.Quote(f.cfg.Stream.Publication), "'", "''")
	err = pglogrepl.StartReplication(ctx, c, f.cfg.Stream.Slot, f.at.lsn, pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: []string{"proto_version '1'", "publication_names '" + publication + "'"},
	})
	if err == nil {
		err = f.receive(ctx, c)
	}
	return f.meaning(err)
}

// check says whether what follows the position can still be had. The server itself would begin at another place without a word.
func (f *following) check(ctx context.Context, c *pgconn.PgConn) error {
	at, err := f.slot(ctx, c)
	switch {
	case err != nil:
		return err
	case at.system != f.at.system:
		return lost("it is of another server, %s, and this one is %s", f.at.system, at.system)
	case at.timeline != f.at.timeline:
		return lost("the server has failed over, from timeline %d to %d", f.at.timeline, at.timeline)
	case !at.there:
		return lost("there is no slot %q", f.cfg.Stream.Slot)
	}
	if err := f.usable(at); err != nil {
		return err
	}
	switch {
	case at.lost:
		return lost("the server has dropped the log that slot %q was to tell (max_slot_wal_keep_size)", f.cfg.Stream.Slot)
	case at.confirmed > f.at.lsn:
		return lost("slot %q was read on to %s by somebody else, or is another slot than it was", f.cfg.Stream.Slot, at.confirmed)
	case at.end < f.at.lsn:
		return lost("the server's log ends at %s, before it", at.end)
	}
	return nil
}

// meaning tells errors of the stream that mean that its position is lost.
func (f *following) meaning(err error) error {
	switch pg.CodeOf(err) {
	case pg.CodeUndefinedObject: // the slot, or the publication at the time of a change
		f.mu.Lock()
		f.slotUseless = true
		f.mu.Unlock()
		return lost("%v", err)
	case pg.CodeNotPrerequisite, "58P01":
		return lost("%v", err)
	}
	return err
}

const (
	tick        = time.Second
	statusEvery = 5 * time.Second
	silence     = time.Minute // of a server that was asked to answer
)

// receive handles messages until the connection fails.
func (f *following) receive(ctx context.Context, c *pgconn.PgConn) error {
	// What ctx ends is the wait for a message. A deadline that passes leaves the connection as it was.
	conn := c.Conn()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	f.handed = time.Now()
	heard := f.handed
	var due time.Time
	for {
		now := time.Now()
		if now.Sub(f.status) >= statusEvery {
			if err := f.tell(ctx, c, false); err != nil {
				return err
			}
		}
		if due.Sub(now) < tick/2 {
			due = now.Add(tick)
			if err := conn.SetReadDeadline(due); err != nil {
				return err
			}
		}
		if ctx.Err() != nil { // it may have ended before the deadline was moved
			return ctx.Err()
		}
		message, err := c.Frontend().Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isTimeout(err):
			due = time.Time{}
			if time.Since(heard) > silence {
				return fmt.Errorf("the server has not answered: %w", pg.ErrBroken)
			}
			if err := f.quiet(ctx); err != nil {
				return err
			}
			if err := f.tell(ctx, c, true); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("%w: %w", pg.ErrBroken, err)
		}
		heard = time.Now()
		f.contact.Answered()
		switch m := message.(type) {
		case *pgproto3.CopyData:
			if err := f.data(ctx, c, m.Data); err != nil {
				return err
			}
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.CopyDone, *pgproto3.CommandComplete:
			return pg.ErrBroken // the server is shut down
		}
		// What is at hand is handed over when nothing more is.
		if len(f.changes) > 0 && !f.inside && c.Frontend().ReadBufferLen() == 0 || f.full() {
			if err := f.hand(ctx); err != nil {
				return err
			}
		}
		if heard.Sub(f.handed) > tick {
			if err := f.quiet(ctx); err != nil {
				return err
			}
		}
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// quiet hands over how far the stream has come, where it has no changes.
func (f *following) quiet(ctx context.Context) error {
	if len(f.changes) > 0 && f.inside {
		return nil // it is in the midst of a batch
	}
	return f.hand(ctx)
}

// tell tells the server that this is alive, and what it may forget.
func (f *following) tell(ctx context.Context, c *pgconn.PgConn, answer bool) error {
	f.mu.Lock()
	lsn := f.confirmed[f.stream.Name].lsn
	f.mu.Unlock()
	f.status = time.Now()
	if err := c.Conn().SetWriteDeadline(f.status.Add(silence)); err != nil {
		return err
	}
	err := pglogrepl.SendStandbyStatusUpdate(ctx, c, pglogrepl.StandbyStatusUpdate{WALWritePosition: lsn, ReplyRequested: answer})
	if err != nil {
		return fmt.Errorf("%w: %w", pg.ErrBroken, err)
	}
	return nil
}

// data handles a message of the stream.
func (f *following) data(ctx context.Context, c *pgconn.PgConn, data []byte) error {
	if len(data) == 0 {
		return errTuple
	}
	switch data[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		alive, err := pglogrepl.ParsePrimaryKeepaliveMessage(data[1:])
		if err != nil {
			return err
		}
		if !f.inside && alive.ServerWALEnd > f.next.lsn {
			if f.next.commit != 0 && f.next.commit <= alive.ServerWALEnd {
				return f.untold()
			}
			f.next.lsn = alive.ServerWALEnd
		}
		if alive.ReplyRequested {
			return f.tell(ctx, c, false)
		}
		return nil
	case pglogrepl.XLogDataByteID:
		x, err := pglogrepl.ParseXLogData(data[1:])
		if err != nil {
			return err
		}
		return f.wal(ctx, x.WALData)
	}
	return nil
}

func (f *following) wal(ctx context.Context, data []byte) error {
	if len(data) == 0 {
		return errTuple
	}
	switch data[0] {
	case 'I', 'U', 'D':
		if f.count() {
			return nil
		}
		if err := f.message.parse(data); err != nil {
			return err
		}
		r := f.relations[f.message.relation]
		if r == nil {
			return fmt.Errorf("a row of relation %d, of which nothing was said: %w", f.message.relation, errTuple)
		}
		if r.collection == "" {
			return nil
		}
		return f.row(r)
	}
	m, err := pglogrepl.Parse(data)
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *pglogrepl.BeginMessage:
		f.inside, f.madeAt, f.skip = true, m.CommitTime, 0
		switch f.next.commit {
		case 0:
		case m.FinalLSN:
			f.skip = f.next.rows
		default:
			return f.untold()
		}
		f.next.commit, f.next.rows = m.FinalLSN, 0
	case *pglogrepl.CommitMessage:
		f.inside = false
		f.next.lsn, f.next.commit, f.next.rows = m.TransactionEndLSN, 0, 0
	case *pglogrepl.RelationMessage:
		return f.describe(ctx, m)
	case *pglogrepl.TruncateMessage:
		if f.count() {
			return nil
		}
		for _, oid := range m.RelationIDs {
			if r := f.relations[oid]; r != nil && r.collection != "" {
				return f.goneError(ctx, &syncd.CollectionGoneError{Collection: r.collection, Emptied: true})
			}
		}
	}
	return nil
}

// untold is why a place inside of a transaction can't be found again.
func (f *following) untold() error {
	return lost("the transaction that was committed at %s is not told any more", f.next.commit)
}

// count counts a message of a row, and reports whether it was handled before.
func (f *following) count() bool {
	f.next.rows++
	return f.next.rows <= f.skip
}

// goneError hands over what came before.
func (f *following) goneError(ctx context.Context, gone *syncd.CollectionGoneError) error {
	if err := f.hand(ctx); err != nil {
		return err
	}
	gone.After = f.next.offset()
	return gone
}

// describe takes a table's description, which comes before its first row and after each change of it.
func (f *following) describe(ctx context.Context, m *pglogrepl.RelationMessage) error {
	r := &relation{collection: f.names[m.Namespace+"\x00"+m.RelationName]}
	was, known := f.known[m.RelationID]
	switch {
	case known && r.collection != was:
		f.forget(was)
		return f.goneError(ctx, &syncd.CollectionGoneError{Collection: was, Renamed: true})
	case !known && r.collection != "":
		f.forget(r.collection)
		return f.goneError(ctx, &syncd.CollectionGoneError{Collection: r.collection})
	}
	f.relations[m.RelationID] = r
	if r.collection == "" {
		return nil
	}
	for _, c := range f.stream.Collections {
		if c.Name == r.collection {
			r.filtered = c.Filter != ""
		}
	}
	oids := make([]uint32, len(m.Columns))
	for i, c := range m.Columns {
		oids[i] = c.DataType
	}
	kinds, err := f.kindsOf(ctx, oids)
	if err != nil {
		return err
	}
	for i, c := range m.Columns {
		column, err := newColumn(c.Name, kinds[i])
		if err != nil {
			return err
		}
		r.columns = append(r.columns, column)
	}
	for _, k := range f.keys[r.collection].key {
		i := slices.IndexFunc(r.columns, func(c column) bool { return c.name == k.name })
		if i < 0 {
			return syncd.Hint(fmt.Errorf("collection %s had no column %q at that time, of which its key is made", r.collection, k.name), "the key has changed: delete the state of the job, and begin anew")
		}
		r.key, r.kinds = append(r.key, i), append(r.kinds, k.kind)
	}
	return nil
}

// row makes changes of the message: one, or two where a row's key has changed, which is another document then.
func (f *following) row(r *relation) error {
	m := &f.message
	if len(m.row) > len(r.columns) || len(m.old) > len(r.columns) || m.kind != 'D' && len(m.row) < len(r.columns) || len(m.old) > 0 && len(m.old) < len(r.columns) {
		return fmt.Errorf("a row with other columns than its table: %w", errTuple)
	}
	switch m.kind {
	case 'I':
		f.add(r, syncd.Insert, m.row, nil)
	case 'D':
		f.add(r, syncd.Delete, m.old, m.old)
	case 'U':
		moved := slices.ContainsFunc(r.key, func(i int) bool {
			return len(m.old) > 0 && !m.row[i].unchanged && string(m.old[i].text) != string(m.row[i].text)
		})
		if moved {
			f.add(r, syncd.Delete, m.old, m.old)
			f.add(r, syncd.Insert, m.row, m.old)
			return nil
		}
		f.add(r, syncd.Update, m.row, m.old)
	}
	return nil
}

// add adds a change. The texts of cells are copied.
func (f *following) add(r *relation, op syncd.Operation, cells, old []cell) {
	c := syncd.Change{Operation: op}
	s := syncd.Streamed{Collection: r.collection, At: f.madeAt}
	whole := len(old) > 0 && !f.message.oldKey // the old row is known
	missing := false
	f.values = f.values[:0]
	for i := range cells {
		text := cells[i].text
		if cells[i].unchanged {
			if whole {
				text = old[i].text
			} else {
				missing = true
			}
		}
		f.values = append(f.values, text)
	}
	key := make([][]byte, len(r.key))
	var text []byte
	for j, i := range r.key {
		if key[j] = f.values[i]; key[j] == nil {
			c.Err = errNullKey
		}
		text = append(append(text, key[j]...), keyEnd)
	}
	if c.Err == nil {
		id, err := appendID(nil, r.kinds, key)
		if err != nil {
			err = errors.Join(fmt.Errorf("reading the id: %w", err), syncd.ErrNoID)
		}
		c.Key, c.ID, c.Err = syncd.Key(text), string(id), err
	}
	shown := &row{columns: r.columns, id: c.ID, data: f.blocks.copy(f.values)}
	f.bytes += len(shown.data)
	switch {
	case op == syncd.Delete:
		s.Before = shown
	case missing && c.Err == nil:
		f.toFetch = append(f.toFetch, len(f.changes))
	default:
		c.Document = shown
	}
	switch {
	case op != syncd.Update || !whole || r.filtered:
		s.Whole = true
	default:
		for i := range cells {
			if !cells[i].unchanged && (string(cells[i].text) != string(old[i].text) || (cells[i].text == nil) != (old[i].text == nil)) {
				s.Touched = append(s.Touched, r.columns[i].name)
			}
		}
	}
	c.Streamed = &s
	f.changes = append(f.changes, c)
}

// full reports whether the batch is as large as it may be. One more change fits, where a message makes two.
func (f *following) full() bool {
	return len(f.changes) > 0 && (len(f.changes)+1 >= f.req.BatchSize || f.req.BatchBytes > 0 && f.bytes >= f.req.BatchBytes)
}

// hand yields the batch.
func (f *following) hand(ctx context.Context) error {
	if err := f.complete(ctx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b := syncd.Batch{Changes: f.changes, Offset: f.next.offset()}
	at := f.next
	f.changes, f.toFetch, f.bytes = nil, nil, 0
	if !f.yield(b, nil) {
		return errStopped
	}
	f.at, f.handed = at, time.Now()
	return nil
}

// complete reads the rows that have a large value which did not come. One that is not there was deleted since.
func (f *following) complete(ctx context.Context) error {
	if len(f.toFetch) == 0 {
		return nil
	}
	wanted := map[string]map[syncd.Key][]int{}
	for _, i := range f.toFetch {
		of := f.changes[i].Streamed.Collection
		if wanted[of] == nil {
			wanted[of] = map[syncd.Key][]int{}
		}
		wanted[of][f.changes[i].Key] = append(wanted[of][f.changes[i].Key], i)
	}
	for collection, places := range wanted {
		keys := make([]syncd.Key, 0, len(places))
		for key := range places {
			keys = append(keys, key)
		}
		err := f.fetch(ctx, syncd.Collection{Name: collection}, keys, func(found syncd.Fetched, _ error) bool {
			for _, i := range places[keys[found.Index]] {
				f.changes[i].Document = found.Document
			}
			return true
		})
		if err != nil && !errors.Is(err, syncd.ErrCollectionNotFound) {
			return err
		}
	}
	return nil
}
