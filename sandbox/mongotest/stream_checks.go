package mongotest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const nonResumable = "NonResumableChangeStreamError"

func withFailPoints(t StreamTarget) bool { return t.FailPoints }
func withTruncate(t StreamTarget) bool   { return t.Truncate != nil }

var streamChecks = []streamCheck{
	{name: "times_in_replies", run: timesInReplies},
	{name: "insert_event", run: insertEvent},
	{name: "update_event", run: updateEvent},
	{name: "replace_event", run: replaceEvent},
	{name: "delete_event", run: deleteEvent},
	{name: "many_writes", run: manyWrites},
	{name: "nested_updates", run: nestedUpdates},
	{name: "truncated_arrays", run: truncatedArrays},
	{name: "update_lookup", run: updateLookup},
	{name: "post_images", run: postImages},
	{name: "post_image_of_a_deleted_document", run: postImageDeleted},
	{name: "pre_images", run: preImages},
	{name: "required_image_missing", run: requiredMissing},
	{name: "token_before_events", run: tokenBeforeEvents},
	{name: "token_of_empty_batches", run: tokenOfEmptyBatches},
	{name: "token_of_idle_server", run: tokenOfIdleServer, needs: func(t StreamTarget) bool { return t.Noops }},
	{name: "resume_after", run: resumeAfter},
	{name: "start_after", run: startAfter},
	{name: "start_at_operation_time", run: startAtOperationTime},
	{name: "resume_options_exclude_each_other", run: exclusiveOptions},
	{name: "malformed_token", run: malformedToken},
	{name: "token_without_text", run: tokenWithoutText},
	{name: "database_stream", run: databaseStream},
	{name: "cluster_stream", run: clusterStream},
	{name: "cluster_stream_of_another_database", run: clusterStreamElsewhere},
	{name: "missing_collection", run: missingCollectionStream},
	{name: "drop_invalidates", run: dropInvalidates},
	{name: "rename_invalidates", run: renameInvalidates},
	{name: "drop_database_invalidates", run: dropDatabaseInvalidates},
	{name: "invalidate_token", run: invalidateToken},
	{name: "match", run: matchStage},
	{name: "project", run: projectStage},
	{name: "project_without_id", run: projectWithoutID},
	{name: "pipeline_errors", run: pipelineErrors},
	{name: "stages_not_permitted", run: stagesNotPermitted},
	{name: "transaction", run: transactionEvents},
	{name: "transaction_event_order", run: transactionOrder},
	{name: "aborted_transaction", run: abortedTransaction},
	{name: "resume_within_a_transaction", run: resumeInTransaction},
	{name: "concurrent_writers", run: concurrentWriters},
	{name: "batch_size", run: streamBatches},
	{name: "batch_size_0", run: emptyFirstBatch},
	{name: "await", run: awaitsEvents},
	{name: "killed_cursor", run: killedStream},
	{name: "expanded_events", run: expandedEvents},
	{name: "large_event", run: largeEvent},
	{name: "split_event", run: splitEvent},
	{name: "small_event_is_not_split", run: smallNotSplit},
	{name: "split_must_be_last", run: splitLast},
	{name: "history_lost_for_a_token", run: lostToken, needs: withTruncate},
	{name: "history_lost_for_a_time", run: lostTime, needs: withTruncate},
	{name: "history_lost_under_a_cursor", run: lostCursor, needs: withTruncate},
	{name: "history_lost_is_labelled", run: lostLabel, needs: withTruncate},
	{name: "resumable_error", run: resumableError, needs: withFailPoints},
	{name: "connection_lost", run: connectionLost, needs: withFailPoints},
	{name: "injected_codes", run: injectedCodes, needs: withFailPoints},
	{name: "standalone", run: standalone, needs: func(t StreamTarget) bool { return t.Standalone != "" }},
}

func timesInReplies(s *streams) error {
	var x expect
	for _, cmd := range []string{"ping", "hello"} {
		raw, err := s.db.RunCommand(s.ctx, field(cmd, 1)).Raw()
		x.ok(err)
		x.equal(cmd+"'s operationTime", raw.Lookup("operationTime").Type, bson.TypeTimestamp)
		x.equal(cmd+"'s $clusterTime", raw.Lookup("$clusterTime", "clusterTime").Type, bson.TypeTimestamp)
		if cmd == "hello" {
			x.equal("setName", raw.Lookup("setName").Type, bson.TypeString)
		}
	}
	return x.err()
}

// events are those of writes to a stream that was opened before them.
func (s *streams) events(opts *options.ChangeStreamOptionsBuilder, write func() error) ([]bson.Raw, error) {
	cs, err := s.watch(s.c, nil, opts)
	if err == nil {
		err = write()
	}
	if err != nil {
		return nil, err
	}
	return s.upToFence(cs)
}

// inOrder checks an event's fields. From MongoDB 8.3.4 on, fullDocument stands at the end.
func (x *expect) inOrder(e bson.Raw, want string) {
	if got := keys(e); got != want && got != strings.Replace(want, " fullDocument", "", 1)+" fullDocument" {
		x.errs = append(x.errs, fmt.Errorf("fields %q, want %q", got, want))
	}
}

func (x *expect) common(s *streams, e bson.Raw) {
	x.equal("the token", e.Lookup("_id", "_data").Type, bson.TypeString)
	x.equal("clusterTime", e.Lookup("clusterTime").Type, bson.TypeTimestamp)
	x.equal("wallTime", e.Lookup("wallTime").Type, bson.TypeDateTime)
	x.equal("ns", plain(e.Lookup("ns")), fmt.Sprintf(`{"db":"%s","coll":"c"}`, s.db.Name()))
}

// one returns the only event, or an empty one.
func (x *expect) one(events []bson.Raw, err error) bson.Raw {
	if x.ok(err) && len(events) != 1 {
		x.ok(fmt.Errorf("%d events, want 1", len(events)))
	}
	if len(events) != 1 {
		return bson.Raw{5, 0, 0, 0, 0}
	}
	return events[0]
}

func insertEvent(s *streams) error {
	var x expect
	big := bson.D{{Key: "_id", Value: "x"}, {Key: "l", Value: int64(1) << 40}, {Key: "d", Value: 0.5}, {Key: "a", Value: bson.A{int32(1), bson.D{{Key: "b", Value: nil}}}}}
	e := x.one(s.events(nil, func() error { return s.insert(s.c, big) }))
	x.inOrder(e, "_id operationType clusterTime wallTime fullDocument ns documentKey")
	x.common(s, e)
	x.equal("the event", describe(e), "insert x")
	want, _ := bson.Marshal(big)
	if got, _ := e.Lookup("fullDocument").DocumentOK(); !bytes.Equal(got, want) {
		x.ok(fmt.Errorf("fullDocument is %v", got))
	}
	return x.err()
}

func updateEvent(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, bson.D{{Key: "_id", Value: 1}, {Key: "a", Value: int32(1)}, {Key: "b", Value: int32(2)}, {Key: "same", Value: int32(3)}}))
	e := x.one(s.events(nil, func() error {
		return s.update(1, bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: int32(5)}, {Key: "c", Value: "new"}, {Key: "same", Value: int32(3)}}}, {Key: "$unset", Value: field("b", "")}})
	}))
	x.inOrder(e, "_id operationType clusterTime wallTime ns documentKey updateDescription")
	x.common(s, e)
	x.equal("the event", describe(e), `update {"$numberInt":"1"}`)
	x.equal("updateDescription", plain(e.Lookup("updateDescription")), `{"updatedFields":{"a":5,"c":"new"},"removedFields":["b"],"truncatedArrays":[]}`)
	return x.err()
}

func replaceEvent(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, doc("x", 1)))
	e := x.one(s.events(nil, func() error {
		_, err := s.c.ReplaceOne(s.ctx, field("_id", "x"), field("other", true))
		return err
	}))
	x.inOrder(e, "_id operationType clusterTime wallTime fullDocument ns documentKey")
	x.common(s, e)
	x.equal("the event", describe(e), "replace x")
	x.equal("fullDocument", plain(e.Lookup("fullDocument")), `{"_id":"x","other":true}`)
	return x.err()
}

func deleteEvent(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, doc("x", 1)))
	e := x.one(s.events(nil, func() error {
		_, err := s.c.DeleteOne(s.ctx, field("_id", "x"))
		return err
	}))
	x.inOrder(e, "_id operationType clusterTime wallTime ns documentKey")
	x.common(s, e)
	x.equal("the event", describe(e), "delete x")
	return x.err()
}

// One event for each document that changed, and none for others.
func manyWrites(s *streams) error {
	var x expect
	events, err := s.events(nil, func() error {
		_, err1 := s.c.InsertMany(s.ctx, []any{doc("a", 1), doc("b", 1), doc("c", 2)})
		_, err2 := s.c.UpdateMany(s.ctx, bson.D{}, stage("$set", field("n", int32(2)))) // not c
		_, err3 := s.c.UpdateOne(s.ctx, field("_id", "d"), stage("$set", field("n", int32(3))), options.UpdateOne().SetUpsert(true))
		_, err4 := s.c.UpdateOne(s.ctx, field("_id", "nobody"), stage("$set", field("n", int32(3))))
		_, err5 := s.c.DeleteMany(s.ctx, field("n", int32(2)))
		return errors.Join(err1, err2, err3, err4, err5)
	})
	x.ok(err, are(events, "insert a", "insert b", "insert c", "update a", "update b", "insert d", "delete a", "delete b", "delete c"))
	var last string
	for _, e := range events {
		token := e.Lookup("_id", "_data").StringValue()
		if token <= last {
			x.ok(fmt.Errorf("the token %s is not behind %s", token, last))
		}
		last = token
	}
	return x.err()
}

func nestedUpdates(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, bson.D{{Key: "_id", Value: "x"}, {Key: "in", Value: bson.D{{Key: "a", Value: int32(1)}, {Key: "b", Value: int32(1)}}}, {Key: "list", Value: bson.A{int32(1), int32(2)}}}))
	for _, c := range []struct {
		change bson.D
		want   string
	}{
		{stage("$set", field("in.a", int32(2))), `{"updatedFields":{"in.a":2},"removedFields":[],"truncatedArrays":[]}`},
		{stage("$unset", field("in.b", "")), `{"updatedFields":{},"removedFields":["in.b"],"truncatedArrays":[]}`},
		{stage("$set", field("new.deep", true)), `{"updatedFields":{"new":{"deep":true}},"removedFields":[],"truncatedArrays":[]}`},
		{stage("$push", field("list", int32(3))), `{"updatedFields":{"list.2":3},"removedFields":[],"truncatedArrays":[]}`},
		{stage("$set", field("list.0", int32(9))), `{"updatedFields":{"list.0":9},"removedFields":[],"truncatedArrays":[]}`},
		{stage("$inc", field("in.a", int32(5))), `{"updatedFields":{"in.a":7},"removedFields":[],"truncatedArrays":[]}`},
	} {
		e := x.one(s.events(nil, func() error { return s.update("x", c.change) }))
		x.equal(fmt.Sprint(c.change), plain(e.Lookup("updateDescription")), c.want)
	}
	return x.err()
}

// What an update by a pipeline shortens is not sent again.
func truncatedArrays(s *streams) error {
	var x expect
	var list bson.A
	for i := range 50 {
		list = append(list, int32(i))
	}
	x.ok(s.insert(s.c, bson.D{{Key: "_id", Value: "x"}, {Key: "list", Value: list}, {Key: "rest", Value: strings.Repeat("x", 500)}}))
	e := x.one(s.events(nil, func() error {
		return s.update("x", bson.A{stage("$set", field("list", field("$slice", bson.A{"$list", int32(30)})))})
	}))
	x.equal("updateDescription", plain(e.Lookup("updateDescription")), `{"updatedFields":{},"removedFields":[],"truncatedArrays":[{"field":"list","newSize":30}]}`)
	return x.err()
}

// The document is that of now, and null when there is none.
func updateLookup(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, doc("x", 0)))
	opts := func() *options.ChangeStreamOptionsBuilder {
		return options.ChangeStream().SetFullDocument(options.UpdateLookup)
	}
	cs, err := s.watch(s.c, nil, opts())
	if !x.ok(err, s.update("x", stage("$set", field("n", int32(1)))), s.update("x", stage("$set", field("n", int32(2))))) {
		return x.err()
	}
	from := cs.ResumeToken()
	events, err := s.take(cs, 2)
	if !x.ok(err) {
		return x.err()
	}
	x.inOrder(events[0], "_id operationType clusterTime wallTime fullDocument ns documentKey updateDescription")
	x.equal("the second document", plain(events[1].Lookup("fullDocument")), `{"_id":"x","n":2}`)
	_, err = s.c.DeleteOne(s.ctx, field("_id", "x"))
	x.ok(err)
	if cs, err = s.watch(s.c, nil, opts().SetResumeAfter(from)); !x.ok(err) {
		return x.err()
	}
	if events, err = s.take(cs, 3); !x.ok(err, are(events, "update x", "update x", "delete x")) {
		return x.err()
	}
	x.equal("the document of an event whose document is gone", events[0].Lookup("fullDocument").Type, bson.TypeNull)
	x.equal("a deletion's fields", keys(events[2]), "_id operationType clusterTime wallTime ns documentKey")
	return x.err()
}

func (s *streams) keepImages() error {
	return s.db.RunCommand(s.ctx, bson.D{{Key: "collMod", Value: "c"}, {Key: "changeStreamPreAndPostImages", Value: field("enabled", true)}}).Err()
}

// With images the document is that of the event; without, whenAvailable gives null.
func postImages(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, doc("x", 0)))
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetFullDocument(options.WhenAvailable))
	if !x.ok(err, s.update("x", stage("$set", field("n", int32(1)))), s.keepImages(), s.update("x", stage("$set", field("n", int32(2))))) {
		return x.err()
	}
	events, err := s.take(cs, 2)
	if x.ok(err) {
		x.inOrder(events[1], "_id operationType clusterTime wallTime fullDocument ns documentKey updateDescription")
		x.equal("without images", events[0].Lookup("fullDocument").Type, bson.TypeNull)
		x.equal("with images", plain(events[1].Lookup("fullDocument")), `{"_id":"x","n":2}`)
	}
	return x.err()
}

// An image is that of the event, whatever became of the document.
func postImageDeleted(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetFullDocument(options.Required))
	x.ok(err, s.keepImages(), s.insert(s.c, doc("x", 0)), s.update("x", stage("$set", field("n", int32(1)))), s.update("x", stage("$set", field("n", int32(2)))))
	_, err = s.c.DeleteOne(s.ctx, field("_id", "x"))
	if !x.ok(err) {
		return x.err()
	}
	events, err := s.take(cs, 4)
	if x.ok(err) {
		x.equal("the first image", plain(events[1].Lookup("fullDocument")), `{"_id":"x","n":1}`)
		x.equal("the second image", plain(events[2].Lookup("fullDocument")), `{"_id":"x","n":2}`)
	}
	return x.err()
}

func preImages(s *streams) error {
	var x expect
	x.ok(s.keepImages())
	events, err := s.events(options.ChangeStream().SetFullDocumentBeforeChange(options.WhenAvailable).SetFullDocument(options.UpdateLookup), func() error {
		err := errors.Join(s.insert(s.c, doc("x", 0)), s.update("x", stage("$set", field("n", int32(1)))))
		_, err1 := s.c.ReplaceOne(s.ctx, field("_id", "x"), field("n", int32(2)))
		_, err2 := s.c.DeleteOne(s.ctx, field("_id", "x"))
		return errors.Join(err, err1, err2)
	})
	if !x.ok(err, are(events, "insert x", "update x", "replace x", "delete x")) {
		return x.err()
	}
	x.inOrder(events[0], "_id operationType clusterTime wallTime fullDocument ns documentKey")
	x.equal("an update's fields", strings.HasSuffix(keys(events[1]), " fullDocumentBeforeChange"), true)
	x.equal("a deletion's fields", keys(events[3]), "_id operationType clusterTime wallTime ns documentKey fullDocumentBeforeChange")
	for i, n := range []int{0, 1, 2} {
		x.equal(describe(events[i+1]), plain(events[i+1].Lookup("fullDocumentBeforeChange")), fmt.Sprintf(`{"_id":"x","n":%d}`, n))
	}
	return x.err()
}

func requiredMissing(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, doc("x", 0)))
	post, err1 := s.watch(s.c, nil, options.ChangeStream().SetFullDocument(options.Required))
	pre, err2 := s.watch(s.c, nil, options.ChangeStream().SetFullDocumentBeforeChange(options.Required))
	if x.ok(err1, err2, s.update("x", stage("$set", field("n", int32(1))))) {
		x.code("a required post-image", s.failure(post), 47)
		x.code("a required pre-image", s.failure(pre), 47)
	}
	return x.err()
}

// A token is there at once, and what is written behind it comes when the stream is resumed.
func tokenBeforeEvents(s *streams) error {
	var x expect
	x.ok(s.insert(s.c, doc("before", 0)))
	cs, err := s.watch(s.c, nil, nil)
	if !x.ok(err) {
		return x.err()
	}
	token := cs.ResumeToken()
	x.equal("a token", token != nil, true)
	if x.ok(s.insert(s.c, doc("x", 0))) {
		cs, err := s.watch(s.c, nil, options.ChangeStream().SetStartAfter(token))
		if x.ok(err) {
			events, err := s.upToFence(cs)
			x.ok(err, are(events, "insert x"))
		}
	}
	return x.err()
}

// The token of a stream that sees nothing moves on with what others write, and nothing that comes later is lost behind it.
func tokenOfEmptyBatches(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if !x.ok(err) {
		return x.err()
	}
	first := cs.ResumeToken().String()
	x.ok(s.insert(s.db.Collection("other"), doc("x", 0)))
	for cs.ResumeToken().String() == first && cs.Err() == nil && s.ctx.Err() == nil {
		if cs.TryNext(s.ctx) {
			return fmt.Errorf("an event of another collection: %v", cs.Current)
		}
	}
	token := cs.ResumeToken()
	x.ok(cs.Err(), s.ctx.Err(), s.insert(s.c, doc("y", 0)))
	if cs, err = s.watch(s.c, nil, options.ChangeStream().SetStartAfter(token)); x.ok(err) {
		events, err := s.upToFence(cs)
		x.ok(err, are(events, "insert y"))
	}
	return x.err()
}

func tokenOfIdleServer(s *streams) error {
	cs, err := s.watch(s.c, nil, nil)
	if err != nil {
		return err
	}
	for first := cs.ResumeToken().String(); cs.ResumeToken().String() == first; {
		if cs.TryNext(s.ctx) || cs.Err() != nil || s.ctx.Err() != nil {
			return errors.Join(errors.New("the token stays"), cs.Err())
		}
	}
	return nil
}

// resumed reads two of three events, and the others by another client from the token of the second.
func (s *streams) resumed(opts func(token bson.Raw) *options.ChangeStreamOptionsBuilder) error {
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetBatchSize(1))
	if err == nil {
		err = s.insert(s.c, doc("a", 0), doc("b", 0), doc("c", 0))
	}
	if err != nil {
		return err
	}
	events, err := s.take(cs, 2)
	if err != nil {
		return err
	}
	if got, want := cs.ResumeToken().String(), events[1].Lookup("_id").String(); got != want {
		return fmt.Errorf("the token behind the second event is %s, not %s", got, want)
	}
	other := connectStreams(s.t, s.URI).Database(s.db.Name()).Collection("c")
	again, err := s.watch(other, nil, opts(cs.ResumeToken()))
	if err != nil {
		return err
	}
	events, err = s.upToFence(again)
	return errors.Join(err, are(events, "insert c"))
}

func resumeAfter(s *streams) error {
	return s.resumed(func(token bson.Raw) *options.ChangeStreamOptionsBuilder {
		return options.ChangeStream().SetResumeAfter(token)
	})
}

func startAfter(s *streams) error {
	return s.resumed(func(token bson.Raw) *options.ChangeStreamOptionsBuilder {
		return options.ChangeStream().SetStartAfter(token)
	})
}

// The time of a write, as its session tells, is that of its event, which comes again.
func startAtOperationTime(s *streams) error {
	var x expect
	session, err := s.client.StartSession()
	if !x.ok(err, s.insert(s.c, doc("before", 0))) {
		return x.err()
	}
	defer session.EndSession(s.ctx)
	_, err = s.c.InsertOne(mongo.NewSessionContext(s.ctx, session), doc("x", 0))
	at := session.OperationTime()
	if !x.ok(err, s.insert(s.c, doc("y", 0))) || at == nil {
		return errors.Join(x.err(), fmt.Errorf("the time is %v", at))
	}
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetStartAtOperationTime(at))
	if x.ok(err) {
		events, err := s.upToFence(cs)
		if x.ok(err, are(events, "insert x", "insert y")) {
			t, i := events[0].Lookup("clusterTime").Timestamp()
			x.equal("the event's time", bson.Timestamp{T: t, I: i}, *at)
		}
	}
	return x.err()
}

func exclusiveOptions(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if !x.ok(err) {
		return x.err()
	}
	token, at := cs.ResumeToken(), &bson.Timestamp{T: 1 << 31, I: 1}
	_, err = s.watch(s.c, nil, options.ChangeStream().SetResumeAfter(token).SetStartAfter(token))
	x.code("resumeAfter and startAfter", err, 50865)
	_, err = s.watch(s.c, nil, options.ChangeStream().SetResumeAfter(token).SetStartAtOperationTime(at))
	x.code("resumeAfter and startAtOperationTime", err, 40674)
	_, err = s.watch(s.c, nil, options.ChangeStream().SetStartAfter(token).SetStartAtOperationTime(at))
	x.code("startAfter and startAtOperationTime", err, 40674)
	return x.err()
}

// A token that is none fails when the stream is opened.
func malformedToken(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if !x.ok(err) {
		return x.err()
	}
	good := cs.ResumeToken().Lookup("_data").StringValue()
	for what, c := range map[string]struct {
		token any
		codes []int
	}{
		"no hexadecimal digits": {field("_data", "no token"), []int{9, 260}},
		"other bytes":           {field("_data", "AA00BB11"), []int{260, 50811, 50810, 9}},
		"half of one":           {field("_data", good[:len(good)/4*2]), []int{260, 50811, 9}},
	} {
		_, err := s.watch(s.c, nil, options.ChangeStream().SetResumeAfter(c.token))
		x.code(what, err, c.codes...)
	}
	return x.err()
}

func tokenWithoutText(s *streams) error {
	var x expect
	for what, token := range map[string]any{"a number": field("_data", int32(5)), "nothing": field("x", int32(5))} {
		_, err := s.watch(s.c, nil, options.ChangeStream().SetResumeAfter(token))
		x.code(what, err, 40647)
	}
	return x.err()
}

// A stream of a database goes on when collections come and go.
func databaseStream(s *streams) error {
	var x expect
	cs, err := s.watch(s.db, nil, nil)
	other := s.db.Collection("other")
	x.ok(err, s.insert(s.c, doc("a", 0)), s.insert(other, doc("b", 0)), other.Drop(s.ctx), s.insert(other, doc("c", 0)),
		s.insert(s.client.Database(s.db.Name()+"_not").Collection("c"), doc("elsewhere", 0)), s.rename("other", "renamed"))
	if !x.ok(s.client.Database(s.db.Name() + "_not").Drop(s.ctx)) {
		return x.err()
	}
	events, err := s.upToFence(cs)
	if x.ok(err, are(events, "insert a", "insert b", "drop other", "insert c", "rename other")) {
		x.equal("a drop's fields", keys(events[2]), "_id operationType clusterTime wallTime ns")
		x.equal("a rename's fields", keys(events[4]), "to _id operationType clusterTime wallTime ns")
		x.equal("to", plain(events[4].Lookup("to")), fmt.Sprintf(`{"db":"%s","coll":"renamed"}`, s.db.Name()))
	}
	return x.err()
}

func (s *streams) rename(from, to string) error {
	return s.client.Database("admin").RunCommand(s.ctx, bson.D{
		{Key: "renameCollection", Value: s.db.Name() + "." + from}, {Key: "to", Value: s.db.Name() + "." + to},
	}).Err()
}

func clusterStream(s *streams) error {
	var x expect
	cs, err := s.watch(s.client, bson.A{stage("$match", field("ns.db", s.db.Name()))}, nil)
	if !x.ok(err, s.insert(s.c, doc("a", 0)), s.insert(s.db.Collection("other"), doc("b", 0)), s.c.Drop(s.ctx)) {
		return x.err()
	}
	events, err := s.upToFence(cs)
	x.ok(err, are(events, "insert a", "insert b", "drop c"))
	return x.err()
}

func clusterStreamElsewhere(s *streams) error {
	var x expect
	err := s.db.RunCommand(s.ctx, bson.D{{Key: "aggregate", Value: 1}, {Key: "pipeline", Value: bson.A{stage("$changeStream", field("allChangesForCluster", true))}}, {Key: "cursor", Value: bson.D{}}}).Err()
	x.code("a cluster's stream on another database", err, 72)
	return x.err()
}

func missingCollectionStream(s *streams) error {
	var x expect
	later := s.db.Collection("later")
	cs, err := s.watch(later, nil, nil)
	if x.ok(err, s.insert(later, doc("a", 0))) {
		events, err := s.take(cs, 1)
		x.ok(err, are(events, "insert a"))
	}
	return x.err()
}

// ends checks that a stream ends behind events.
func (s *streams) ends(cs *mongo.ChangeStream, want ...string) error {
	events, err := s.take(cs, len(want))
	if err == nil && cs.TryNext(s.ctx) {
		err = fmt.Errorf("an event behind the last: %v", cs.Current)
	}
	err = errors.Join(err, cs.Err(), are(events, want...))
	if err == nil && cs.ID() != 0 {
		err = errors.New("the cursor is open")
	}
	if n := len(events); err == nil && keys(events[n-1]) != "_id operationType clusterTime wallTime" {
		err = fmt.Errorf("an invalidation has the fields %s", keys(events[n-1]))
	}
	return err
}

func dropInvalidates(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if x.ok(err, s.insert(s.c, doc("a", 0)), s.c.Drop(s.ctx), s.insert(s.c, doc("b", 0))) {
		x.ok(s.ends(cs, "insert a", "drop c", "invalidate"))
	}
	return x.err()
}

func renameInvalidates(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if x.ok(err, s.insert(s.c, doc("a", 0)), s.rename("c", "d")) {
		x.ok(s.ends(cs, "insert a", "rename c", "invalidate"))
	}
	return x.err()
}

func dropDatabaseInvalidates(s *streams) error {
	var x expect
	cs, err := s.watch(s.db, nil, nil)
	if x.ok(err, s.insert(s.c, doc("a", 0)), s.db.Drop(s.ctx)) {
		x.ok(s.ends(cs, "insert a", "drop c", "dropDatabase", "invalidate"))
	}
	return x.err()
}

// resumeAfter refuses the token of an invalidation, startAfter goes on behind it.
func invalidateToken(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if !x.ok(err, s.c.Drop(s.ctx), s.insert(s.c, doc("b", 0)), s.ends(cs, "drop c", "invalidate")) {
		return x.err()
	}
	token := cs.ResumeToken()
	_, err = s.watch(s.c, nil, options.ChangeStream().SetResumeAfter(token))
	x.code("resumeAfter", err, 260)
	if cs, err = s.watch(s.c, nil, options.ChangeStream().SetStartAfter(token)); x.ok(err) {
		events, err := s.upToFence(cs)
		x.ok(err, are(events, "insert b"))
	}
	return x.err()
}

func matchStage(s *streams) error {
	var x expect
	for what, c := range map[string]struct {
		match bson.D
		want  []string
	}{
		"collections": {field("ns.coll", field("$in", bson.A{"c", "e"})), []string{"insert a", "insert e", "update a"}},
		"namespaces":  {field("ns", bson.D{{Key: "db", Value: s.db.Name()}, {Key: "coll", Value: "c"}}), []string{"insert a", "update a"}},
		"kinds":       {field("operationType", field("$ne", "update")), []string{"insert a", "insert d", "insert e"}},
		"either": {field("$or", bson.A{field("ns.coll", "d"), bson.D{{Key: "ns.coll", Value: "c"}, {Key: "operationType", Value: "update"}}, field("documentKey._id", field("$gte", "fence"))}),
			[]string{"insert d", "update a"}},
		"documents": {field("$or", bson.A{field("fullDocument.n", int32(7)), field("documentKey._id", field("$gte", "fence"))}), []string{"insert e"}},
	} {
		cs, err := s.watch(s.db, bson.A{stage("$match", c.match)}, nil)
		x.ok(err, s.insert(s.c, doc("a", 0)), s.insert(s.db.Collection("d"), doc("d", 0)), s.insert(s.db.Collection("e"), doc("e", 7)), s.update("a", stage("$set", field("n", int32(5)))))
		if err == nil {
			events, err := s.upToFence(cs)
			if err := errors.Join(err, are(events, c.want...)); err != nil {
				x.ok(fmt.Errorf("%s: %w", what, err))
			}
		}
		for _, coll := range []string{"c", "d", "e"} {
			_, err := s.db.Collection(coll).DeleteMany(s.ctx, bson.D{})
			x.ok(err)
		}
	}
	return x.err()
}

func projectStage(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, bson.A{stage("$project", bson.D{{Key: "operationType", Value: 1}, {Key: "documentKey", Value: 1}, {Key: "fullDocument.n", Value: 1}})}, nil)
	if x.ok(err, s.insert(s.c, bson.D{{Key: "_id", Value: "x"}, {Key: "n", Value: int32(1)}, {Key: "body", Value: "long"}})) {
		e := x.one(s.upToFence(cs))
		x.inOrder(e, "_id operationType fullDocument documentKey")
		x.equal("fullDocument", plain(e.Lookup("fullDocument")), `{"n":1}`)
	}
	return x.err()
}

func projectWithoutID(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, bson.A{stage("$project", field("_id", 0))}, nil)
	if x.ok(err, s.insert(s.c, doc("x", 0))) {
		err := s.failure(cs)
		x.code("a stream without tokens", err, 280)
		x.label(err, nonResumable)
	}
	return x.err()
}

func pipelineErrors(s *streams) error {
	var x expect
	_, err := s.watch(s.c, bson.A{stage("$nonsense", bson.D{})}, nil)
	x.code("an unknown stage", err, 40324)
	aggregate := func(stages ...any) error {
		return s.db.RunCommand(s.ctx, bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A(stages)}, {Key: "cursor", Value: bson.D{}}}).Err()
	}
	x.code("an unknown option", aggregate(stage("$changeStream", field("nonsense", true))), 40415)
	x.code("an unknown kind of document", aggregate(stage("$changeStream", field("fullDocument", "nonsense"))), 2)
	x.code("not at the start", aggregate(stage("$match", bson.D{}), stage("$changeStream", bson.D{})), 40602)
	return x.err()
}

func stagesNotPermitted(s *streams) error {
	var x expect
	for _, st := range []bson.D{stage("$sort", byID), stage("$group", field("_id", nil)), stage("$limit", 5)} {
		_, err := s.watch(s.c, bson.A{st}, nil)
		x.code(st[0].Key, err, 20)
	}
	return x.err()
}

// inTransaction writes to two collections.
func (s *streams) inTransaction(end func(context.Context, *mongo.Session) error) error {
	if err := s.db.CreateCollection(s.ctx, "other"); err != nil {
		return err
	}
	session, err := s.client.StartSession()
	if err != nil {
		return err
	}
	defer session.EndSession(s.ctx)
	if err := session.StartTransaction(); err != nil {
		return err
	}
	ctx := mongo.NewSessionContext(s.ctx, session)
	_, err1 := s.c.InsertOne(ctx, doc("a", 0))
	_, err2 := s.db.Collection("other").InsertOne(ctx, doc("b", 0))
	_, err3 := s.c.UpdateOne(ctx, field("_id", "a"), stage("$set", field("n", int32(1))))
	_, err4 := s.c.DeleteOne(ctx, field("_id", "old"))
	n, err5 := s.c.CountDocuments(ctx, bson.D{})
	if n != 1 {
		err5 = errors.Join(err5, fmt.Errorf("the transaction sees %d documents, not 1", n))
	}
	if n, err := s.c.CountDocuments(s.ctx, bson.D{}); n != 1 || err != nil {
		err5 = errors.Join(err5, err, fmt.Errorf("others see %d documents, not the old one", n))
	} else if s.c.FindOne(s.ctx, field("_id", "old")).Err() != nil {
		err5 = errors.Join(err5, errors.New("others see the transaction"))
	}
	return errors.Join(err1, err2, err3, err4, err5, end(ctx, session))
}

func commit(ctx context.Context, session *mongo.Session) error { return session.CommitTransaction(ctx) }

// committed is the events of a transaction.
func (s *streams) committed() ([]bson.Raw, error) {
	if err := s.insert(s.c, doc("old", 0)); err != nil {
		return nil, err
	}
	cs, err := s.watch(s.db, nil, nil)
	if err == nil {
		err = s.inTransaction(commit)
	}
	if err != nil {
		return nil, err
	}
	return s.upToFence(cs)
}

// One event for each write, all at one time, with the transaction's name, and a token each.
func transactionEvents(s *streams) error {
	var x expect
	events, err := s.committed()
	if !x.ok(err, are(events, "insert a", "insert b", "update a", "delete old")) {
		return x.err()
	}
	tokens := map[string]bool{}
	for _, e := range events {
		x.equal("the time of "+describe(e), e.Lookup("clusterTime").String(), events[0].Lookup("clusterTime").String())
		x.equal("lsid", e.Lookup("lsid").String(), events[0].Lookup("lsid").String())
		x.equal("lsid's id", e.Lookup("lsid", "id").Type, bson.TypeBinary)
		x.equal("txnNumber", e.Lookup("txnNumber").Type, bson.TypeInt64)
		tokens[e.Lookup("_id").String()] = true
	}
	x.equal("tokens", len(tokens), len(events))
	x.equal("the update", plain(events[2].Lookup("updateDescription", "updatedFields")), `{"n":1}`)
	return x.err()
}

// The transaction's name stands in front, before the token.
func transactionOrder(s *streams) error {
	var x expect
	events, err := s.committed()
	if x.ok(err) && len(events) > 0 {
		x.inOrder(events[0], "txnNumber lsid _id operationType clusterTime wallTime fullDocument ns documentKey")
	}
	return x.err()
}

func abortedTransaction(s *streams) error {
	var x expect
	cs, err := s.watch(s.db, nil, nil)
	if x.ok(err, s.insert(s.c, doc("old", 0)), s.inTransaction(func(ctx context.Context, session *mongo.Session) error { return session.AbortTransaction(ctx) })) {
		events, err := s.upToFence(cs)
		x.ok(err, are(events, "insert old"))
	}
	return x.err()
}

func resumeInTransaction(s *streams) error {
	var x expect
	events, err := s.committed()
	if !x.ok(err) || len(events) != 4 {
		return errors.Join(x.err(), fmt.Errorf("%d events", len(events)))
	}
	cs, err := s.watch(s.db, nil, options.ChangeStream().SetStartAfter(events[1].Lookup("_id").Document()))
	if x.ok(err) {
		events, err := s.take(cs, 3)
		x.ok(err, are(events, "update a", "delete old", "insert fence 1"))
	}
	return x.err()
}

// No event is lost, and each document's come in order.
func concurrentWriters(s *streams) error {
	const writers, each = 4, 50
	var x expect
	for w := range writers {
		x.ok(s.insert(s.c, doc(strconv.Itoa(w), 0)))
	}
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetBatchSize(7))
	if !x.ok(err) {
		return x.err()
	}
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := s.c.UpdateOne(s.ctx, field("_id", strconv.Itoa(w)), stage("$set", field("n", int32(i+1)))); err != nil {
					errs[w] = err
				}
			}
		})
	}
	events, err := s.take(cs, writers*each)
	wg.Wait()
	x.ok(append(errs, err)...)
	next := map[string]int{}
	for _, e := range events {
		id := describe(e)
		next[id]++
		x.equal(id, plain(e.Lookup("updateDescription", "updatedFields", "n")), next[id])
	}
	return x.err()
}

// streamReply is that of a stream's commands.
type streamReply struct {
	Cursor struct {
		ID         int64      `bson:"id"`
		FirstBatch []bson.Raw `bson:"firstBatch"`
		NextBatch  []bson.Raw `bson:"nextBatch"`
		Token      bson.Raw   `bson:"postBatchResumeToken"`
	} `bson:"cursor"`
}

func (s *streams) command(cmd ...bson.E) (streamReply, error) {
	var r streamReply
	raw, err := s.db.RunCommand(context.WithoutCancel(s.ctx), bson.D(cmd)).Raw() // without a deadline, which the driver would add
	if err == nil {
		err = bson.Unmarshal(raw, &r)
	}
	return r, err
}

func (s *streams) openCommand(spec bson.D, batchSize int) (streamReply, error) {
	return s.command(bson.E{Key: "aggregate", Value: "c"}, bson.E{Key: "pipeline", Value: bson.A{stage("$changeStream", spec)}},
		bson.E{Key: "cursor", Value: field("batchSize", int32(batchSize))})
}

func (s *streams) moreCommand(id int64, awaitMS int, more ...bson.E) (streamReply, error) {
	return s.command(append([]bson.E{{Key: "getMore", Value: id}, {Key: "collection", Value: "c"}, {Key: "maxTimeMS", Value: int64(awaitMS)}}, more...)...)
}

// A backlog comes with the first reply, as much of it as fits; the token of a full batch is that of its last event.
func streamBatches(s *streams) error {
	var x expect
	opened, err := s.openCommand(bson.D{}, 10)
	if !x.ok(err, s.insert(s.c, doc("a", 0), doc("b", 0), doc("c", 0), doc("d", 0))) {
		return x.err()
	}
	x.equal("events at the start", len(opened.Cursor.FirstBatch), 0)
	first, err := s.openCommand(field("resumeAfter", opened.Cursor.Token), 3)
	if !x.ok(err, are(first.Cursor.FirstBatch, "insert a", "insert b", "insert c")) {
		return x.err()
	}
	x.equal("the token", first.Cursor.Token.String(), first.Cursor.FirstBatch[2].Lookup("_id").String())
	next, err := s.moreCommand(first.Cursor.ID, 1000)
	if !x.ok(err, are(next.Cursor.NextBatch, "insert d")) {
		return x.err()
	}
	// Where a batch has room left, its token may be behind what others have written since.
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetStartAfter(next.Cursor.Token))
	if x.ok(err) {
		events, err := s.upToFence(cs)
		x.ok(err, are(events))
	}
	return x.err()
}

// An empty first batch leaves the token where it is.
func emptyFirstBatch(s *streams) error {
	var x expect
	opened, err := s.openCommand(bson.D{}, 10)
	if !x.ok(err, s.insert(s.c, doc("a", 0), doc("b", 0), doc("c", 0))) {
		return x.err()
	}
	empty, err := s.openCommand(field("resumeAfter", opened.Cursor.Token), 0)
	x.ok(err)
	x.equal("events with batchSize 0", len(empty.Cursor.FirstBatch), 0)
	x.equal("the token with batchSize 0", empty.Cursor.Token.String(), opened.Cursor.Token.String())
	next, err := s.moreCommand(empty.Cursor.ID, 1000, bson.E{Key: "batchSize", Value: int32(2)})
	x.ok(err, are(next.Cursor.NextBatch, "insert a", "insert b"))
	return x.err()
}

// A getMore waits for an event, however long that takes, and comes back empty when its time is over.
func awaitsEvents(s *streams) error {
	var x expect
	opened, err := s.openCommand(bson.D{}, 10)
	if !x.ok(err) {
		return x.err()
	}
	empty, err := s.moreCommand(opened.Cursor.ID, 50)
	x.ok(err)
	x.equal("events", len(empty.Cursor.NextBatch), 0)
	x.equal("a token", empty.Cursor.Token != nil, true)
	x.equal("the cursor", empty.Cursor.ID, opened.Cursor.ID)
	type answer struct {
		streamReply
		err error
	}
	asked := make(chan answer, 1)
	go func() {
		r, err := s.moreCommand(opened.Cursor.ID, int(patience.Milliseconds()))
		asked <- answer{r, err}
	}()
	x.ok(s.insert(s.db.Collection("other"), doc("a", 0)), s.insert(s.c, doc("b", 0)))
	select {
	case a := <-asked:
		x.ok(a.err, are(a.Cursor.NextBatch, "insert b"))
	case <-s.ctx.Done():
		x.ok(errors.New("the event did not end the wait"))
	}
	return x.err()
}

// A driver opens a stream again whose cursor is gone, without loss.
func killedStream(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetBatchSize(1))
	if !x.ok(err, s.insert(s.c, doc("a", 0), doc("b", 0))) {
		return x.err()
	}
	events, err := s.take(cs, 1)
	x.ok(err, are(events, "insert a"))
	id := cs.ID()
	x.ok(s.db.RunCommand(s.ctx, bson.D{{Key: "killCursors", Value: "c"}, {Key: "cursors", Value: bson.A{id}}}).Err())
	_, err = s.moreCommand(id, 50)
	x.code("getMore of a killed cursor", err, 43)
	events, err = s.upToFence(cs)
	x.ok(err, are(events, "insert b"))
	x.equal("another cursor", cs.ID() != id, true)
	return x.err()
}

// Other kinds of events come only if they are asked for.
func expandedEvents(s *streams) error {
	var x expect
	plainly, err1 := s.watch(s.db, nil, nil)
	expanded, err2 := s.watch(s.db, nil, options.ChangeStream().SetShowExpandedEvents(true))
	if !x.ok(err1, err2, s.db.CreateCollection(s.ctx, "made"), s.insert(s.c, doc("a", 0))) {
		return x.err()
	}
	events, err := s.take(plainly, 1)
	x.ok(err, are(events, "insert a"))
	events, err = s.take(expanded, 2)
	if x.ok(err, are(events, "create made", "insert a")) {
		x.inOrder(events[1], "_id operationType clusterTime collectionUUID wallTime fullDocument ns documentKey")
	}
	return x.err()
}

// enlarge makes an event of 18 MB for those that look documents up: 9 MB of a document of 9 MB are new.
func (s *streams) enlarge() error {
	large := strings.Repeat("x", 9<<20)
	if err := s.insert(s.c, bson.D{{Key: "_id", Value: "x"}, {Key: "body", Value: "short"}}); err != nil {
		return err
	}
	return s.update("x", stage("$set", field("body", large)))
}

// An event may be too large to be sent.
func largeEvent(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetFullDocument(options.UpdateLookup))
	if x.ok(err, s.enlarge()) {
		x.code("an event of 18 MB", s.failure(cs), 10334)
	}
	return x.err()
}

var splitting = bson.A{bson.D{{Key: "$changeStreamSplitLargeEvent", Value: bson.D{}}}}

// In fragments it can be sent; each has a token from which the stream goes on with the next.
func splitEvent(s *streams) error {
	var x expect
	lookup := func() *options.ChangeStreamOptionsBuilder {
		return options.ChangeStream().SetFullDocument(options.UpdateLookup)
	}
	cs, err := s.watch(s.c, splitting, lookup())
	if !x.ok(err, s.enlarge()) {
		return x.err()
	}
	events, err := s.take(cs, 3)
	if !x.ok(err) {
		return x.err()
	}
	parts := events[1:]
	all := map[string]int{}
	for i, p := range parts {
		x.equal("splitEvent", plain(p.Lookup("splitEvent")), fmt.Sprintf(`{"fragment":%d,"of":2}`, i+1))
		if !strings.HasPrefix(keys(p), "_id splitEvent ") {
			x.ok(fmt.Errorf("a fragment's fields are %s", keys(p)))
		}
		elements, _ := p.Elements()
		for _, e := range elements[2:] {
			all[e.Key()]++
		}
	}
	for _, name := range strings.Fields("operationType clusterTime wallTime fullDocument ns documentKey updateDescription") {
		x.equal("fragments with "+name, all[name], 1)
	}
	x.equal("different tokens", parts[0].Lookup("_id").String() != parts[1].Lookup("_id").String(), true)
	if cs, err = s.watch(s.c, splitting, lookup().SetStartAfter(parts[0].Lookup("_id").Document())); x.ok(err) {
		x.equal("what is resumed", plain(x.one(s.upToFence(cs)).Lookup("splitEvent")), `{"fragment":2,"of":2}`)
	}
	if cs, err = s.watch(s.c, splitting, lookup().SetStartAfter(parts[1].Lookup("_id").Document())); x.ok(err) {
		rest, err := s.upToFence(cs)
		x.ok(err, are(rest, "insert fence 1"))
	}
	return x.err()
}

func smallNotSplit(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, splitting, nil)
	if x.ok(err, s.insert(s.c, doc("x", 0))) {
		e := x.one(s.upToFence(cs))
		x.inOrder(e, "_id operationType clusterTime wallTime fullDocument ns documentKey")
	}
	return x.err()
}

func splitLast(s *streams) error {
	var x expect
	_, err := s.watch(s.c, append(splitting[:1:1], stage("$match", bson.D{})), nil)
	x.code("a stage behind the one that splits", err, 7182802)
	return x.err()
}

// lost makes a token and a time that the server no longer knows.
func (s *streams) lost() (token bson.Raw, at *bson.Timestamp, err error) {
	cs, err := s.watch(s.c, nil, nil)
	if err == nil {
		err = s.insert(s.c, doc("a", 0))
	}
	if err != nil {
		return nil, nil, err
	}
	events, err := s.take(cs, 1)
	if err != nil {
		return nil, nil, err
	}
	t, i := events[0].Lookup("clusterTime").Timestamp()
	return events[0].Lookup("_id").Document(), &bson.Timestamp{T: t, I: i}, errors.Join(s.insert(s.c, doc("b", 0)), s.Truncate(s.ctx))
}

// opened opens a stream and reads once from it, since some servers tell only then.
func (s *streams) opened(opts *options.ChangeStreamOptionsBuilder) error {
	cs, err := s.watch(s.c, nil, opts)
	if err != nil {
		return err
	}
	cs.TryNext(s.ctx)
	return cs.Err()
}

func lostToken(s *streams) error {
	var x expect
	token, _, err := s.lost()
	if x.ok(err) {
		x.code("resumeAfter", s.opened(options.ChangeStream().SetResumeAfter(token)), 286)
		x.code("startAfter", s.opened(options.ChangeStream().SetStartAfter(token)), 286)
	}
	return x.err()
}

func lostTime(s *streams) error {
	var x expect
	_, at, err := s.lost()
	if x.ok(err) {
		x.code("startAtOperationTime", s.opened(options.ChangeStream().SetStartAtOperationTime(at)), 286)
	}
	return x.err()
}

func lostCursor(s *streams) error {
	var x expect
	cs, err := s.watch(s.c, nil, nil)
	if x.ok(err, s.insert(s.c, doc("a", 0)), s.Truncate(s.ctx)) {
		x.code("a stream that the oplog has overrun", s.failure(cs), 286)
	}
	return x.err()
}

func lostLabel(s *streams) error {
	var x expect
	token, _, err := s.lost()
	if x.ok(err) {
		x.label(s.opened(options.ChangeStream().SetResumeAfter(token)), nonResumable)
	}
	return x.err()
}

func (s *streams) failPoint(mode any, data ...bson.E) error {
	return s.client.Database("admin").RunCommand(s.ctx, bson.D{{Key: "configureFailPoint", Value: "failCommand"}, {Key: "mode", Value: mode}, {Key: "data", Value: bson.D(data)}}).Err()
}

// failing opens a stream, of which some command fails, and reads it to its end.
func (s *streams) failing(data ...bson.E) error {
	cs, err := s.watch(s.c, nil, options.ChangeStream().SetBatchSize(1))
	err = errors.Join(err, s.insert(s.c, doc("a", 0), doc("b", 0)))
	if err != nil {
		return err
	}
	events, err := s.take(cs, 1)
	err = errors.Join(err, are(events, "insert a"), s.failPoint(field("times", 1), data...))
	if err != nil {
		return err
	}
	events, err = s.upToFence(cs)
	return errors.Join(err, are(events, "insert b"))
}

func getMoresFail(e ...bson.E) []bson.E {
	return append([]bson.E{{Key: "failCommands", Value: bson.A{"getMore"}}}, e...)
}

// A driver resumes a stream by itself after an error that the server labels so.
func resumableError(s *streams) error {
	return s.failing(getMoresFail(bson.E{Key: "errorCode", Value: 11600}, bson.E{Key: "errorLabels", Value: bson.A{"ResumableChangeStreamError"}})...)
}

func connectionLost(s *streams) error {
	return s.failing(getMoresFail(bson.E{Key: "closeConnection", Value: true})...)
}

// Codes without that label reach the caller.
func injectedCodes(s *streams) error {
	var x expect
	for _, code := range []int{13, 136, 280, 286, 10334} {
		x.code("getMore", s.failing(getMoresFail(bson.E{Key: "errorCode", Value: code})...), code)
		_, err := s.c.DeleteMany(s.ctx, bson.D{})
		x.ok(err, s.failPoint(field("times", 1), bson.E{Key: "failCommands", Value: bson.A{"aggregate"}}, bson.E{Key: "errorCode", Value: code}))
		_, err = s.watch(s.c, nil, nil)
		x.code("aggregate", err, code)
	}
	return x.err()
}

func standalone(s *streams) error {
	var x expect
	_, err := s.watch(connectStreams(s.t, s.Standalone).Database("db").Collection("c"), nil, nil)
	x.code("a standalone server", err, 40573)
	return x.err()
}
