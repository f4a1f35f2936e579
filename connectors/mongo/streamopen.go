package mongo

import (
	"cmp"
	"context"
	"strings"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/syncd-io/syncd"
)

// awaitTime is how long the server waits for changes before it answers that there are none: the pace of empty batches, and so of
// the positions that keep a quiet stream's place in the oplog.
const awaitTime = time.Second

// streamShape is what is asked of a stream beside its place.
type streamShape struct {
	batchSize int // events at once; 0 leaves it to the configuration
	// narrow leaves out all of an event that may be large. What is left names the document.
	narrow bool
}

// streamsLearned is what this server was seen not to know. Every server that this driver talks to should know startAfter, and
// servers from 6.0.9 on the stage that splits large events.
type streamsLearned struct{ noSplit, noStartAfter atomic.Bool }

// openStream opens a stream behind a place. It does not try again what may pass.
func (s *source) openStream(ctx context.Context, st syncd.Stream, at position, shape streamShape) (*mongodriver.ChangeStream, error) {
	split, startAfter := !shape.narrow && !s.streams.noSplit.Load(), !s.streams.noStartAfter.Load()
	for {
		opened, err := s.watch(ctx, st, at, shape, split, startAfter)
		switch {
		case err == nil:
			if !shape.narrow && !split {
				s.streams.noSplit.Store(true)
			}
			if !startAfter {
				s.streams.noStartAfter.Store(true)
			}
			return opened, nil
		case !isServerRefusal(err) || hasCode(err, decidedCodes...):
			return nil, err
		case split:
			split = false
		case startAfter && at.token != nil:
			startAfter = false
		default:
			return nil, err
		}
	}
}

func (s *source) eventsAtOnce(shape streamShape) int32 {
	return int32(cmp.Or(shape.batchSize, s.cfg.BatchSize, documentsAtOnce))
}

func (s *source) watch(ctx context.Context, st syncd.Stream, at position, shape streamShape, split, startAfter bool) (*mongodriver.ChangeStream, error) {
	o := options.ChangeStream().SetMaxAwaitTime(s.awaitTime)
	o.SetBatchSize(s.eventsAtOnce(shape))
	if !shape.narrow {
		o.SetFullDocument(fullDocuments[s.cfg.Stream.FullDocument])
		if before := s.cfg.Stream.Before; before != beforeOff {
			o.SetFullDocumentBeforeChange(fullDocuments[before])
		}
	}
	switch {
	case at.token == nil && !at.time.IsZero():
		o.SetStartAtOperationTime(&at.time)
	case at.token == nil:
	case startAfter:
		o.SetStartAfter(at.token)
	case at.ended:
		o.SetStartAtOperationTime(&bson.Timestamp{T: at.time.T, I: at.time.I + 1})
	default:
		o.SetResumeAfter(at.token)
	}
	// A level of the connection string is for finds; a stream is of what a majority has, and takes no other.
	db := s.client.Database(s.cfg.Database, options.Database().SetReadConcern(&readconcern.ReadConcern{}))
	collection, one := strings.CutPrefix(st.Name, onCollection)
	if one {
		return db.Collection(collection).Watch(ctx, pipeline(nil, shape.narrow, split), o)
	}
	return db.Watch(ctx, pipeline(st.Collections, shape.narrow, split), o)
}

var fullDocuments = map[string]options.FullDocument{
	fullLookup:    options.UpdateLookup,
	whenAvailable: options.WhenAvailable,
	required:      options.Required,
}

// pipeline leaves out the changes of other collections, on the server; nil is to leave out none.
func pipeline(collections []syncd.Collection, narrow, split bool) []bson.D {
	stages := []bson.D{}
	if collections != nil {
		names := make(bson.A, len(collections))
		for i, c := range collections {
			names[i] = c.Name
		}
		among := bson.D{{Key: "$in", Value: names}}
		stages = append(stages, bson.D{{Key: "$match", Value: bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "ns.coll", Value: among}},
			bson.D{{Key: "to.coll", Value: among}},
			bson.D{{Key: "operationType", Value: opInvalidate}},
		}}}}})
	}
	if narrow {
		stages = append(stages, bson.D{{Key: "$project", Value: bson.D{
			{Key: "fullDocument", Value: 0}, {Key: "fullDocumentBeforeChange", Value: 0}, {Key: "updateDescription", Value: 0},
		}}})
	}
	if split { // must come last
		stages = append(stages, bson.D{{Key: "$changeStreamSplitLargeEvent", Value: bson.D{}}})
	}
	return stages
}

func closeStream(opened *mongodriver.ChangeStream) {
	ctx, cancel := context.WithTimeout(context.Background(), killTimeout)
	defer cancel()
	_ = opened.Close(ctx) // the server cleans up by itself
}
