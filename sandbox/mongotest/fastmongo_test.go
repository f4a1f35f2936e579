package mongotest_test

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startFast(t testing.TB, cfg fastmongo.Config) *fastmongo.Server {
	t.Helper()
	s, err := fastmongo.Start(t.Context(), cfg)
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

func TestFastmongo(t *testing.T) {
	t.Run("standalone", func(t *testing.T) {
		mongotest.Run(t, mongotest.Target{URI: startFast(t, fastmongo.Config{}).URI()})
	})
	t.Run("replica set with a login", func(t *testing.T) {
		s := startFast(t, fastmongo.Config{ReplicaSet: "rs0", User: "ada", Password: "s3cr@t"})
		mongotest.Run(t, mongotest.Target{URI: s.URI()})
	})
}

func TestFastmongoChangeStreams(t *testing.T) {
	for name, cfg := range map[string]fastmongo.Config{
		"MongoDB 8.0":   {},
		"MongoDB 8.3.4": {FullDocumentLast: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.ReplicaSet, cfg.Oplog.Noop = "rs0", 10*time.Millisecond
			s := startFast(t, cfg)
			mongotest.ChangeStreams(t, mongotest.StreamTarget{
				URI: s.URI(), Standalone: startFast(t, fastmongo.Config{}).URI(), FailPoints: true, Noops: true,
				Truncate: func(context.Context) error { s.TruncateOplog(); return nil },
			})
		})
	}
}
