package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd"
)

// Window is the time of the oplog's first and last entry. A mongos has none, nor have services that hide it: then it is zero.
func (s *source) Window(ctx context.Context, _ syncd.Stream) (syncd.Window, error) {
	var w syncd.Window
	var err error
	if w.First, err = s.oplogEnd(ctx, 1); err == nil {
		w.Last, err = s.oplogEnd(ctx, -1)
	}
	switch {
	case err == nil:
		return w, nil
	case errors.Is(err, mongodriver.ErrNoDocuments) || isServerRefusal(err) && ctx.Err() == nil:
		return syncd.Window{}, nil
	case hasCode(err, codeUnauthorized) && !isAuthentication(err) && ctx.Err() == nil:
		return syncd.Window{}, fmt.Errorf("reading how far the oplog reaches back: %w", syncd.Hint(fmt.Errorf("not authorized on database local%s: %w", s.asUser(), s.scrub.scrub(err)),
			`give the user the role "read" on database local`))
	}
	return syncd.Window{}, fmt.Errorf("reading how far the oplog reaches back: %w", s.explain(ctx, err))
}

// oplogEnd gives the time of the oplog's first entry, or with -1 of the last. In their natural order both are at hand.
func (s *source) oplogEnd(ctx context.Context, order int) (time.Time, error) {
	return retried(ctx, s, func() (time.Time, error) {
		var entry struct {
			Time bson.Timestamp `bson:"ts"`
		}
		o := options.FindOne().SetSort(bson.D{{Key: "$natural", Value: order}}).SetProjection(bson.D{{Key: "ts", Value: 1}})
		err := s.client.Database("local").Collection("oplog.rs").FindOne(ctx, everything, o).Decode(&entry)
		if err == nil && entry.Time.IsZero() {
			err = mongodriver.ErrNoDocuments
		}
		return time.Unix(int64(entry.Time.T), 0), err
	})
}
