package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// The names of streams, before the name of what they are open on.
const (
	onDatabase   = "database "
	onCollection = "collection "
)

func (s *source) streaming() *syncd.Streaming {
	return &syncd.Streaming{Streams: s.Streams, Now: s.Now, Window: s.Window}
}

// Streams finds out whether this server has change streams, and on what the user may open them. Each costs the server a cursor
// that reads all of its oplog, so there is one for the database, unless the user may only open those of collections.
func (s *source) Streams(ctx context.Context, collections []syncd.Collection) ([]syncd.Stream, error) {
	if len(collections) == 0 {
		return nil, nil
	}
	if err := s.recognised(); err != nil {
		return nil, fmt.Errorf("following database %s: %w", s.cfg.Database, err)
	}
	for _, c := range collections {
		if err := s.followable(ctx, c.Name); err != nil {
			return nil, fmt.Errorf("following collection %s: %w", c.Name, err)
		}
	}
	whole := syncd.Stream{Name: onDatabase + s.cfg.Database, Collections: collections}
	_, err := s.now(ctx, whole)
	switch {
	case err == nil:
		return []syncd.Stream{whole}, nil
	case !hasCode(err, codeUnauthorized) || isAuthentication(err):
		return nil, s.followError(ctx, whole, err)
	}
	s.log.Info("the user may not follow the whole database, so each collection is followed by itself: give the actions find and changeStream on the database to follow it as one",
		"database", s.cfg.Database, "collections", len(collections))
	streams := make([]syncd.Stream, len(collections))
	for i, c := range collections {
		streams[i] = syncd.Stream{Name: onCollection + c.Name, Collections: collections[i : i+1 : i+1]}
		if _, err := s.now(ctx, streams[i]); err != nil {
			return nil, s.followError(ctx, streams[i], err)
		}
	}
	return streams, nil
}

// followable says why a collection can't be followed: only ordinary ones have changes.
func (s *source) followable(ctx context.Context, name string) error {
	if strings.HasPrefix(name, "system.") {
		return syncd.Hint(errors.New("the server tells nothing of changes in its own collections"),
			"name the collection that your programs write to in mapping.collections, or "+everyInstead)
	}
	t, err := s.look(ctx, name)
	switch {
	case errors.Is(err, syncd.ErrCollectionNotFound):
		return nil // it may be made later
	case err != nil || t.ordinary:
		return err
	case t.viewOn != "":
		return syncd.Hint(fmt.Errorf("it is a view of %s, and a view has no changes", t.viewOn),
			"follow collection %s, with a filter if need be; or fill the view again and again: without run.follow, run with --every 15m", t.viewOn)
	}
	return syncd.Hint(errors.New("it is a time series, of whose changes the server tells nothing"),
		everyInstead)
}

// Now is the end of what a new stream has passed: the server tells it when a stream is opened, and only an old one does not.
func (s *source) Now(ctx context.Context, st syncd.Stream) (syncd.Offset, error) {
	p, err := s.now(ctx, st)
	if err != nil {
		return "", s.followError(ctx, st, err)
	}
	return p.offset(), nil
}

// now opens a stream, for its position, and closes it.
func (s *source) now(ctx context.Context, st syncd.Stream) (position, error) {
	return retried(ctx, s, func() (position, error) {
		opened, err := s.openStream(ctx, st, position{}, streamShape{})
		if hasCode(err, codeNamespaceNotFound) {
			return s.operationTime(ctx) // a mongos opens no stream on what is not there yet
		}
		if err != nil {
			return position{}, err
		}
		defer closeStream(opened)
		if token := opened.ResumeToken(); token != nil {
			return position{token: append(bson.Raw(nil), token...)}, nil
		}
		return s.operationTime(ctx)
	})
}

// operationTime is the time of the server's last operation. A stream that begins there repeats that one.
func (s *source) operationTime(ctx context.Context) (position, error) {
	var answer struct {
		OperationTime bson.Timestamp `bson:"operationTime"`
	}
	if err := s.command(ctx, "admin", &answer, bson.D{{Key: "hello", Value: 1}}); err != nil {
		return position{}, err
	}
	if answer.OperationTime.IsZero() {
		return position{}, errNoPosition
	}
	return position{time: answer.OperationTime}, nil
}

var errNoPosition = errors.New("this server tells no position in its stream")

// following is what an error begins with.
func followingWhat(st syncd.Stream, err error) error {
	return fmt.Errorf("following %s: %w", st.Name, err)
}
