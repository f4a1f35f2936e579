package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
	"github.com/syncd-io/syncd/sandbox/kafkatest"
	"github.com/syncd-io/syncd/sinks/kafka"
	"github.com/syncd-io/syncd/syncdtest"
)

// clusterBroker is a broker behind a proxy.
func clusterBroker(t *testing.T) (*kafkaserver.Server, *kafkatest.Proxy) {
	t.Helper()
	p, err := kafkatest.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	b := kafkaBroker(t, kafkaserver.Config{Advertise: p.Addr(), MinSession: time.Second})
	p.Serve(b.Addr())
	return b, p
}

// TestKafkaCluster runs the suite of clusters with a sink that has transactions. One that has none differs in who makes them alone.
func TestKafkaCluster(t *testing.T) {
	b, p := clusterBroker(t)
	syncdtest.TestCluster(t, kafkatest.Cluster(p, 2*time.Second, exactlyOnce, func(t *testing.T) []string {
		var topics, ids []string
		for _, target := range syncdtest.SinkTargets() {
			topics = append(topics, kafkaRoute(target))
		}
		for _, r := range consume(t, b.Addr(), "", "", topics...) {
			ids = append(ids, string(r.Key))
		}
		return ids
	}))
}

// party is a process of a cluster, which keeps what it was told.
type party struct {
	syncd.Cluster
	mu    sync.Mutex
	owned map[int]bool
	had   map[int]syncd.Tenure // the last of each lane
	lost  int
	read  map[string]string
	stop  context.CancelFunc
	left  chan error

	losing func()                       // is called by Losing; these are set before the process joins
	owning func(tenures []syncd.Tenure) // is called by Own, with mu held
}

// clusterOptions are those of the clusters here.
func clusterOptions(name string) syncd.ClusterOptions {
	return syncd.ClusterOptions{
		Group: "group", Topic: "lanes", Lanes: 2, Replicas: 1, Session: 2 * time.Second, Leave: time.Second, ProcessName: name,
	}
}

// openParty opens a process of a cluster, which is closed at the end.
func openParty(t *testing.T, s syncd.Sink, o syncd.ClusterOptions) *party {
	t.Helper()
	c, err := s.Abilities().Cluster(t.Context(), o)
	if err != nil {
		t.Fatalf("%v (%s)", err, syncd.HintOf(err))
	}
	p := &party{Cluster: c, owned: map[int]bool{}, had: map[int]syncd.Tenure{}, read: map[string]string{}, left: make(chan error, 1)}
	t.Cleanup(func() {
		if p.stop != nil {
			p.stop()
			<-p.left
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *party) join(t *testing.T) {
	t.Helper()
	var ctx context.Context
	ctx, p.stop = context.WithCancel(context.WithoutCancel(t.Context()))
	go func() {
		defer close(p.left)
		p.left <- p.Join(ctx, syncd.Member{
			Read: func(m syncd.LaneMark) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.read[m.Name] = string(m.Value)
			},
			CaughtUp: func() {},
			Own: func(tenures []syncd.Tenure) {
				p.mu.Lock()
				defer p.mu.Unlock()
				if p.owning != nil {
					p.owning(tenures)
				}
				for _, t := range tenures {
					p.owned[t.Lane], p.had[t.Lane] = true, t
				}
			},
			Losing: func(_ context.Context, lanes []int) {
				if p.losing != nil {
					p.losing()
				}
				p.disown(lanes)
			},
			Lost: func(lanes []int) {
				p.disown(lanes)
				p.mu.Lock()
				defer p.mu.Unlock()
				p.lost += len(lanes)
			},
		})
	}()
}

// tenure is the last that the process had of a lane.
func (p *party) tenure(lane int) []syncd.Tenure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return []syncd.Tenure{p.had[lane]}
}

func (p *party) disown(lanes []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range lanes {
		delete(p.owned, l)
	}
}

// owns waits until a process owns so many lanes.
func (p *party) owns(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lanes are owned", n), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.owned) == n
	})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// ends waits until Join returns.
func (p *party) ends(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.left:
		return err
	case <-time.After(60 * time.Second):
		t.Fatal("Join did not return")
		return nil
	}
}

func (p *party) commit(t *testing.T, name, value string) error {
	return p.Commit(t.Context(), p.tenure(1), nil, []syncd.LaneMark{{Lane: 1, Mark: syncd.Mark{Name: name, Value: []byte(value)}}})
}

// wantError wants an error with a text, and a hint with another.
func wantError(t *testing.T, err error, text, hint string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(syncd.HintOf(err), hint) {
		t.Errorf("error %v, hint %q; want one with %q, and a hint with %q", err, syncd.HintOf(err), text, hint)
	}
}

func sessions(t *testing.T) *kafkaserver.Server {
	return kafkaBroker(t, kafkaserver.Config{MinSession: time.Second})
}

// TestKafkaClusterOfItsOwn has a sink without transactions: the cluster makes its own, and takes marks alone.
func TestKafkaClusterOfItsOwn(t *testing.T) {
	b := sessions(t)
	s := closingKafka(t, b.Addr(), func(c *kafka.Config) {
		createTopics(c)
		c.TopicPrefix = "test"
	})
	if err := prepare(t, s, page); err != nil {
		t.Fatal(err)
	}
	p := openParty(t, s, clusterOptions("one"))
	p.join(t)
	p.owns(t, 2)
	if err := p.commit(t, "progress", "1"); err != nil {
		t.Fatal(err)
	}
	err := p.Commit(t.Context(), p.tenure(0), pages(1, 10), nil)
	wantError(t, err, "exactly_once", "")
	if err := s.Write(t.Context(), pages(3, 10)); err != nil { // which is none of the cluster's business
		t.Fatal(err)
	}
	eventually(t, "the mark is read", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.read["progress"] == "1"
	})
	if n := len(consume(t, b.Addr(), "", "", "test.lanes")); n != 1 {
		t.Errorf("the topic of lanes holds %d records, want 1", n)
	}
}

func TestKafkaClusterTopic(t *testing.T) {
	b := sessions(t)
	var log bytes.Buffer
	s, err := kafkaSink(t.Context(), b.Addr(), slog.New(slog.NewTextHandler(&log, nil)), func(*kafka.Config) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if n := openParty(t, s, clusterOptions("one")).Lanes(); n != 2 {
		t.Errorf("%d lanes were made, want 2", n)
	}
	if policy := b.Cluster().TopicInfo("lanes").Configs["cleanup.policy"]; policy == nil || *policy != "compact" {
		t.Errorf("the topic was made with cleanup.policy %v", policy)
	}
	if strings.Contains(log.String(), "cluster.partitions") {
		t.Errorf("log of a topic as it is wanted:\n%s", log.String())
	}
	more := clusterOptions("two")
	more.Lanes = 7
	if n := openParty(t, s, more).Lanes(); n != 2 {
		t.Errorf("a topic of 2 partitions is %d lanes", n)
	}
	if !strings.Contains(log.String(), "cluster.partitions=7") {
		t.Errorf("log of a topic with fewer partitions:\n%s", log.String())
	}
	if err := b.CreateTopic("deleting", 2); err != nil {
		t.Fatal(err)
	}
	other := clusterOptions("three")
	other.Topic = "deleting"
	_, err = s.Abilities().Cluster(t.Context(), other)
	wantError(t, err, "cleanup.policy=delete", "cleanup.policy=compact")
	other.Topic = "no topic"
	_, err = s.Abilities().Cluster(t.Context(), other)
	wantError(t, err, "not legal", "")
}

// answer has the broker answer requests of a kind with an error, as often as is said.
func answer(b *kafkaserver.Server, kind kmsg.Key, times int, fill func(kmsg.Response)) {
	var given atomic.Int64
	b.Cluster().ControlKey(kind.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if given.Add(1) > int64(times) {
			return nil, nil, false
		}
		resp := req.ResponseKind()
		if txn, ok := req.(*kmsg.TxnOffsetCommitRequest); ok {
			resp = offsetsAnswer(txn)
		}
		fill(resp)
		return resp, nil, true
	})
}

// offsetsAnswer is an answer to a request, without errors.
func offsetsAnswer(req *kmsg.TxnOffsetCommitRequest) *kmsg.TxnOffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
	for _, topic := range req.Topics {
		answer := kmsg.NewTxnOffsetCommitResponseTopic()
		answer.Topic = topic.Topic
		for _, p := range topic.Partitions {
			one := kmsg.NewTxnOffsetCommitResponseTopicPartition()
			one.Partition = p.Partition
			answer.Partitions = append(answer.Partitions, one)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

func refuseOffsets(code *kerr.Error) func(kmsg.Response) {
	return func(resp kmsg.Response) {
		for _, topic := range resp.(*kmsg.TxnOffsetCommitResponse).Topics {
			for i := range topic.Partitions {
				topic.Partitions[i].ErrorCode = code.Code
			}
		}
	}
}

// TestKafkaClusterGenerations: a generation that the process has not heard of yet passes, and one that it never hears of does not.
func TestKafkaClusterGenerations(t *testing.T) {
	for _, c := range []struct {
		code  *kerr.Error
		times int
		want  error
		hint  string
	}{
		{kerr.IllegalGeneration, 2, nil, ""},
		{kerr.UnknownMemberID, 1, nil, ""},
		{kerr.RebalanceInProgress, 1, nil, ""},
		{kerr.CoordinatorLoadInProgress, 3, nil, ""},
		{kerr.IllegalGeneration, 1e9, syncd.ErrFenced, ""},
		{kerr.GroupAuthorizationFailed, 1, errAny, `READ and DESCRIBE on the group "group"`},
	} {
		t.Run(fmt.Sprintf("%s %d times", c.code.Message, c.times), func(t *testing.T) {
			b := sessions(t)
			s := closingKafka(t, b.Addr(), exactlyOnce)
			p := openParty(t, s, clusterOptions("one"))
			p.join(t)
			p.owns(t, 2)
			answer(b, kmsg.TxnOffsetCommit, c.times, refuseOffsets(c.code))
			err := p.commit(t, "progress", "1")
			switch {
			case errors.Is(c.want, errAny) && err != nil:
				wantError(t, err, "group", c.hint)
			case !errors.Is(err, c.want) || c.want == nil && err != nil:
				t.Errorf("Commit: %v, want %v", err, c.want)
			}
			want := 0
			if c.want == nil {
				want = 1
			}
			if n := len(consume(t, b.Addr(), "", "", "lanes")); n != want {
				t.Errorf("%d marks are committed, want %d", n, want)
			}
		})
	}
}

var errAny = errors.New("some error")

// TestKafkaClusterEnds: a process that can't be a member says why, and has nothing any more.
func TestKafkaClusterEnds(t *testing.T) {
	for _, c := range []struct {
		name       string
		change     func(*syncd.ClusterOptions)
		before     func(t *testing.T, b *kafkaserver.Server)
		then       func(t *testing.T, b *kafkaserver.Server, s syncd.Sink, p *party)
		is         error
		text, hint string
	}{
		{
			name: "session too short", change: func(o *syncd.ClusterOptions) { o.Session = 500 * time.Millisecond },
			text: "session timeout", hint: "group.min.session.timeout.ms",
		},
		{
			name: "group not allowed",
			before: func(_ *testing.T, b *kafkaserver.Server) {
				answer(b, kmsg.JoinGroup, 1e9, func(r kmsg.Response) { r.(*kmsg.JoinGroupResponse).ErrorCode = kerr.GroupAuthorizationFailed.Code })
			},
			text: `the Kafka group "group"`, hint: "READ and DESCRIBE on the group",
		},
		{
			name: "group of others",
			before: func(_ *testing.T, b *kafkaserver.Server) {
				answer(b, kmsg.JoinGroup, 1e9, func(r kmsg.Response) { r.(*kmsg.JoinGroupResponse).ErrorCode = kerr.InconsistentGroupProtocol.Code })
			},
			text: "nconsistent", hint: "cluster.group",
		},
		{
			name: "broker is gone",
			then: func(t *testing.T, b *kafkaserver.Server, _ syncd.Sink, _ *party) {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			},
			is: syncd.ErrUnavailable, text: "was not reached for", hint: "brokers",
		},
		{
			name: "topic is gone",
			then: func(t *testing.T, b *kafkaserver.Server, _ syncd.Sink, _ *party) {
				if err := b.Cluster().DeleteTopic("lanes"); err != nil {
					t.Error(err)
				}
			},
			text: `"group"`, hint: `the topic "lanes" is not the one`,
		},
		{
			name: "transactions fenced",
			then: func(t *testing.T, b *kafkaserver.Server, _ syncd.Sink, p *party) {
				other := closingKafka(t, b.Addr(), func(c *kafka.Config) {
					exactlyOnce(c)
					c.Transactions.ID += "-one"
				})
				if _, err := other.Abilities().Marks(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				if err := p.commit(t, "stale", "1"); !errors.Is(err, syncd.ErrFenced) {
					t.Errorf("Commit: %v", err)
				}
			},
			is: syncd.ErrFenced, text: "took longer than", hint: "anew",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sessions(t)
			plugin := kafka.Plugin()
			conf := plugin.Config().(*kafka.Config)
			exactlyOnce(conf)
			conf.BootstrapServers, conf.ConnectTimeout = b.Addr(), 2*time.Second
			s, err := plugin.OpenSink(t.Context(), conf, syncd.Env{Process: "one"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			if c.before != nil {
				c.before(t, b)
			}
			o := clusterOptions("one")
			if c.change != nil {
				c.change(&o)
			}
			p := openParty(t, s, o)
			p.join(t)
			if c.then != nil {
				p.owns(t, 2)
				if err := p.commit(t, "progress", "1"); err != nil {
					t.Fatal(err)
				}
				c.then(t, b, s, p)
			}
			err = p.ends(t)
			t.Logf("%v (%s)", err, syncd.HintOf(err))
			wantError(t, err, c.text, c.hint)
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("error %v, want one that wraps %v", err, c.is)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.owned) > 0 {
				t.Errorf("Join has returned, and lanes are still owned: %v", p.owned)
			}
		})
	}
}

// TestKafkaClusterInstances: of two processes with one instance, the older one ends.
func TestKafkaClusterInstances(t *testing.T) {
	b := sessions(t)
	named := func(name string) syncd.ClusterOptions {
		o := clusterOptions(name)
		o.Instance = "instance"
		return o
	}
	old := openParty(t, closingKafka(t, b.Addr(), nil), named("one"))
	old.join(t)
	old.owns(t, 2)
	next := openParty(t, closingKafka(t, b.Addr(), nil), named("two"))
	next.join(t)
	next.owns(t, 2)
	if err := old.commit(t, "stale", "1"); !errors.Is(err, syncd.ErrFenced) {
		t.Errorf("Commit of the older one: %v", err)
	}
	wantError(t, old.ends(t), `"group"`, `cluster.instance_id, "instance"`)
	if err := next.commit(t, "progress", "1"); err != nil {
		t.Error(err)
	}
	if records := consume(t, b.Addr(), "", "", "lanes"); len(records) != 1 || string(records[0].Key) != "progress" {
		t.Errorf("committed: %v", records)
	}
}

// TestKafkaClusterWithoutMembership puts a process out of the group while it gives a lane away, so that it can't be told. librdkafka has
// forgotten the membership by then, and without one the brokers take offsets from everybody: the lane that it had kept is lost all
// the same.
func TestKafkaClusterWithoutMembership(t *testing.T) {
	b := sessions(t)
	old := openParty(t, closingKafka(t, b.Addr(), nil), clusterOptions("one"))
	begun, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	old.losing = func() {
		once.Do(func() { close(begun) })
		<-end
	}
	old.join(t)
	old.owns(t, 2)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	groups, err := kadm.NewClient(client).DescribeGroups(t.Context(), "group")
	if err != nil || len(groups["group"].Members) != 1 {
		t.Fatalf("%+v, %v", groups, err)
	}
	next := openParty(t, closingKafka(t, b.Addr(), nil), clusterOptions("two"))
	next.join(t)
	<-begun
	leave := kmsg.NewPtrLeaveGroupRequest()
	member := kmsg.NewLeaveGroupRequestMember()
	member.MemberID = groups["group"].Members[0].MemberID
	leave.Group, leave.Members = "group", append(leave.Members, member)
	if r, err := leave.RequestWith(t.Context(), client); err != nil || r.ErrorCode != 0 || len(r.Members) != 1 || r.Members[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	var nobodys atomic.Int64
	b.Cluster().ControlKey(kmsg.TxnOffsetCommit.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if req.(*kmsg.TxnOffsetCommitRequest).MemberID == "" {
			nobodys.Add(1)
		}
		return nil, nil, false
	})
	for lane := range 2 {
		err := old.Commit(t.Context(), old.tenure(lane), nil, []syncd.LaneMark{{Lane: lane, Mark: syncd.Mark{Name: "stale", Value: []byte("1")}}})
		if !errors.Is(err, syncd.ErrFenced) {
			t.Errorf("Commit in lane %d of a process that is not in the group: %v", lane, err)
		}
	}
	close(end)
	eventually(t, "it is told", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		return old.lost > 0
	})
	if n := len(consume(t, b.Addr(), "", "", "lanes")); n != 0 || nobodys.Load() > 0 {
		t.Errorf("%d marks are committed, and offsets were sent %d times in the name of nobody", n, nobodys.Load())
	}
}

// TestKafkaClusterWaitsForTransactions: a lane with an undecided transaction in it is not owned before that is read.
func TestKafkaClusterWaitsForTransactions(t *testing.T) {
	b := sessions(t)
	first := openParty(t, closingKafka(t, b.Addr(), nil), clusterOptions("one"))
	unread := make(chan int, 10) // lanes that were owned too early
	first.owning = func(tenures []syncd.Tenure) {
		for _, owned := range tenures {
			if first.read["before"] != "" && first.read[fmt.Sprint("undecided-", owned.Lane)] == "" {
				unread <- owned.Lane
			}
		}
	}
	first.join(t)
	second := openParty(t, closingKafka(t, b.Addr(), nil), clusterOptions("two"))
	second.join(t)
	first.owns(t, 1)
	second.owns(t, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.TransactionalID("other"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	transact := func(names ...string) {
		t.Helper()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "lanes", Partition: int32(i), Key: []byte(name), Value: []byte("1")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	transact("before")
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is read", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		return first.read["before"] != ""
	})
	transact("undecided-0", "undecided-1")
	second.stop()
	if err := second.ends(t); err != nil {
		t.Error(err)
	}
	time.Sleep(1500 * time.Millisecond) // in which the lane would be owned, if it were not for the transaction
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	first.owns(t, 2)
	select {
	case l := <-unread:
		t.Errorf("lane %d was owned before it was read to its end", l)
	default:
	}
}

// TestKafkaClusterLosesOneOfTwo has two calls share a transaction while the lane of one of them is given away: that one alone fails.
func TestKafkaClusterLosesOneOfTwo(t *testing.T) {
	b := sessions(t)
	p := openParty(t, closingKafka(t, b.Addr(), nil), clusterOptions("one"))
	p.join(t)
	p.owns(t, 2)
	var held atomic.Int64
	var open atomic.Bool
	b.Cluster().ControlKey(kmsg.TxnOffsetCommit.Int16(), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.Cluster().KeepControl()
		if open.Load() {
			return nil, nil, false
		}
		held.Add(1)
		resp := offsetsAnswer(req.(*kmsg.TxnOffsetCommitRequest))
		refuseOffsets(kerr.CoordinatorLoadInProgress)(resp)
		return resp, nil, true
	})
	var errs [3]error
	var calls sync.WaitGroup
	call := func(i, lane int) {
		calls.Go(func() {
			errs[i] = p.Commit(t.Context(), p.tenure(lane), nil, []syncd.LaneMark{{Lane: lane, Mark: syncd.Mark{Name: fmt.Sprint("call-", i), Value: []byte("1")}}})
		})
	}
	call(2, 0) // alone in its transaction, so that the next two share one
	eventually(t, "it is held up", func() bool { return held.Load() > 0 })
	call(0, 0)
	call(1, 1)
	next := openParty(t, closingKafka(t, b.Addr(), nil), clusterOptions("two"))
	next.join(t)
	next.owns(t, 1)
	open.Store(true)
	calls.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, lane := range []int{0, 1, 0} {
		if p.owned[lane] != (errs[i] == nil) || errs[i] != nil && !errors.Is(errs[i], syncd.ErrFenced) {
			t.Errorf("call %d, in lane %d, of the lanes %v that are owned: %v", i, lane, p.owned, errs[i])
		}
	}
}
