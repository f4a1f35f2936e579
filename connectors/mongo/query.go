package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// query is a find in the order of _id.
type query struct {
	collection string
	filter     any
	projection bson.D // nil for whole documents
	batchSize  int    // 0 leaves it to the server
	limit      int
	skip       int // documents that are passed over
	descending bool
	hint       bool // walk the _id index; with bounds that is so anyway

	// The half-open range of _id; a zero value means no bound. The server demands a hint with it.
	min, max bson.RawValue
}

func (q query) bounded() bool { return q.min.Type != 0 || q.max.Type != 0 }

// cursor is what a query yields.
type cursor interface {
	Next(ctx context.Context) bool
	Doc() bson.Raw // valid until the next call of Next
	// Buffered is how many documents Next has at hand before it must ask the server again.
	Buffered() int
	// Last reports whether the server has said that there are no more documents than those that Next has at hand.
	Last() bool
	// SetBatchSize says how many documents the server is asked for from now on.
	SetBatchSize(n int)
	Err() error
	// Close frees the cursor on the server as well.
	Close()
}

// finder asks a server. It is the seam where tests put theirs.
type finder interface {
	find(ctx context.Context, q query) (cursor, error)
}

// byID is the key pattern of the _id index, also of a clustered collection, where the collection itself is that index.
var byID = bson.D{{Key: "_id", Value: 1}}

type databaseFinder struct{ db *mongodriver.Database }

// find opens a cursor in an implicit session, which the driver keeps for as long as the cursor lives. Each request for
// more refreshes both: the server ends a cursor after 10 idle minutes and a session after 30 (Manual, cursorTimeoutMillis
// and localLogicalSessionTimeoutMinutes). noCursorTimeout would lift only the first, and leave cursors behind where a run
// is killed; a read that was held up for longer begins anew behind its last document instead.
func (f databaseFinder) find(ctx context.Context, q query) (cursor, error) {
	opts := options.Find().SetSort(byID)
	if q.descending {
		opts.SetSort(bson.D{{Key: "_id", Value: -1}})
	}
	if q.projection != nil {
		opts.SetProjection(q.projection)
	}
	if q.batchSize > 0 {
		opts.SetBatchSize(int32(q.batchSize))
	}
	if q.limit > 0 {
		opts.SetLimit(int64(q.limit))
	}
	if q.skip > 0 {
		opts.SetSkip(int64(q.skip))
	}
	if q.min.Type != 0 {
		opts.SetMin(bson.D{{Key: "_id", Value: q.min}})
	}
	if q.max.Type != 0 {
		opts.SetMax(bson.D{{Key: "_id", Value: q.max}})
	}
	if q.hint || q.bounded() {
		opts.SetHint(byID)
	}
	c, err := f.db.Collection(q.collection).Find(ctx, q.filter, opts)
	if err != nil {
		return nil, err
	}
	return driverCursor{c}, nil
}

// driverCursor reads document by document, at 30 ns and one small allocation each. The driver's cursor of whole batches
// would save most of that, but the driver calls it unstable and deprecated (mongo.BatchCursorFromCursor), and a hundredth
// of what a checked document costs is not worth a build that breaks with the next release.
type driverCursor struct{ *mongodriver.Cursor }

// Next gives the driver no context to look at for each document that is at hand.
func (c driverCursor) Next(ctx context.Context) bool {
	if c.Buffered() > 0 {
		ctx = context.Background()
	}
	return c.Cursor.Next(ctx)
}

func (c driverCursor) Doc() bson.Raw { return c.Current }
func (c driverCursor) Buffered() int { return c.RemainingBatchLength() }
func (c driverCursor) Last() bool    { return c.ID() == 0 }

func (c driverCursor) SetBatchSize(n int) { c.Cursor.SetBatchSize(int32(n)) }

// killTimeout bounds the goodbye to a cursor that was not read to its end, which must also be said after the read's
// context has ended. A server that misses it closes the cursor by itself after 10 minutes.
const killTimeout = time.Second

func (c driverCursor) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	_ = c.Cursor.Close(ctx) // the documents are read already; the server cleans up by itself
}
