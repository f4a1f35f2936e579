package kafka

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/kafkaconn"
)

// notableOutage is how long a broker must be away before that is told: connections that nobody uses are cut, too.
const notableOutage = time.Second

// client is a librdkafka producer together with the goroutines that read what it has to say.
type client struct {
	*ck.Producer
	admin *ck.AdminClient
	sink  *Sink
	quiet chan struct{} // closed when nothing that librdkafka says is read any more
	read  sync.WaitGroup

	produced atomic.Int64 // events that were, or soon will be, handed to librdkafka
	retries  int64        // requests sent again that were told of; readEvents' alone
	resent   int64        // events, likewise

	troubles *kafkaconn.Troubles
}

func (s *Sink) newClient(conf ck.ConfigMap) (*client, error) {
	p, err := ck.NewProducer(&conf)
	if err != nil {
		err := fmt.Errorf("configuring the Kafka client: %s", s.scrub(err))
		if strings.Contains(err.Error(), "ssl.") {
			return nil, syncd.Hint(err, "sink.kafka.security.tls: ca_file, cert_file and key_file must be PEM files that can be read, and key_password that of key_file")
		}
		return nil, syncd.Hint(err,
			"sink.kafka.properties must be properties of librdkafka %s; see its CONFIGURATION.md", version())
	}
	c := &client{Producer: p, sink: s, quiet: make(chan struct{}), troubles: kafkaconn.NewTroubles(s.logger, s.replacer, func(text string) { s.contact.Failed(text, 0) })}
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

// readEvents ends when the client is quiet. Delivery reports have channels of their own.
func (c *client) readEvents() {
	for {
		select {
		case e := <-c.Events():
			switch e := e.(type) {
			case ck.Error:
				c.troubles.Meet(e)
			case *ck.Stats:
				c.count(e)
			}
		case <-c.quiet:
			return
		}
	}
}

// count tells of brokers that can be reached, and of what librdkafka has sent again since it was last asked; it has no event for that. Requests to produce are not
// among those that it counts as retried, but the events in them are counted each time that they are sent.
func (c *client) count(s *ck.Stats) {
	var stats struct {
		Brokers map[string]struct {
			State   string `json:"state"`
			Retries int64  `json:"txretries"`
		} `json:"brokers"`
		Sent int64 `json:"txmsgs"`
	}
	if json.Unmarshal([]byte(s.String()), &stats) != nil {
		return // a later library's form; the counter is for information
	}
	var n int64
	for _, b := range stats.Brokers {
		n += b.Retries
		if b.State == "UP" { // while another can't be reached, that is told all the same: see contact
			c.sink.contact.Answered()
		}
	}
	for ; c.retries < n; c.retries++ {
		c.sink.env.Retried("broker request")
	}
	if again := stats.Sent - c.produced.Load(); again > c.resent {
		c.sink.env.Retried("produce request")
		c.resent = again
	}
}

// readLogs ends when the client is quiet.
func (c *client) readLogs() {
	for {
		select {
		case l := <-c.Logs():
			c.troubles.Log(l)
		case <-c.quiet:
			return
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
	close(c.quiet)
	c.read.Wait()
	end(c.Producer)
}

// end ends a producer of which nobody reads events and log any more, with every goroutine and thread of it. The library reads
// librdkafka's queues for at least 100 ms each time, unless something arrives in them. So a last error is made here, which comes
// with a line of log: whoever has read one of them waits for a reader, since the channels have no room, or for the end. There is no
// other way to have something arrive in both queues. Where the producer has had a fatal error already, nothing arrives, and its end
// takes its time.
func end(p *ck.Producer) {
	p.TestFatalError(ck.ErrFail, "closing")
	p.Close()
}
