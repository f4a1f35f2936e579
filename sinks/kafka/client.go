package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
)

// warnEvery limits repeated warnings: librdkafka reports every attempt at every broker.
const warnEvery = 10 * time.Second

// client is a librdkafka producer together with the goroutines that read what it has to say.
type client struct {
	*ck.Producer
	admin *ck.AdminClient
	sink  *Sink
	read  sync.WaitGroup

	mu       sync.Mutex
	starting bool                    // errors are collected, not logged
	causes   map[ck.ErrorCode]string // the last error of each kind while starting; ErrFail is one that was only logged
	hopeless context.CancelFunc
	warned   time.Time
	held     int // warnings held back since
}

func (s *Sink) newClient(conf ck.ConfigMap) (*client, error) {
	p, err := ck.NewProducer(&conf)
	if err != nil {
		return nil, syncd.Hint(fmt.Errorf("configuring the Kafka client: %s", s.scrub(err)),
			"sink.kafka.properties must be properties of librdkafka %s; see its CONFIGURATION.md", version())
	}
	c := &client{Producer: p, sink: s, starting: true, causes: map[ck.ErrorCode]string{}}
	if c.admin, err = ck.NewAdminClientFromProducer(p); err != nil {
		p.Close()
		return nil, fmt.Errorf("configuring the Kafka client: %s", s.scrub(err))
	}
	c.read.Go(c.readEvents)
	c.read.Go(c.readLogs)
	return c, nil
}

func version() string {
	_, v := ck.LibraryVersion()
	return v
}

// onHopeless has stop called when waiting longer for a broker makes no sense.
func (c *client) onHopeless(stop context.CancelFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hopeless = stop
	c.judge()
}

// judge stops the start when every broker is down and one of them has refused the credentials or the certificates; a
// broker that merely can't be reached may be starting itself. The caller holds mu.
func (c *client) judge() {
	_, down := c.causes[ck.ErrAllBrokersDown]
	_, auth := c.causes[ck.ErrAuthentication]
	_, tls := c.causes[ck.ErrSsl]
	if down && (auth || tls) && c.hopeless != nil {
		c.hopeless()
	}
}

// started ends the collecting and returns what was collected.
func (c *client) started() map[ck.ErrorCode]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting = false
	return maps.Clone(c.causes)
}

// readEvents ends when Close closes the channel. Delivery reports have channels of their own.
func (c *client) readEvents() {
	for e := range c.Events() {
		if err, ok := e.(ck.Error); ok {
			c.meet(err)
		}
	}
}

func (c *client) meet(err ck.Error) {
	text := c.sink.clean(err.Error())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starting {
		code := err.Code()
		if code == ck.ErrTransport && strings.Contains(text, "SASL authentication error") {
			code = ck.ErrSaslAuthenticationFailed // a broker that hangs up instead of answering
		}
		c.causes[code] = text
		c.judge()
		return
	}
	if time.Since(c.warned) < warnEvery {
		c.held++
		return
	}
	c.sink.logger.Warn("trouble with a Kafka broker; events wait and are retried", "error", text, "held_back", c.held)
	c.warned, c.held = time.Now(), 0
}

// readLogs ends when Close closes the channel.
func (c *client) readLogs() {
	for l := range c.Logs() {
		if l.Tag == "FAIL" { // a broker that hangs up is not among the error events
			c.mu.Lock()
			if c.starting {
				c.causes[ck.ErrFail] = c.sink.clean(l.Message)
			}
			c.mu.Unlock()
		}
		if c.sink.logger.Enabled(context.Background(), slog.LevelDebug) {
			c.sink.logger.Debug("librdkafka: "+c.sink.replacer.Replace(l.Message), "tag", l.Tag)
		}
	}
}

// close waits up to patience for what is in the queue, drops the rest and ends every goroutine and thread.
// Producer.Flush is not used: it leaves a goroutine that touches the handle after it was freed.
func (c *client) close(patience time.Duration) {
	if patience > 0 && c.Len() > 0 {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(patience); c.Len() > 0 && time.Now().Before(end); {
			<-tick.C
		}
	}
	c.Close()
	c.read.Wait()
}
