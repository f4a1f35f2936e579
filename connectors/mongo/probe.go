package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/spec"
)

var _ syncd.Locator = (*Config)(nil)

// probesAtOnce bounds the questions in flight: enough that the network's round trips do not add up, few enough that a
// server in use does not notice.
const probesAtOnce = 8

// maxTime bounds what a probe makes the server do: to find out that a filter matches nothing, it would read everything.
var maxTime = bson.E{Key: "maxTimeMS", Value: 2000}

const codeMaxTimeExpired = 50

// Location is the hosts of the connection string.
func (c *Config) Location() string {
	t, err := parseURI(c.URI.Reveal())
	if err != nil {
		return "" // its text may hold the password
	}
	return t.hosts
}

// Probe looks at the server and at each collection. Nothing is tried again: a person waits for the answer.
func (s *source) Probe(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	findings := make([]syncd.Finding, 2+len(targets))
	var group errgroup.Group
	group.SetLimit(probesAtOnce)
	group.Go(panics.Caught(func() error {
		findings[0] = s.probeServer(ctx)
		return nil
	}))
	findings[1] = s.probeReads()
	names, err := s.db.ListCollectionNames(ctx, everything)
	known := err == nil // not being allowed to list is no obstacle to reading
	for i, t := range targets {
		group.Go(panics.Caught(func() error {
			findings[2+i] = s.probeCollection(ctx, t, names, known)
			return nil
		}))
	}
	_ = group.Wait() // they return findings only
	return findings
}

// probeServer tells the version and what kind of deployment it is.
func (s *source) probeServer(ctx context.Context) syncd.Finding {
	f := syncd.Finding{Subject: "server"}
	var is deployment
	if err := s.command(ctx, "admin", &is, bson.D{{Key: "hello", Value: 1}}); err != nil {
		return s.failed(ctx, f, err)
	}
	version := "MongoDB of a version that it does not tell"
	var build struct {
		Version string `bson:"version"`
	}
	if err := s.command(ctx, "admin", &build, bson.D{{Key: "buildInfo", Value: 1}}); err == nil && build.Version != "" {
		version = "MongoDB " + build.Version
	} else if ctx.Err() != nil {
		return s.failed(ctx, f, ctx.Err())
	}
	f.Status, f.Detail = syncd.StatusOK, version+", "+is.String()
	return f
}

// deployment is what a server says about the deployment that it belongs to, in its answer to hello.
type deployment struct {
	SetName  string   `bson:"setName"`
	Hosts    []string `bson:"hosts"`    // members that can become primary
	Passives []string `bson:"passives"` // members that hold data and can't
	Message  string   `bson:"msg"`
}

func (d deployment) String() string {
	members := len(d.Hosts) + len(d.Passives)
	switch {
	case d.Message == "isdbgrid": // how a mongos has always said what it is
		return "sharded cluster"
	case d.SetName != "" && members == 1:
		return fmt.Sprintf("replica set %s of 1 member with data", d.SetName)
	case d.SetName != "":
		return fmt.Sprintf("replica set %s of %d members with data", d.SetName, members)
	}
	return "standalone: what is read could be lost again by a crash; only a replica set can give majority reads"
}

// probeReads tells how documents are read. It is what the connection string says, so there is nobody to ask.
func (s *source) probeReads() syncd.Finding {
	preference, concern := s.reads()
	if concern == "" {
		concern = "the server's default"
	}
	return syncd.Finding{
		Subject: "reads", Status: syncd.StatusOK,
		Detail: fmt.Sprintf("from %s, read concern: %s", preference.Mode(), concern),
	}
}

// reads gives the read preference and the read concern of the connection string, which an open client does not tell.
func (s *source) reads() (*readpref.ReadPref, string) {
	uri := s.cfg.URI.Reveal()
	if rest, srv := strings.CutPrefix(uri, schemeSRV); srv {
		// DNS can add no option of these two, so it need not be asked again.
		uri = schemePlain + withoutOptions(rest, "srvmaxhosts", "srvservicename")
	}
	opts := options.Client().ApplyURI(uri)
	preference, concern := opts.ReadPreference, ""
	if preference == nil {
		preference = readpref.Primary()
	}
	if opts.ReadConcern != nil {
		concern = opts.ReadConcern.Level
	}
	return preference, concern
}

// probeCollection reads one document as a run would. known says whether names are all collections of the database.
func (s *source) probeCollection(ctx context.Context, t syncd.ProbeTarget, names []string, known bool) syncd.Finding {
	f := syncd.Finding{Subject: "collection " + t.Collection}
	if known && !slices.Contains(names, t.Collection) {
		f.Status = syncd.StatusWarning
		f.Detail = fmt.Sprintf("does not exist in database %s: a run takes it for an empty one", s.cfg.Database)
		near := spec.Nearest(t.Collection, names)
		switch {
		case len(names) == 0:
			f.Hint = fmt.Sprintf("database %s has no collections at all: check source.mongo.database", s.cfg.Database)
		case near != "":
			f.Hint = fmt.Sprintf("did you mean %q?", near)
		default:
			f.Hint = "no collection there has a name like it; remove it from mapping.collections if none is to come"
		}
		return f
	}
	first, _, err := s.readOne(ctx, t.Collection, everything)
	if err != nil {
		return s.failed(ctx, f, err)
	}
	left := false // by the filter, or not known
	var filter bson.Raw
	if t.Filter != "" {
		if filter, err = parseFilter(t.Filter); err == nil {
			var one bson.Raw
			var gaveUp bool
			one, gaveUp, err = s.readOne(ctx, t.Collection, filter)
			left = one != nil || gaveUp
		}
		if err != nil {
			f = s.failed(ctx, f, err)
			if isServerRefusal(err) {
				f.Detail = "the server refuses the filter: " + f.Detail
				f.Hint = fmt.Sprintf("correct mapping.collections.%s.filter", t.Collection)
			}
			return f
		}
	}
	f.Status = syncd.StatusOK
	// Without a query this comes from metadata; only a view has to be read for it.
	var count struct {
		N int64 `bson:"n"`
	}
	err = s.command(ctx, s.db.Name(), &count, bson.D{{Key: "count", Value: t.Collection}, maxTime})
	switch {
	case err == nil:
		f.Detail = aboutDocuments(count.N)
	case ctx.Err() != nil:
		return s.failed(ctx, f, err)
	default:
		f.Detail = "readable; the server does not tell how many documents there are"
	}
	switch {
	case t.Filter == "":
	case first == nil || left:
		f.Detail += ", before the filter, which the server accepts"
	default:
		f.Status = syncd.StatusWarning
		f.Detail += ", of which the filter leaves none"
		f.Hint = fmt.Sprintf("correct mapping.collections.%s.filter, unless it is to match documents that are still to come", t.Collection)
		if why := mistaken(filter, first); why != "" {
			f.Hint = why
		}
	}
	return f
}

func aboutDocuments(n int64) string {
	if n == 1 {
		return "about 1 document"
	}
	return fmt.Sprintf("about %d documents", n)
}

// readOne asks for the first document, as a run would; nil where there is none. That there is none is as good; so is a filter that
// is accepted and matches nothing for so long that the server gives up.
func (s *source) readOne(ctx context.Context, collection string, filter any) (doc bson.Raw, gaveUp bool, err error) {
	var answer struct {
		Cursor struct {
			FirstBatch []bson.Raw `bson:"firstBatch"`
		} `bson:"cursor"`
	}
	err = s.command(ctx, s.db.Name(), &answer, bson.D{
		{Key: "find", Value: collection}, {Key: "filter", Value: filter}, {Key: "sort", Value: byID},
		{Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}, maxTime,
	})
	switch {
	case hasCode(err, codeMaxTimeExpired):
		return nil, true, nil
	case err != nil || len(answer.Cursor.FirstBatch) == 0:
		return nil, false, err
	}
	return answer.Cursor.FirstBatch[0], false, nil
}

// command asks a server that documents are read from: by default a command goes to a primary, which need not be reachable.
func (s *source) command(ctx context.Context, database string, answer any, command bson.D) error {
	preference, _ := s.reads()
	r := s.client.Database(database).RunCommand(ctx, command, options.RunCmd().SetReadPreference(preference))
	if answer == nil {
		return r.Err()
	}
	return r.Decode(answer)
}

// failed completes a finding with an error.
func (s *source) failed(ctx context.Context, f syncd.Finding, err error) syncd.Finding {
	f.Status = syncd.StatusFailed
	collection, isCollection := strings.CutPrefix(f.Subject, "collection ")
	explained := s.explain(ctx, err)
	f.Detail, f.Hint = explained.Error(), syncd.HintOf(explained)
	switch {
	case ctx.Err() != nil:
		f.Detail = "no answer in time"
	case isCollection && hasCode(err, codeUnauthorized) && s.target.user != "":
		f.Detail = fmt.Sprintf("not authorized%s: it lacks the privilege find on %s.%s", s.asUser(), s.cfg.Database, collection)
	}
	return f
}
