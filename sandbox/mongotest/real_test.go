package mongotest_test

import (
	"os"
	"testing"

	"github.com/syncd-io/syncd/sandbox/mongotest"
)

// realURIEnv points tests at a server of your own; they write to databases of their own there.
const realURIEnv = "SYNCD_TEST_MONGO_URI"

func realURI(t *testing.T) string {
	t.Helper()
	uri := os.Getenv(realURIEnv)
	if uri == "" {
		t.Skip(realURIEnv + " is not set")
	}
	return uri
}

func TestRealServer(t *testing.T) {
	mongotest.Run(t, mongotest.Target{URI: realURI(t)})
}

func TestRealServerChangeStreams(t *testing.T) {
	mongotest.ChangeStreams(t, mongotest.StreamTarget{URI: realURI(t)})
}
