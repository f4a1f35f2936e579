package mongotest_test

import (
	"os"
	"testing"

	"github.com/syncd-io/syncd/sandbox/mongotest"
	"github.com/syncd-io/syncd/sandbox/mongotest/javaserver"
)

// skipJavaEnv leaves the tests out that need java and, the first time, Maven and a network.
const skipJavaEnv = "SYNCD_SKIP_JAVA"

func startJava(t *testing.T) *javaserver.Server {
	t.Helper()
	if os.Getenv(skipJavaEnv) != "" {
		t.Skip(skipJavaEnv + " is set")
	}
	s, err := javaserver.Start(t.Context())
	if err != nil {
		t.Fatalf("%v\n(set %s=1 to leave this test out)", err, skipJavaEnv)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestJavaServer(t *testing.T) {
	const (
		cuts    = "a message with such a value makes the server drop the connection"
		doubles = "numbers of different types are compared as doubles"
		ignores = "min, max and hint are ignored without a word"
	)
	mongotest.Run(t, mongotest.Target{URI: startJava(t).URI(), Except: map[string]string{
		"type:decimal": doubles, "type:bigLong": doubles,
		"type:md5": cuts, "type:symbol": cuts, "type:dbPointer": cuts, "type:javascriptWithScope": cuts,
		"type:javascript": "it can't be sorted",
		"type:nan":        "in some comparisons it is above all numbers",
		"type:infinity":   "$in does not find it",
		"min_max":         ignores, "min_max_descending": ignores, "min_max_of_absent_ids": ignores, "min_max_leaves_out_max_key": ignores,
		"min_max_errors": ignores, "unknown_hint": ignores,
		"projection":        "fields come in the order of the projection",
		"projection_errors": "other codes",
		"batches":           "without batchSize all documents come at once",
		"get_more_max_time": "a getMore needs a batchSize",
		"reply_limit":       "replies have no limit",
		"sample":            "a sample of the whole collection fails inside the server",
		"coll_stats":        "there is no $collStats",
		"list_collections":  "the filter is ignored",
		"error_codes":       "regular expressions and undefined are stored as _id",
	}})
}
