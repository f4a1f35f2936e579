//go:build ferretdb_sqlite

package mongotest_test

import (
	"testing"

	"github.com/syncd-io/syncd/sandbox/mongoserver"
	"github.com/syncd-io/syncd/sandbox/mongotest"
)

func startFerretDB(t *testing.T) *mongoserver.Server {
	t.Helper()
	s, err := mongoserver.Start(t.Context(), mongoserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestMatrixOnFerretDB(t *testing.T) {
	testMatrix(t, connectTo(t, startFerretDB(t).URI()), "3", []string{"int", "double", "string", "objectId", "bool"})
}

func TestStreamOfFerretDB(t *testing.T) { wantNoStreams(t, startFerretDB(t).URI()) }

func TestFerretDB(t *testing.T) {
	const (
		cuts    = "a message with such a value makes the server drop the connection"
		ignores = "min, max and hint are ignored without a word"
	)
	mongotest.Run(t, mongotest.Target{URI: startFerretDB(t).URI(), Except: map[string]string{
		"type:decimal": cuts, "type:nan": cuts, "type:symbol": cuts, "type:minKey": cuts, "type:maxKey": cuts, "type:dbPointer": cuts,
		"type:javascript": cuts, "type:javascriptWithScope": cuts, "type:infinity": "infinities are refused",
		"type:date": "it is stored as a number and equals that", "type:emptyBinData": "it is stored as a text and equals the empty one",
		"min_max": ignores, "min_max_descending": ignores, "min_max_of_absent_ids": ignores, "min_max_errors": ignores, "unknown_hint": ignores,
		"min_max_leaves_out_max_key":  cuts,
		"not_in_an_array":             "$nin does not look into arrays of documents",
		"distinct":                    "the driver can't read its answer",
		"projection_errors":           "colliding paths pass",
		"reply_limit":                 "replies have no limit",
		"sample":                      "there is no $sample",
		"sample_projected_and_sorted": "there is no $sample",
		"unknown_stage":               "the code has two digits swapped: 40234",
	}})
}
