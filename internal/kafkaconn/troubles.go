package kafkaconn

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd/internal/dial"
)

// Troubles are the errors that a client of librdkafka tells of: until it has started they are collected, to say why it can't; later they
// are told. It is safe for concurrent use.
type Troubles struct {
	logger   *slog.Logger
	scrubber dial.Scrubber
	told     func(text string) // of an error, once the client has started

	mu       sync.Mutex
	starting bool                    // errors are collected, not told
	causes   map[ck.ErrorCode]string // the last error of each kind while starting; ErrFail is one that was only logged
	hopeless context.CancelFunc
}

// NewTroubles returns the troubles of a client that starts. Once it has, told is called with the text of each error.
func NewTroubles(logger *slog.Logger, scrubber dial.Scrubber, told func(text string)) *Troubles {
	return &Troubles{logger: logger, scrubber: scrubber, told: told, starting: true, causes: map[ck.ErrorCode]string{}}
}

// OnHopeless has stop called when waiting longer for a broker makes no sense.
func (t *Troubles) OnHopeless(stop context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hopeless = stop
	t.judge()
}

// judge stops the start when the credentials were refused, or when every broker is down and one of them was so because of
// certificates; a broker that merely can't be reached may be starting itself. The caller holds mu.
func (t *Troubles) judge() {
	_, down := t.causes[ck.ErrAllBrokersDown]
	_, auth := t.causes[ck.ErrAuthentication]
	_, hangsUp := t.causes[ck.ErrSaslAuthenticationFailed]
	_, tls := t.causes[ck.ErrSsl]
	if (auth || down && (tls || hangsUp)) && t.hopeless != nil {
		t.hopeless()
	}
}

// Started ends the collecting and returns what was collected.
func (t *Troubles) Started() map[ck.ErrorCode]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.starting = false
	return maps.Clone(t.causes)
}

// Meet takes note of an error.
func (t *Troubles) Meet(err ck.Error) {
	text := Clean(t.scrubber, err.Error())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.starting {
		t.causes[cause(err.Code(), text)] = text
		t.judge()
		return
	}
	t.told(text)
}

// cause is what a failure is about, where librdkafka knows no more than that a connection broke.
func cause(code ck.ErrorCode, text string) ck.ErrorCode {
	switch {
	case brokenHandshake(code, text):
		return ck.ErrTransport
	case code != ck.ErrTransport && code != ck.ErrFail:
		return code
	case strings.Contains(text, "SASL authentication error"): // by a broker that hangs up instead of answering
		return ck.ErrSaslAuthenticationFailed
	case strings.Contains(text, "SSL routines::"): // the other side's alert
		return ck.ErrSsl
	}
	return code
}

// Log takes note of a line of librdkafka's log.
func (t *Troubles) Log(l ck.LogEvent) {
	if l.Tag == "FAIL" { // a broker that hangs up is not among the error events
		t.mu.Lock()
		if t.starting {
			text := Clean(t.scrubber, l.Message)
			t.causes[cause(ck.ErrFail, text)] = text
			t.judge()
		}
		t.mu.Unlock()
	}
	if t.logger.Enabled(context.Background(), slog.LevelDebug) {
		t.logger.Debug("librdkafka: "+t.scrubber.Replace(l.Message), "tag", l.Tag)
	}
}
