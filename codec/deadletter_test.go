package codec_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// TestErrorHeaders holds them to the names of Kafka Connect, since tools for its dead letter queues look for these.
func TestErrorHeaders(t *testing.T) {
	noID, large := errors.New("no id"), fmt.Errorf("9 bytes: %w", syncd.ErrTooLarge)
	for _, tc := range []struct {
		failed               syncd.DocumentError
		stage, class, reason string
	}{
		{syncd.DocumentError{Stage: syncd.FailedRead, Cause: noID}, "TASK_POLL", "syncd.DocumentError", "no id"},
		{syncd.DocumentError{Stage: syncd.FailedEncode, Cause: noID}, "VALUE_CONVERTER", "syncd.DocumentError", "no id"},
		{syncd.DocumentError{Stage: syncd.FailedWrite, Cause: noID}, "KAFKA_PRODUCE", "syncd.DocumentError", "no id"},
		{syncd.DocumentError{Stage: syncd.FailedWrite, Cause: large}, "KAFKA_PRODUCE", "syncd.DocumentTooLarge", "9 bytes: too large"},
	} {
		tc.failed.Route, tc.failed.Split = "db.page", 3
		want := []codec.Header{
			{Name: "kept"},
			{Name: "__connect.errors.topic", Value: "db.page"},
			{Name: "__connect.errors.connector.name", Value: "syncd"},
			{Name: "__connect.errors.task.id", Value: "3"},
			{Name: "__connect.errors.stage", Value: tc.stage},
			{Name: "__connect.errors.exception.class.name", Value: tc.class},
			{Name: "__connect.errors.exception.message", Value: tc.reason},
		}
		if diff := cmp.Diff(want, codec.AppendErrorHeaders([]codec.Header{{Name: "kept"}}, &tc.failed)); diff != "" {
			t.Errorf("%+v\n%s", tc.failed, diff)
		}
	}
}

// TestLetters: a document that can't be delivered is there to be looked at, with what is known of it.
func TestLetters(t *testing.T) {
	const bare = `{"operationType":"insert","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"a"}}`
	const whole = `{"operationType":"insert","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"a"},"fullDocument":{"_id":"a","n":1}}`
	boom, large := errors.New("boom"), fmt.Errorf("boom: %w", syncd.ErrTooLarge)
	doc := memory{plain: `{"_id":"a","n":1}`, relaxed: `{"n":1}`}
	unwritable := memory{}
	notUTF8 := document(t, bson.D{{Key: "_id", Value: "\xff"}}).(syncd.BSONDocument).BSON()
	tombstones := codec.Defaults()
	tombstones.DeleteFormat = codec.DeleteTombstone
	type letter struct{ key, value string }
	for name, tc := range map[string]struct {
		change syncd.Change
		stage  syncd.FailedStage
		cause  error
		config codec.Config
		want   letter
	}{
		"read":                          {syncd.Change{ID: "a"}, syncd.FailedRead, boom, codec.Defaults(), letter{"a", bare}},
		"read, without an id":           {syncd.Change{}, syncd.FailedRead, boom, codec.Defaults(), letter{"", `{"operationType":"insert","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":""}}`}},
		"read, of an id that is broken": {syncd.Change{ID: "\xff"}, syncd.FailedRead, boom, codec.Defaults(), letter{"\xff", "{}"}},
		"read, with the document":       {syncd.Change{Document: doc}, syncd.FailedRead, boom, codec.Defaults(), letter{"", `{"n":1}`}},
		"read, with BSON that is no JSON": {syncd.Change{Document: bsondoc.NewDocument(notUTF8)}, syncd.FailedRead, boom, codec.Defaults(),
			letter{"", `{"bson":{"$binary":{"base64":"EAAAAAJfaWQAAgAAAP8AAA==","subType":"00"}}}`}},
		"encode, of BSON that is no JSON": {syncd.Change{ID: "a", Document: bsondoc.NewDocument(notUTF8)}, syncd.FailedEncode, boom, codec.Defaults(),
			letter{"a", `{"bson":{"$binary":{"base64":"EAAAAAJfaWQAAgAAAP8AAA==","subType":"00"}}}`}},
		"encode":                      {syncd.Change{ID: "a", Document: doc}, syncd.FailedEncode, boom, codec.Defaults(), letter{"a", `{"n":1}`}},
		"encode, in no form":          {syncd.Change{ID: "a", Document: unwritable}, syncd.FailedEncode, boom, codec.Defaults(), letter{"a", bare}},
		"encode, in no form at all":   {syncd.Change{ID: "\xff", Document: unwritable}, syncd.FailedEncode, boom, codec.Defaults(), letter{"\xff", "{}"}},
		"encode, as a reference":      {syncd.Change{ID: "a", Document: doc, Reference: true}, syncd.FailedEncode, boom, codec.Defaults(), letter{"a", bare}},
		"write":                       {syncd.Change{ID: "a", Document: doc}, syncd.FailedWrite, boom, codec.Defaults(), letter{"a", whole}},
		"write, too large":            {syncd.Change{ID: "a", Document: doc}, syncd.FailedWrite, large, codec.Defaults(), letter{"a", bare}},
		"write, as a reference":       {syncd.Change{ID: "a", Document: doc, Reference: true}, syncd.FailedWrite, boom, codec.Defaults(), letter{"a", bare}},
		"write, without the document": {syncd.Change{ID: "a"}, syncd.FailedWrite, boom, codec.Defaults(), letter{"a", bare}},
		"write, of a delete":          {syncd.Change{ID: "a", Operation: syncd.Delete}, syncd.FailedWrite, boom, codec.Defaults(), letter{"a", `{"operationType":"delete","ns":{"db":"Project\"Management","coll":"workItem"},"documentKey":{"_id":"a"}}`}},
		"write, of a tombstone":       {syncd.Change{ID: "a", Operation: syncd.Delete}, syncd.FailedWrite, boom, tombstones, letter{"a", "null"}},
	} {
		tc.change.Target, tc.change.Reason = &target, syncd.ReasonFull
		tc.change.Err = &syncd.DocumentError{Stage: tc.stage, Route: "db.page", Cause: tc.cause}
		var b codec.Batch
		b.Encode(tc.config.Encoder(), "run-1", []syncd.Change{tc.change})
		if err := b.Refused(); err != nil || len(b.Events) != 1 {
			t.Errorf("%s: %d events, %v", name, len(b.Events), err)
			continue
		}
		got := letter{string(b.Events[0].Key), string(b.Events[0].Value)}
		if b.Events[0].Value == nil {
			got.value = "null"
		}
		if got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		h := map[string]string{}
		for _, header := range b.Events[0].Headers {
			h[header.Name] = header.Value
		}
		delete(h, codec.HeaderReadTime)
		delete(h, codec.HeaderErrorStage)
		class := "syncd.DocumentError"
		if errors.Is(tc.cause, syncd.ErrTooLarge) {
			class = "syncd.DocumentTooLarge"
		}
		want := map[string]string{
			"syncd-run-id": "run-1", "syncd-reason": "full", "syncd-content-type": "work_item", "syncd-point-id": "00000000-0000-0000-0000-000000000000",
			"__connect.errors.topic": "db.page", "__connect.errors.connector.name": "syncd", "__connect.errors.task.id": "0",
			"__connect.errors.exception.class.name": class, "__connect.errors.exception.message": tc.cause.Error(),
		}
		if diff := cmp.Diff(want, h); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestLetterOfAnotherError: what has no stage is still told.
func TestLetterOfAnotherError(t *testing.T) {
	var b codec.Batch
	b.Encode(codec.Encoder{}, "", []syncd.Change{{Target: &target, ID: "a", Err: errors.New("boom")}})
	if h := text(b.Events[0].Headers); len(b.Events) != 1 || b.Refused() != nil ||
		h != "[{syncd-point-id 00000000-0000-0000-0000-000000000000} {syncd-content-type work_item} {syncd-read-time 1970-01-01T00:00:00Z} {syncd-run-id } {syncd-reason missing} "+
			"{__connect.errors.topic workItem} {__connect.errors.connector.name syncd} {__connect.errors.task.id 0} {__connect.errors.stage TASK_POLL} "+
			"{__connect.errors.exception.class.name syncd.DocumentError} {__connect.errors.exception.message boom}]" {
		t.Errorf("headers %s", h)
	}
}
