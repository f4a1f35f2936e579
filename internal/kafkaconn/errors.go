package kafkaconn

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/dial"
)

// Connection is what can be said of a connection to the brokers that fails.
type Connection struct {
	Section  string // the path of the plugin's settings, for hints
	Servers  string
	Security *Security
	Scrubber dial.Scrubber
}

// Unreachable tells errors that say no more than that no broker answered in time.
func Unreachable(err error) bool {
	k, ok := errors.AsType[ck.Error](err)
	return ok && (k.IsTimeout() || k.Code() == ck.ErrTransport || k.Code() == ck.ErrAllBrokersDown || brokenHandshake(k.Code(), k.Error()))
}

// brokenHandshake tells a connection that broke before the broker was asked to authenticate anybody: librdkafka gives it the code of
// credentials that were refused, and says only in the text that the reason is on this side.
func brokenHandshake(code ck.ErrorCode, text string) bool {
	return code == ck.ErrAuthentication && strings.Contains(text, "mechanism handshake failed: Local: ")
}

// Explain tells apart why the brokers could not be asked, from the errors that librdkafka met while trying.
func (c *Connection) Explain(ctx context.Context, err error, causes map[ck.ErrorCode]string, patience time.Duration) error {
	sasl := &c.Security.SASL
	for _, code := range []ck.ErrorCode{ck.ErrAuthentication, ck.ErrSaslAuthenticationFailed, ck.ErrUnsupportedSaslMechanism} {
		text, ok := causes[code]
		switch {
		case !ok:
		case sasl.Mechanism == oauthBearer:
			return syncd.Hint(fmt.Errorf("authenticating at Kafka at %s by %s%s: %s", c.Servers, sasl.Mechanism, quoted(" as ", sasl.OAuth.ClientID), text),
				"%s.security.sasl.oauth: token_url must answer to client_id and client_secret with a token that the brokers accept", c.Section)
		default:
			return syncd.Hint(fmt.Errorf("authenticating at Kafka at %s by %s as %q: %s", c.Servers, sasl.Mechanism, sasl.Username, text),
				"%s.security.sasl: mechanism, username and password must be those that the brokers expect", c.Section)
		}
	}
	if text, ok := causes[ck.ErrSsl]; ok {
		return c.explainTLS(ctx, text)
	}
	if k, ok := errors.AsType[ck.Error](err); ok && (k.Code() == ck.ErrClusterAuthorizationFailed || k.Code() == ck.ErrSecurityDisabled) {
		return fmt.Errorf("connecting to Kafka at %s: %s", c.Servers, c.Scrubber.Replace(err.Error()))
	}
	hint := "check that " + c.Section + ".bootstrap_servers names running brokers that can be reached from here"
	text := "no answer"
	for _, code := range []ck.ErrorCode{ck.ErrFail, ck.ErrTransport, ck.ErrResolve} {
		if t, ok := causes[code]; ok {
			text = t
		}
	}
	if c.Security.TLS.missed(ctx, refusedBroker.FindStringSubmatch(text)) {
		return syncd.Hint(fmt.Errorf("connecting to Kafka at %s with TLS: the broker asks for a client certificate, and there is none: %s", c.Servers, text),
			"%s.%s", c.Section, clientCertificateHint)
	}
	switch {
	case c.Security.TLS.Enabled && (text == "no answer" || strings.Contains(text, "SSL_HANDSHAKE")):
		hint += ", and that they speak TLS there: " + c.Section + ".security.tls.enabled"
	case text != "no answer" && !strings.Contains(text, "Connect to ") && !strings.Contains(text, "Failed to resolve"):
		hint = "something listens there but hangs up: check " + c.Section + ".security, and that it is a Kafka broker"
	}
	return syncd.Hint(fmt.Errorf("connecting to Kafka at %s: %w for %s: %s", c.Servers, syncd.ErrUnavailable, patience, text), "%s", hint)
}

func quoted(before, text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%s%q", before, text)
}

// Passing tells answers about a topic that soon become others: it was created a moment ago, and this broker does not know of it
// yet, or its leader does not serve it yet; or another leader is being elected.
func Passing(err error) bool {
	switch Code(err) {
	case ck.ErrNotLeaderForPartition, ck.ErrLeaderNotAvailable, ck.ErrReplicaNotAvailable, ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic,
		ck.ErrUnknownPartition, ck.ErrFencedLeaderEpoch, ck.ErrUnknownLeaderEpoch, ck.ErrOffsetNotAvailable, ck.ErrKafkaStorageError:
		return true
	}
	return false
}

// Code is librdkafka's code of an error.
func Code(err error) ck.ErrorCode {
	if k, ok := errors.AsType[ck.Error](err); ok {
		return k.Code()
	}
	return ck.ErrFail
}

// threadOf and ageOf match what librdkafka puts around a message for its own developers.
var (
	threadOf = regexp.MustCompile(`^\[thrd:[^\]]*\]: `)
	ageOf    = regexp.MustCompile(` \(after \d+ms in state [^()]*(\([^()]*\)[^()]*)*\)$`)
)

// Clean gives a message of librdkafka as people should see it.
func Clean(scrubber dial.Scrubber, text string) string {
	return scrubber.Replace(ageOf.ReplaceAllString(threadOf.ReplaceAllString(text, ""), ""))
}
