package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

func TestWriteKeepsEverything(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	in := []codec.Event{
		event("page", "tombstone", nil),
		event("page", "empty", []byte{}),
		event("page", "value", []byte(`{"a":1}`)),
	}
	in[2].Headers = []codec.Header{{Name: "syncd-reason", Value: "missing"}, {Name: "empty", Value: ""}, {Name: "twice", Value: "1"}, {Name: "twice", Value: "2"}}
	if err := s.write(t.Context(), s.main, in); err != nil {
		t.Fatal(err)
	}
	for i := range in { // the bytes are the caller's again
		clear(in[i].Value)
	}
	got := read(t, bootstrap)
	if r := byKey(got, "tombstone"); len(r) != 1 || r[0].Value != nil {
		t.Errorf("tombstone: %+v", r)
	}
	if r := byKey(got, "empty"); len(r) != 1 || r[0].Value == nil || len(r[0].Value) != 0 {
		t.Errorf("empty value: %+v", r)
	}
	r := byKey(got, "value")
	if len(r) != 1 || string(r[0].Value) != `{"a":1}` || r[0].Target != "db.page" {
		t.Fatalf("value: %+v", r)
	}
	if diff := cmp.Diff(in[2].Headers, r[0].Headers); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestWriteChanges: what is told of changes is told by their own indices, though not all of them have an event.
func TestWriteChanges(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, func(c *Config) {
		c.MaxMessageBytes = 2000
		c.Event.DeleteFormat = codec.DeleteTombstone
	})
	in := make([]syncd.Change, 6)
	for i := range in {
		in[i] = change(t, "page", fmt.Sprintf("id-%d", i))
	}
	in[1].Document = nil
	in[2].ID = strings.Repeat("x", 3000)
	in[3].Document, in[3].Operation = nil, syncd.Delete
	in[4].Document, in[4].Err = nil, &syncd.DocumentError{Stage: syncd.FailedRead, Route: "db.page", Cause: errors.New("no id")}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{ID: "run-1", Targets: []syncd.Target{*in[0].Target}}); err != nil {
		t.Fatal(err)
	}
	err := s.Write(t.Context(), in)
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{1, 2}) || !errors.Is(failed.Of(1), syncd.ErrNotEncodable) || !errors.Is(failed.Of(2), syncd.ErrTooLarge) {
		t.Fatalf("error %v", err)
	}
	got := read(t, bootstrap)
	if len(got) != 4 {
		t.Errorf("%d records", len(got))
	}
	for i, c := range in {
		if i == 1 || i == 2 {
			if c.Placement != (syncd.Placement{}) || c.Bytes != 0 {
				t.Errorf("change %d was not sent: %+v, %d bytes", i, c.Placement, c.Bytes)
			}
			continue
		}
		r := byKey(got, c.ID)
		if len(r) != 1 || c.Placement != r[0].Placement || int(c.Bytes) != len(r[0].Key)+len(r[0].Value) || (r[0].Value == nil) != (i == 3) {
			t.Errorf("change %d: %+v, %d bytes; its record is %+v", i, c.Placement, c.Bytes, r)
			continue
		}
		letter := i == 4
		if names := codec.ConsumerHeaders(); slices.Contains(r[0].Headers, codec.Header{Name: "syncd-run-id", Value: "run-1"}) != letter ||
			len(r[0].Headers) == len(names) == letter || r[0].Headers[0] != (codec.Header{Name: names[0], Value: c.PointID.String()}) {
			t.Errorf("change %d: headers %v", i, r[0].Headers)
		}
	}
}

// TestMurmur2 compares the partitions of keys with Java's default partitioner: toPositive(murmur2(key)) % partitions.
func TestMurmur2(t *testing.T) {
	var in []codec.Event
	// From org.apache.kafka.common.utils.UtilsTest, to anchor the test's own implementation.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
		// What the class itself says of keys in the form of the MongoDB Kafka connector.
		`{"_id": {"$oid": "65a1b2c3d4e5f60718293a4b"}}`: 1203381335, `{"_id": "65a1b2c3d4e5f60718293a4b"}`: -1596235980,
		`{"_id": {"$binary": "ABEiM0RVZneImaq7zN3u/w==", "$type": "04"}}`: -1620078500,
		`{"_id": {"$numberLong": "42"}}`:                                  1047623362, `{"_id": 42}`: 1059205686,
		`"{\"_id\": {\"$oid\": \"65a1b2c3d4e5f60718293a4b\"}}"`:                                                         -533092426,
		`{"schema":{"type":"string","optional":false},"payload":"{\"_id\": {\"$oid\": \"65a1b2c3d4e5f60718293a4b\"}}"}`: -1293747436,
	} {
		if got := murmur2([]byte(key)); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		in = append(in, event("page", key, []byte("x")))
	}
	c := cluster(t)
	const partitions = 7
	if err := c.CreateTopic("db.page", partitions, 1); err != nil {
		t.Fatal(err)
	}
	s := startClosing(t, c.BootstrapServers(), nil)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		key := make([]byte, 1+i%40)
		for j := range key {
			key[j] = byte(random.Uint32())
		}
		in = append(in, event("page", string(key), []byte("x")))
	}
	if err := s.write(t.Context(), s.main, in); err != nil {
		t.Fatal(err)
	}
	got := read(t, c.BootstrapServers())
	if len(got) != len(in) {
		t.Fatalf("%d records, want %d", len(got), len(in))
	}
	for _, r := range got {
		if want := murmur2(r.Key) & 0x7fffffff % partitions; r.partition != want {
			t.Errorf("key %x is in partition %d, Java would choose %d", r.Key, r.partition, want)
		}
	}
}

// murmur2 is written after the description of MurmurHash2 with Kafka's seed; signed as Java's.
func murmur2(key []byte) int32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(key))
	for ; len(key) >= 4; key = key[4:] {
		k := binary.LittleEndian.Uint32(key) * m
		h = h*m ^ (k^k>>24)*m
	}
	if len(key) > 0 {
		var rest [4]byte
		copy(rest[:], key)
		h = (h ^ binary.LittleEndian.Uint32(rest[:])) * m
	}
	h = (h ^ h>>13) * m
	return int32(h ^ h>>15)
}

func TestTooLargeIsTheDocumentsFault(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, func(c *Config) { c.MaxMessageBytes = 2000 })
	in := events("page", 3)
	in[1].Value = make([]byte, 3000)
	err := s.write(t.Context(), s.main, in)
	var batch *syncd.BatchError
	if !errors.As(err, &batch) || !slices.Equal(batch.Failed(), []int{1}) {
		t.Fatalf("error %v", err)
	}
	if one := batch.Of(1); !errors.Is(one, syncd.ErrTooLarge) || errors.Is(one, syncd.ErrUnavailable) || !strings.Contains(one.Error(), "the event, 3041 bytes with its headers, ") {
		t.Errorf("event's error: %v", one)
	}
	if got := read(t, bootstrap); len(got) != 2 {
		t.Errorf("%d records, want the other 2", len(got))
	}
}

func TestFullQueueIsBackpressure(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, func(c *Config) { c.Queue.MaxMessages = 10 })
	errs := make(chan error)
	for i := range 3 {
		go func() {
			in := events("page", 300)
			for k := range in {
				in[k].Key = fmt.Appendf(nil, "%d-%d", i, k)
			}
			errs <- s.write(t.Context(), s.main, in)
		}()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := read(t, bootstrap); len(got) != 900 {
		t.Errorf("%d records, want 900", len(got))
	}
}

func TestCanceledWrite(t *testing.T) {
	c := cluster(t, "db.page")
	s := startClosing(t, c.BootstrapServers(), nil)
	if err := s.write(t.Context(), s.main, events("page", 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetBrokerDown(-1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.write(ctx, &canceling{producer: s.main, n: 50, cancel: cancel}, events("page", 50))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if batch := new(syncd.BatchError); errors.As(err, &batch) {
		t.Errorf("claims to know about each event: %v", err)
	}
	if err := s.write(ctx, s.main, events("page", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("write after cancel: %v", err)
	}
	if err := c.SetBrokerUp(-1); err != nil {
		t.Fatal(err)
	}
	// The reports of the interrupted write arrive during this one and must not disturb it.
	if err := s.write(t.Context(), s.main, events("page", 50)); err != nil {
		t.Errorf("write after the broker is back: %v", err)
	}
}

func TestCanceledWhileTheQueueIsFull(t *testing.T) {
	c := cluster(t, "db.page")
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.Queue.MaxMessages = 10 })
	if err := c.SetBrokerDown(-1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.write(ctx, &canceling{producer: s.main, n: 15, cancel: cancel}, events("page", 50))
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	if err := c.SetBrokerUp(-1); err != nil {
		t.Fatal(err)
	}
}

func TestUnacknowledgedIsUnavailable(t *testing.T) {
	c := cluster(t, "db.page")
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.DeliveryTimeout = 200 * time.Millisecond })
	if err := c.SetBrokerDown(-1); err != nil {
		t.Fatal(err)
	}
	err := s.write(t.Context(), s.main, events("page", 5))
	var batch *syncd.BatchError
	if !errors.As(err, &batch) || len(batch.Failed()) != 5 {
		t.Fatalf("error %v", err)
	}
	for _, i := range batch.Failed() {
		if one := batch.Of(i); !errors.Is(one, syncd.ErrUnavailable) || !strings.Contains(one.Error(), "db.page") {
			t.Errorf("event %d: %v", i, one)
		}
	}
}

// TestDeliveryTimeoutIsKept by a producer whose broker dies with events under way.
func TestDeliveryTimeoutIsKept(t *testing.T) {
	c := cluster(t, "db.page")
	const limit = 3 * time.Second
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.DeliveryTimeout = limit })
	if err := s.write(t.Context(), s.main, events("page", 50)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetBrokerDown(-1); err != nil {
		t.Fatal(err)
	}
	within(t, limit+2*reconnectPause, func() {
		if err := s.write(t.Context(), s.main, events("page", 50)); !errors.Is(err, syncd.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}

func TestFatalErrorEndsTheWrite(t *testing.T) {
	s := startClosing(t, cluster(t, "db.page").BootstrapServers(), nil)
	s.main.TestFatalError(ck.ErrOutOfOrderSequenceNumber, "made up")
	err := s.write(t.Context(), s.main, events("page", 5))
	if err == nil || !strings.Contains(err.Error(), "made up") {
		t.Fatalf("error %v", err)
	}
	if batch := new(syncd.BatchError); errors.As(err, &batch) {
		t.Errorf("claims to know about each event: %v", err)
	}
}

func TestIllegalTopicSendsNothing(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	in := append(events("page", 2), event("no spaces", "k", nil))
	err := s.write(t.Context(), s.main, in)
	if batch := new(syncd.BatchError); err == nil || errors.As(err, &batch) || !strings.Contains(err.Error(), "db.no spaces") {
		t.Fatalf("error %v", err)
	}
	if got := read(t, bootstrap); len(got) != 0 {
		t.Errorf("%d records were sent", len(got))
	}
}

// scripted answers each event with an error of its own.
type scripted struct {
	produce, deliver map[string]ck.ErrorCode // by key
	fullTimes        int
	taken            int // events so far, which all go to one partition
}

func (p *scripted) GetFatalError() error { return nil }

func (p *scripted) ends(_ context.Context, partitions []place) (map[place]int64, error) {
	out := map[place]int64{}
	for _, at := range partitions {
		out[at] = math.MaxInt64
	}
	return out, nil
}

func (p *scripted) Produce(m *ck.Message, reports chan ck.Event) error {
	if p.fullTimes > 0 {
		p.fullTimes--
		return ck.NewError(ck.ErrQueueFull, "", false)
	}
	if c, ok := p.produce[string(m.Key)]; ok {
		return ck.NewError(c, "", false)
	}
	r := &ck.Message{TopicPartition: m.TopicPartition, Opaque: m.Opaque}
	if c, ok := p.deliver[string(m.Key)]; ok {
		r.TopicPartition.Error = ck.NewError(c, "", false)
	} else {
		r.TopicPartition.Offset = ck.Offset(p.taken)
		p.taken++
	}
	reports <- r
	return nil
}

func TestBlame(t *testing.T) {
	s := startClosing(t, cluster(t, "db.page").BootstrapServers(), nil)
	p := &scripted{
		fullTimes: 3,
		produce: map[string]ck.ErrorCode{
			"key-0": ck.ErrMsgSizeTooLarge, "key-1": ck.ErrUnknownTopic, "key-2": ck.ErrUnknownPartition,
		},
		deliver: map[string]ck.ErrorCode{
			"key-3": ck.ErrInvalidRecord, "key-4": ck.ErrMsgTimedOut, "key-5": ck.ErrTransport, "key-6": ck.ErrUnknownTopicOrPart,
			"key-7": ck.ErrTopicAuthorizationFailed, "key-8": ck.ErrNotEnoughReplicas, "key-9": ck.ErrInvalidMsg, "key-10": ck.ErrFail,
		},
	}
	err := s.write(t.Context(), p, events("page", 12))
	var batch *syncd.BatchError
	if !errors.As(err, &batch) {
		t.Fatalf("error %v", err)
	}
	// 3 and 9 may have been refused for their company in a batch: sent alone, they are taken.
	if diff := cmp.Diff([]int{0, 1, 2, 4, 5, 6, 7, 8, 10}, batch.Failed()); diff != "" {
		t.Fatalf("failed (-want +got):\n%s", diff)
	}
	for _, i := range batch.Failed() {
		document := i == 0
		if got := !errors.Is(batch.Of(i), syncd.ErrUnavailable); got != document {
			t.Errorf("event %d: the document's fault: %v, want %v (%v)", i, got, document, batch.Of(i))
		}
	}
}

// claiming reports, for the first times of each key, that the event was delivered, but not where.
type claiming struct {
	scripted
	times map[string]int // by key
	sent  []string
}

func (p *claiming) Produce(m *ck.Message, reports chan ck.Event) error {
	p.sent = append(p.sent, string(m.Key)+string(m.Value))
	if key := string(m.Key); p.times[key] > 0 {
		p.times[key]--
		claim := &ck.Message{TopicPartition: m.TopicPartition, Opaque: m.Opaque}
		claim.TopicPartition.Offset = ck.OffsetInvalid
		reports <- claim
		return nil
	}
	return p.scripted.Produce(m, reports)
}

// TestClaimIsNoProof: what was acknowledged without an offset may never have arrived. It is sent anew, with what must not be
// overtaken by it.
func TestClaimIsNoProof(t *testing.T) {
	s := startClosing(t, cluster(t, "db.page").BootstrapServers(), nil)
	var retried []string
	s.env.Retried = func(reason string) { retried = append(retried, reason) }
	p := &claiming{times: map[string]int{"a": 2}}
	in := []codec.Event{event("page", "a", []byte("1")), event("page", "b", []byte("2")), event("page", "a", []byte("3"))}
	if err := s.write(t.Context(), p, in); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a1", "b2", "a3", "a1", "a3"}, p.sent); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	for i, e := range in {
		if !e.Placement.Known {
			t.Errorf("event %d: where it is was told, but not passed on", i)
		}
	}
	if len(retried) != 1 {
		t.Errorf("told to have tried again: %q", retried)
	}
}

// TestClaimsEnd: brokers that never say where are not asked for ever.
func TestClaimsEnd(t *testing.T) {
	s := startClosing(t, cluster(t, "db.page").BootstrapServers(), nil)
	p := &claiming{times: map[string]int{"key-1": 1000}}
	err := s.write(t.Context(), p, events("page", 3))
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{1}) || !errors.Is(failed.Of(1), syncd.ErrUnavailable) || syncd.HintOf(failed.Of(1)) == "" {
		t.Fatalf("error %v", err)
	}
	if want := 3 + maxClaims; len(p.sent) != want {
		t.Errorf("%d events were sent, want %d: %q", len(p.sent), want, p.sent)
	}
}

// refusingFirst refuses the first of the events it is given as too large, and takes the others.
type refusingFirst struct {
	scripted
	n int
}

func (p *refusingFirst) Produce(m *ck.Message, reports chan ck.Event) error {
	p.n++
	r := &ck.Message{TopicPartition: m.TopicPartition, Opaque: m.Opaque}
	r.TopicPartition.Offset = ck.Offset(p.n)
	if p.n == 1 {
		r.TopicPartition.Error = ck.NewError(ck.ErrMsgSizeTooLarge, "", false)
	}
	reports <- r
	return nil
}

// An event that is sent again must not arrive behind a later one of its key, whose content is newer.
func TestSendingAgainKeepsTheOrderOfAKey(t *testing.T) {
	bootstrap := cluster(t, "db.page", "db.epic").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	in := []codec.Event{
		event("page", "a", []byte("1")), event("page", "b", []byte("2")), event("page", "a", []byte("3")),
		event("epic", "a", []byte("4")), event("page", "a", nil),
	}
	if err := s.write(t.Context(), &refusingFirst{}, in); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range read(t, bootstrap) { // what the first producer took is not here
		got = append(got, string(r.Key)+string(r.Value))
	}
	if diff := cmp.Diff([]string{"a1", "a3", "a"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// headersOf keeps the headers of the last event.
type headersOf struct {
	scripted
	headers []ck.Header
}

func (p *headersOf) Produce(m *ck.Message, reports chan ck.Event) error {
	p.headers = slices.Clone(m.Headers)
	return p.scripted.Produce(m, reports)
}

func TestEmptyHeaderIsNotNull(t *testing.T) {
	s := startClosing(t, cluster(t, "db.page").BootstrapServers(), nil)
	in := events("page", 1)
	in[0].Headers = []codec.Header{{Name: "a"}, {Name: "b", Value: "x"}, {Name: "c"}}
	var p headersOf
	if err := s.write(t.Context(), &p, in); err != nil {
		t.Fatal(err)
	}
	for _, h := range p.headers {
		if h.Value == nil {
			t.Errorf("header %s has a null value", h.Key)
		}
	}
}

// TestTheHeadersThatAreSent: those that the configuration names reach the broker, and no others.
func TestTheHeadersThatAreSent(t *testing.T) {
	target := event("page", "", nil).Target
	in := []syncd.Change{{Target: &target, ID: "a", Operation: syncd.Delete, Reason: syncd.ReasonOrphan}}
	for name, c := range map[string]struct{ set, want []string }{
		"by default": {nil, []string{codec.HeaderPointID, codec.HeaderContentType}},
		"two":        {[]string{codec.HeaderReason, codec.HeaderPointID}, []string{codec.HeaderPointID, codec.HeaderReason}},
		"all":        {[]string{allHeaders}, codec.Headers()},
		"none":       {[]string{noHeaders}, nil},
		"no list":    {[]string{}, codec.ConsumerHeaders()},
	} {
		bootstrap := cluster(t, "db.page").BootstrapServers()
		s := startClosing(t, bootstrap, func(conf *Config) {
			if c.set != nil {
				conf.Headers = c.set
			}
		})
		if err := s.Write(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range read(t, bootstrap)[0].Headers {
			got = append(got, h.Name)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// TestARecordsTimeIsWhenItsDocumentWasRead, since no header says so by default; that of a dead letter is when it was sent.
func TestARecordsTimeIsWhenItsDocumentWasRead(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	target := event("page", "", nil).Target
	at := time.Date(2024, 5, 6, 7, 8, 9, 123_456_789, time.UTC)
	in := []syncd.Change{
		{Target: &target, ID: "a", Operation: syncd.Delete, Reason: syncd.ReasonOrphan, ReadAt: at.UnixNano()},
		{Target: &target, ID: "b", Operation: syncd.Delete, Reason: syncd.ReasonOrphan, ReadAt: at.UnixNano(), Err: errors.New("refused")},
	}
	began := time.Now().Truncate(time.Millisecond)
	if err := s.Write(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	got := read(t, bootstrap)
	if event := byKey(got, "a"); len(event) != 1 || !event[0].at.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("the event: %+v, want the time %s", event, at)
	}
	if letter := byKey(got, "b"); len(letter) != 1 || letter[0].at.Before(began) {
		t.Errorf("the dead letter: %+v, want a time from %s on", letter, began)
	}
}

// TestPreviewKnowsWhatIsTooLarge, to the byte: librdkafka takes what Preview takes, and refuses the rest, whatever headers there are.
func TestPreviewKnowsWhatIsTooLarge(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	for name, headers := range map[string][]string{"those for consumers": nil, "all": {allHeaders}, "none": {noHeaders}} {
		c := change(t, "page", strings.Repeat("x", 1000))
		c.PointID, c.ReadAt, c.Reason, c.Operation = uuid.New(), time.Now().UnixNano(), syncd.ReasonMissing, syncd.Insert
		conf := config(bootstrap, func(c *Config) { c.Headers = headers })
		least := sort.Search(10_000, func(n int) bool {
			conf.MaxMessageBytes = n
			_, _, err := conf.Preview(&c)
			return err == nil
		})
		for limit := least - 2; limit <= least+1; limit++ {
			s := startClosing(t, bootstrap, func(c *Config) { c.MaxMessageBytes, c.Headers = limit, headers })
			if err := s.Abilities().Prepare(t.Context(), syncd.Run{ID: uuid.NewString(), Targets: []syncd.Target{*c.Target}}); err != nil {
				t.Fatal(err)
			}
			_, _, preview := s.config.Preview(&c)
			sent := s.Write(t.Context(), []syncd.Change{c})
			if (preview == nil) != (limit >= least) || (sent == nil) != (limit >= least) {
				t.Errorf("%s, at most %d bytes, where %d are needed: Preview %v, Write %v", name, limit, least, preview, sent)
			}
			var batch *syncd.BatchError
			if sent != nil && (!errors.As(sent, &batch) || batch.Of(0).Error() != preview.Error() || !errors.Is(preview, syncd.ErrTooLarge) ||
				!strings.Contains(preview.Error(), fmt.Sprintf("the event, %d bytes with its headers, does not fit", least))) {
				t.Errorf("%s, where %d bytes are needed: Preview %v, Write %v", name, least, preview, sent)
			}
		}
	}
}
