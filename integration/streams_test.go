package integration

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/sandbox/mongotest"
)

// TestSecantusChangeStreams says in which behaviours of change streams that syncd relies on SecantusDB is like MongoDB.
func TestSecantusChangeStreams(t *testing.T) {
	// Its oplog is pruned to this many entries, now and then.
	uri := startSecantusWith(t, "--enable-test-commands", "--noop-heartbeat-seconds", "1", "--oplog-max-entries", "1000")
	mongotest.ChangeStreams(t, mongotest.StreamTarget{
		URI: uri, Standalone: startSecantusWith(t, "--standalone"), FailPoints: true, Noops: true,
		Truncate: func(ctx context.Context) error { return writeMuch(ctx, uri) },
		Varies:   map[string]string{"await": "a write to another collection ends the wait, if it comes during it"},
		Differs: map[string]string{
			"post_images":                        "whenAvailable gives a document of which no image was kept",
			"post_image_of_a_deleted_document":   "images are documents as they are now",
			"resume_options_exclude_each_other":  "one of them wins",
			"token_without_text":                 "the code is 9",
			"cluster_stream_of_another_database": "allChangesForCluster is ignored there",
			"stages_not_permitted":               "they are carried out, batch by batch",
			"transaction_event_order":            "lsid and txnNumber stand at the end",
			"batch_size_0":                       "the token has moved on to the time of the reply",
			"large_event":                        "events have no limit",
			"split_event":                        "all fragments have one token, and most fields",
			"small_event_is_not_split":           "it is a fragment, 1 of 1",
			"split_must_be_last":                 "it may stand anywhere",
			"history_lost_for_a_time":            "the stream begins with what is left",
			"history_lost_under_a_cursor":        "the stream goes on with what is left",
			"history_lost_is_labelled":           "the error has no label",
		},
	})
}

// writeMuch makes a server that keeps a thousand entries of its oplog forget what was before.
func writeMuch(ctx context.Context, uri string) error {
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return err
	}
	db := client.Database("syncd_mongotest_filler")
	for range 5 {
		docs := make([]any, 1000)
		for i := range docs {
			docs[i] = bson.D{}
		}
		if _, e := db.Collection("c").InsertMany(ctx, docs); e != nil {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, db.Drop(ctx), client.Disconnect(ctx))
}
