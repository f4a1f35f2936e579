package integration

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/syncd-io/syncd/integration/kafka"
	"github.com/syncd-io/syncd/sandbox/kafkatest"
	sink "github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestClusterSuite runs the suite of clusters with transactions that carry changes, too.
func TestClusterSuite(t *testing.T) {
	b := broker(t)
	p, err := kafkatest.Listen(b.Advertised())
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, p.Close)
	p.Serve(b.Addr(kafka.Proxied))
	at := newPlace(t, "", kafkaAddr(t))
	syncdtest.TestCluster(t, kafkatest.Cluster(p, 3*time.Second, func(c *sink.Config) {
		c.TopicPrefix, c.Delivery, c.Transactions.ID = at.name, "exactly_once", at.name
	}, func(t *testing.T) (ids []string) {
		at.read(t, func(r *kgo.Record) { ids = append(ids, string(r.Key)) }) // the names of marks among them
		return ids
	}))
}
