package mongotest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// StreamTarget is a server whose change streams are tested. What is missing leaves the checks out that need it.
type StreamTarget struct {
	URI string

	// Differs names checks in which the server is not like MongoDB, and how. They must fail: a difference that is no more has
	// to be taken off the list.
	Differs map[string]string

	// Varies names checks in which it is like MongoDB now and then, and on what that depends. They may fail.
	Varies map[string]string

	Standalone string                      // the URI of such a server that is not in a replica set
	FailPoints bool                        // it obeys configureFailPoint
	Noops      bool                        // it writes entries to its oplog when nobody else does
	Truncate   func(context.Context) error // makes it forget its oplog; what was written before is lost
}

// streamCheck is something that change streams do. It fails by an error.
type streamCheck struct {
	name  string
	run   func(s *streams) error
	needs func(StreamTarget) bool // nil for nothing
}

// ChangeStreams tests that a server's change streams are as syncd needs them to be, one subtest per check.
func ChangeStreams(t *testing.T, target StreamTarget) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(target.Differs)) {
		if !slices.ContainsFunc(streamChecks, func(c streamCheck) bool { return c.name == name }) {
			t.Errorf("Differs names %q, which is not a check of this suite", name)
		}
	}
	client := connectStreams(t, target.URI)
	for _, c := range streamChecks {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != nil && !c.needs(target) {
				t.Skip("the target has not what this needs")
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			s := &streams{StreamTarget: target, t: t, ctx: ctx, client: client, db: client.Database(database + "_" + c.name)}
			err := errors.Join(s.db.Drop(ctx), s.db.CreateCollection(ctx, "c"))
			if err != nil {
				t.Fatal(err)
			}
			s.c = s.db.Collection("c")
			err = c.run(s)
			cleaning, cleaned := context.WithTimeout(t.Context(), patience) // the check may have used up its own time
			defer cleaned()
			for _, cs := range s.open {
				_ = cs.Close(cleaning) // it may be closed
			}
			if err := s.db.Drop(cleaning); err != nil {
				t.Error(err)
			}
			switch reason, differs := target.Differs[c.name]; {
			case differs && err == nil:
				t.Errorf("the server is like MongoDB here; take the difference off the list: %s", reason)
			case differs:
				t.Logf("as listed (%s): %v", reason, err)
			case err != nil && target.Varies[c.name] != "":
				t.Logf("as listed, now and then (%s): %v", target.Varies[c.name], err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func connectStreams(t *testing.T, uri string, more ...*options.ClientOptions) *mongo.Client {
	t.Helper()
	o := append([]*options.ClientOptions{options.Client().ApplyURI(uri).SetServerSelectionTimeout(patience)}, more...)
	client, err := mongo.Connect(o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client
}

// streams is what a check works with: an empty collection in a database of its own.
type streams struct {
	StreamTarget
	t      *testing.T
	ctx    context.Context
	client *mongo.Client
	db     *mongo.Database
	c      *mongo.Collection
	open   []*mongo.ChangeStream
	fences int // documents that end what is looked at
}

// watched is a collection, a database or a client.
type watched interface {
	Watch(ctx context.Context, pipeline any, opts ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error)
}

const await = 100 * time.Millisecond

// watch opens a stream that waits for a short time only.
func (s *streams) watch(w watched, pipeline bson.A, opts *options.ChangeStreamOptionsBuilder) (*mongo.ChangeStream, error) {
	if pipeline == nil {
		pipeline = bson.A{}
	}
	if opts == nil {
		opts = options.ChangeStream()
	}
	cs, err := w.Watch(s.ctx, pipeline, opts.SetMaxAwaitTime(await))
	if err == nil {
		s.open = append(s.open, cs)
	}
	return cs, err
}

// take returns the next n events.
func (s *streams) take(cs *mongo.ChangeStream, n int) ([]bson.Raw, error) {
	var out []bson.Raw
	for len(out) < n {
		if cs.TryNext(s.ctx) {
			out = append(out, slices.Clone(cs.Current))
			continue
		}
		if err := cs.Err(); err != nil {
			return out, fmt.Errorf("behind %d events of %d: %w", len(out), n, err)
		}
		if cs.ID() == 0 {
			return out, fmt.Errorf("the stream ended behind %d events of %d", len(out), n)
		}
		if s.ctx.Err() != nil {
			return out, fmt.Errorf("%d events of %d came", len(out), n)
		}
	}
	return out, nil
}

// upToFence writes a last document and returns the events before that.
func (s *streams) upToFence(cs *mongo.ChangeStream) ([]bson.Raw, error) {
	s.fences++
	fence := fmt.Sprintf("fence %d", s.fences)
	if err := s.insert(s.c, doc(fence, 0)); err != nil {
		return nil, err
	}
	var out []bson.Raw
	for {
		e, err := s.take(cs, 1)
		if err != nil {
			return out, err
		}
		if id, ok := e[0].Lookup("documentKey", "_id").StringValueOK(); ok && id == fence {
			return out, nil
		}
		out = append(out, e[0])
	}
}

// failure reads on until the stream fails, and returns how.
func (s *streams) failure(cs *mongo.ChangeStream) error {
	events, err := s.upToFence(cs)
	if err == nil {
		err = fmt.Errorf("the stream goes on, behind %d events", len(events))
	}
	return err
}

func (s *streams) insert(c *mongo.Collection, docs ...any) error {
	_, err := c.InsertMany(s.ctx, docs)
	return err
}

func (s *streams) update(id any, change any) error {
	_, err := s.c.UpdateOne(s.ctx, field("_id", id), change)
	return err
}

// doc is {_id: id, n: n}.
func doc(id any, n int) bson.D {
	return bson.D{{Key: "_id", Value: id}, {Key: "n", Value: int32(n)}}
}

// describe is an event in short: "insert 1", "drop c".
func describe(e bson.Raw) string {
	out, ok := e.Lookup("operationType").StringValueOK()
	if !ok {
		return "fragment"
	}
	if id := e.Lookup("documentKey", "_id"); id.Type != 0 {
		return out + " " + strings.Trim(id.String(), `"`)
	}
	if coll, ok := e.Lookup("ns", "coll").StringValueOK(); ok {
		return out + " " + coll
	}
	return out
}

var numbersAsText = regexp.MustCompile(`\{"\$number(?:Int|Long)":"(-?\d+)"\}`)

// plain is a value as JSON, with whole numbers as such.
func plain(v bson.RawValue) string {
	if v.Type == 0 {
		return "missing"
	}
	return numbersAsText.ReplaceAllString(strings.ReplaceAll(v.String(), " ", ""), "$1")
}

func keys(e bson.Raw) string {
	elements, _ := e.Elements()
	var out []string
	for _, el := range elements {
		out = append(out, el.Key())
	}
	return strings.Join(out, " ")
}

// are compares events with their descriptions.
func are(events []bson.Raw, want ...string) error {
	got := make([]string, len(events))
	for i, e := range events {
		got[i] = describe(e)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("events %q, want %q", got, want)
	}
	return nil
}

// expect collects what is otherwise than expected.
type expect struct{ errs []error }

func (x *expect) equal(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		x.errs = append(x.errs, fmt.Errorf("%s: got %v, want %v", what, got, want))
	}
}

func (x *expect) code(what string, err error, codes ...int) {
	se, ok := errors.AsType[mongo.ServerError](err)
	if !ok || !slices.ContainsFunc(codes, se.HasErrorCode) {
		x.errs = append(x.errs, fmt.Errorf("%s: %w, want an error with code %d", what, orNothing(err), codes))
	}
}

func (x *expect) label(err error, label string) {
	if le, ok := errors.AsType[mongo.LabeledError](err); !ok || !le.HasErrorLabel(label) {
		x.errs = append(x.errs, fmt.Errorf("%w has no label %s", orNothing(err), label))
	}
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("no error")
	}
	return err
}

func (x *expect) ok(errs ...error) bool {
	x.errs = append(x.errs, errs...)
	return errors.Join(errs...) == nil
}

func (x *expect) err() error { return errors.Join(x.errs...) }
