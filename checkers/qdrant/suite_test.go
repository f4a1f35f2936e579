package qdrant

import (
	"net"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func TestChecker(t *testing.T) {
	openAt := func(t *testing.T, addr string) syncd.Checker {
		t.Helper()
		conf := Plugin().Config().(*Config)
		conf.URL = addr
		conf.BatchSize = 100
		conf.Retry.MaxElapsed = 200 * time.Millisecond
		conf.Retry.Initial, conf.Retry.Max = time.Millisecond, 10*time.Millisecond
		c, err := Plugin().OpenChecker(t.Context(), conf, syncd.Env{Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	syncdtest.TestChecker(t, syncdtest.CheckerHarness{
		Open: func(t *testing.T, present []uuid.UUID) syncd.Checker {
			return openAt(t, newStub(present...).start(t))
		},
		OpenPayload: func(t *testing.T, points map[uuid.UUID]map[string]string) syncd.Checker {
			s := newStub()
			for id, texts := range points {
				s.put(id, payloadOf(texts))
			}
			return openAt(t, s.start(t))
		},
		Empty: func(t *testing.T) syncd.Checker {
			s := newStub()
			s.missing = true
			return openAt(t, s.start(t))
		},
		Unreachable: func(t *testing.T) syncd.Checker {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			newStub().register(server)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = server.Serve(l)
			}()
			c := openAt(t, l.Addr().String())
			server.Stop()
			<-ended
			return c
		},
	})
}
