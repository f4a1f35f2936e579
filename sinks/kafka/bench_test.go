package kafka

import (
	"strings"
	"syscall"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

const benchEvents = 1000

func benchInput() []codec.Event {
	in := events("page", benchEvents)
	for i := range in {
		in[i].Value = make([]byte, 700)
		in[i].Headers = []codec.Header{
			{Name: "syncd-run-id", Value: "0190163d-8694-739b-aea5-966c26f8ad90"}, {Name: "syncd-reason", Value: "missing"},
			{Name: "syncd-point-id", Value: "74738ff5-5367-5958-9aee-98fffdcd1876"}, {Name: "syncd-content-type", Value: "page"},
		}
	}
	return in
}

func perEvent(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed())/float64(b.N*benchEvents)/float64(time.Microsecond), "µs/event")
}

// BenchmarkWrite writes batches of 1,000 events of 700 bytes with four headers.
func BenchmarkWrite(b *testing.B) {
	s := startClosing(b, cluster(b, "db.page").BootstrapServers(), nil)
	in := benchInput()
	b.ReportAllocs()
	for b.Loop() {
		if err := s.write(b.Context(), s.main, in); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b)
}

// BenchmarkWriteChanges is BenchmarkWrite with the encoding, of documents of 700 bytes, by the headers that are sent. The time of
// all processors that it takes is that of the broker in process as well, which does not look at the headers.
func BenchmarkWriteChanges(b *testing.B) {
	for _, c := range []struct {
		name    string
		headers []string
	}{
		{"all five", []string{allHeaders}},
		{"four", codec.Headers()[:4]},
		{"default", nil},
		{"two", codec.Headers()[:2]},
		{"none", []string{noHeaders}},
	} {
		b.Run(c.name, func(b *testing.B) { benchChanges(b, c.headers) })
	}
}

func benchChanges(b *testing.B, headers []string) {
	s := startClosing(b, cluster(b, "db.page").BootstrapServers(), func(c *Config) { c.Headers = headers })
	in := make([]syncd.Change, benchEvents)
	target := event("page", "", nil).Target
	for i := range in {
		id := bson.NewObjectID()
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: id}, {Key: "text", Value: strings.Repeat("x", 650)}})
		if err != nil {
			b.Fatal(err)
		}
		in[i] = syncd.Change{Target: &target, ID: id.Hex(), PointID: uuid.New(), ReadAt: time.Now().UnixNano(), Document: bsondoc.NewDocument(raw)}
	}
	b.ReportAllocs()
	began := processorTime(b)
	for b.Loop() {
		if err := s.Write(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b)-began)/float64(b.N*benchEvents)/float64(time.Microsecond), "cpu-µs/event")
	perEvent(b)
}

// BenchmarkBareProduce is what a careful programmer would write by hand with the same client library and settings.
func BenchmarkBareProduce(b *testing.B) {
	c := config(cluster(b, "db.page").BootstrapServers(), nil)
	conf := c.librdkafka()
	delete(conf, "go.logs.channel.enable")
	p, err := ck.NewProducer(&conf)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	in := benchInput()
	topic := "db.page"
	b.ReportAllocs()
	for b.Loop() {
		reports := make(chan ck.Event, len(in))
		for i := range in {
			headers := make([]ck.Header, len(in[i].Headers))
			for k, h := range in[i].Headers {
				headers[k] = ck.Header{Key: h.Name, Value: []byte(h.Value)}
			}
			err := p.Produce(&ck.Message{
				TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny},
				Key:            in[i].Key, Value: in[i].Value, Headers: headers, Opaque: i,
			}, reports)
			if err != nil {
				b.Fatal(err)
			}
		}
		for range in {
			if m := (<-reports).(*ck.Message); m.TopicPartition.Error != nil {
				b.Fatal(m.TopicPartition.Error)
			}
		}
	}
	perEvent(b)
}

// processorTime is what the process has used of all processors.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
