package kafkaconn

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd/internal/dial"
)

// The messages are librdkafka 2.14's: of a broker that went away during the handshake, and of one that knows the mechanism not.
const (
	handshakeBroke   = "sasl_plaintext://k:9092/1: SASL SCRAM-SHA-256 mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms: (n/a)"
	handshakeRefused = "sasl_plaintext://k:9092/1: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN"
)

func TestUnreachable(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"a timeout":                       {ck.NewError(ck.ErrTimedOut, "Local: Timed out", false), true},
		"a broken connection":             {ck.NewError(ck.ErrTransport, "Connection refused", false), true},
		"all brokers are down":            {ck.NewError(ck.ErrAllBrokersDown, "1/1 brokers are down", false), true},
		"a broker gone in the handshake":  {ck.NewError(ck.ErrAuthentication, handshakeBroke, false), true},
		"a mechanism that is not known":   {ck.NewError(ck.ErrAuthentication, handshakeRefused, false), false},
		"a password that is wrong":        {ck.NewError(ck.ErrAuthentication, "SASL authentication error: Authentication failed", false), false},
		"a topic that is not there":       {ck.NewError(ck.ErrUnknownTopicOrPart, "Broker: Unknown topic or partition", false), false},
		"an error that is not librdkafka": {errors.New(handshakeBroke), false},
	} {
		if got := Unreachable(c.err); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestAStartGoesOnWhereABrokerWentAway, and ends at once where it refuses the login.
func TestAStartGoesOnWhereABrokerWentAway(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		ends bool
	}{
		"gone in the handshake":        {handshakeBroke, false},
		"a mechanism it does not know": {handshakeRefused, true},
	} {
		troubles := NewTroubles(slog.New(slog.DiscardHandler), dial.Scrubber{}, func(string) {})
		ctx, stop := context.WithCancel(t.Context())
		troubles.OnHopeless(stop)
		troubles.Meet(ck.NewError(ck.ErrAuthentication, c.text, false))
		if ended := ctx.Err() != nil; ended != c.ends {
			t.Errorf("%s: ended %t", name, ended)
		}
		stop()
	}
}
