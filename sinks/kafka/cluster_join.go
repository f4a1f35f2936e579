package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/wait"
)

// groupPoll is the longest wait for news of the group before it is looked whether the process is to leave.
const groupPoll = 100 * time.Millisecond

// heartbeat is how often a member tells the group that it lives, at least. By the answers it hears that lanes are to move: so they do
// within a second, however long a session is.
const heartbeat = 500 * time.Millisecond

// healthEvery is how often it is looked whether the group can be reached.
const healthEvery = time.Second

// joining is a process's part in a cluster, from Join to its return. Three goroutines see to it:
//
//   - read tells the member of the lanes' marks;
//   - attend polls the consumer that is the member of the group. Losing runs there, in the callback of librdkafka: the lanes are given
//     back when it has returned. Nothing else takes time there, so that max.poll.interval.ms is never exceeded;
//   - gain waits until lanes that the group gave are read, and tells the member that it owns them.
//
// They call the member's functions with calls locked. Who holds it waits for nothing but the member. So Losing may take its time: no Read
// is told meanwhile, and Commit needs none, nor calls.
type joining struct {
	*laneCluster
	member syncd.Member
	calls  sync.Mutex

	caught chan struct{}   // closed when CaughtUp was told
	news   chan struct{}   // has room for one: lanes were given, or read further
	ends   map[int32]int64 // where the lanes ended when Join began, as far as they are not read yet; read's alone

	group    *ck.Consumer
	up       time.Time // when the group's coordinator could be reached last; attend's alone, as is what follows
	steady   time.Time // when this process was a member last, and no lanes moved
	refusal  error     // what librdkafka answered when lanes were to be taken or given back
	fatal    bool      // the consumer can't go on, nor be closed
	patience time.Duration
}

// Join implements syncd.Cluster.
func (c *laneCluster) Join(ctx context.Context, m syncd.Member) error {
	j := &joining{laneCluster: c, member: m, caught: make(chan struct{}), news: make(chan struct{}, 1)}
	j.patience = c.o.Session + c.o.Leave
	err := j.run(ctx)
	c.mu.Lock()
	broken := c.broken
	c.mu.Unlock()
	if broken != nil {
		return broken // whether or not it was to end
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Cause(ctx)) || errors.Is(err, ctx.Err())) {
		return nil
	}
	return err
}

func (j *joining) run(ctx context.Context) error {
	reader, err := j.newReader(ctx)
	if err != nil {
		return err
	}
	reading, failed := context.WithCancelCause(context.WithoutCancel(ctx)) // reading goes on until the group is left
	defer failed(nil)
	var readers sync.WaitGroup
	defer readers.Wait()
	readers.Go(func() {
		defer func() { _ = reader.Close() }() // it has joined no group
		if err := j.read(reading, reader); err != nil {
			failed(err)
		}
	})
	readers.Go(func() {
		if err := j.watch(reading); err != nil {
			failed(err)
		}
	})
	defer failed(nil) // before the wait
	taking, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(reading, stop)()
	select {
	case <-j.caught:
	case <-j.broke:
		return j.broken
	case <-taking.Done():
		return context.Cause(reading)
	}
	err = j.attend(taking)
	if cause := context.Cause(reading); cause != nil {
		return cause
	}
	return err
}

// watchEvery is how often it is looked whether the topic of the lanes is there.
const watchEvery = 2 * time.Second

// watch returns an error when the topic is gone, or nil when ctx ends. No consumer or producer is told of that for sure, and a transaction that
// can't be committed for that reason ends by its timeout, which says something else.
func (j *joining) watch(ctx context.Context) error {
	for times := 0; wait.Pause(ctx, watchEvery) == nil; {
		if !j.isGone(ctx) {
			times = 0
		} else if times++; times > 1 { // a broker that has just begun may not know better
			return j.gone()
		}
	}
	return nil
}

// newReader makes the consumer that reads all lanes from their beginnings.
func (j *joining) newReader(ctx context.Context) (*ck.Consumer, error) {
	ends, err := j.t.endsOf(ctx, j.topic)
	if err != nil {
		return nil, fmt.Errorf("reading the Kafka topic %q: %w", j.topic, err)
	}
	j.ends = ends
	reader, err := j.t.newConsumer(ck.ConfigMap{
		"group.id":                   j.t.config.ClientID, // which nothing is committed of, and nobody joins
		"isolation.level":            "read_committed",
		"enable.partition.eof":       true,
		"auto.offset.reset":          "error", // records that are gone are not to be passed over
		"fetch.queue.backoff.ms":     10,
		"queued.max.messages.kbytes": 16 << 10,
	})
	if err != nil {
		return nil, err
	}
	from := make([]ck.TopicPartition, len(j.lanes))
	for l := range from {
		from[l] = ck.TopicPartition{Topic: &j.topic, Partition: int32(l), Offset: ck.OffsetBeginning}
	}
	if err := reader.Assign(from); err != nil {
		return nil, errors.Join(errors.New(j.t.scrub(err)), reader.Close())
	}
	return reader, nil
}

// read tells the member of marks until ctx ends.
func (j *joining) read(ctx context.Context, reader *ck.Consumer) error {
	j.catchUp()
	for ctx.Err() == nil {
		var err error
		switch e := reader.Poll(int(groupPoll / time.Millisecond)).(type) {
		case *ck.Message:
			if err = e.TopicPartition.Error; err == nil {
				j.tell(e)
			}
		case ck.PartitionEOF:
			j.reached(int(e.Partition), int64(e.Offset)) // which is behind what was aborted, too
		case ck.Error:
			err = e
		}
		k, _ := errors.AsType[ck.Error](err)
		switch {
		case err == nil:
		case k.IsFatal() || !kafkaconn.Unreachable(err) && !kafkaconn.Passing(err):
			return j.explain(k)
		case kafkaconn.Passing(err): // a leader is elected, or the topic is gone, see watch
			j.t.env.Retried(stateNotReady)
		}
	}
	return nil
}

// tell tells the member of a mark. A record without a key is nobody's.
func (j *joining) tell(m *ck.Message) {
	lane := int(m.TopicPartition.Partition)
	if m.Key != nil {
		j.calls.Lock()
		j.member.Read(syncd.LaneMark{Lane: lane, Mark: syncd.Mark{Name: string(m.Key), Value: m.Value}})
		j.calls.Unlock()
	}
	j.reached(lane, int64(m.TopicPartition.Offset)+1)
}

// reached notes that a lane was read to an offset.
func (j *joining) reached(lane int, at int64) {
	j.mu.Lock()
	l := &j.lanes[lane]
	l.at = max(l.at, at)
	at = l.at
	waited := l.held == gaining
	j.mu.Unlock()
	if waited {
		j.tidings()
	}
	if end, ok := j.ends[int32(lane)]; ok && at >= end {
		delete(j.ends, int32(lane))
		j.catchUp()
	}
}

// catchUp tells the member that all that was there when Join began is read, when it is.
func (j *joining) catchUp() {
	select {
	case <-j.caught:
		return
	default:
	}
	if len(j.ends) == 0 {
		j.calls.Lock()
		j.member.CaughtUp()
		j.calls.Unlock()
		close(j.caught)
	}
}

// tidings wakes gain.
func (j *joining) tidings() {
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// attend is a member of the group until ctx ends.
func (j *joining) attend(ctx context.Context) error {
	settings := ck.ConfigMap{
		"group.id":                      j.o.Group,
		"group.protocol":                "classic",
		"partition.assignment.strategy": "cooperative-sticky",
		"session.timeout.ms":            int(j.o.Session / time.Millisecond),
		"heartbeat.interval.ms":         int(min(heartbeat, j.o.Session/3) / time.Millisecond),
		"max.poll.interval.ms":          int(j.patience / time.Millisecond), // Losing takes less
		"enable.auto.offset.store":      false,
		"auto.offset.reset":             "latest",
		"statistics.interval.ms":        int(healthEvery / time.Millisecond),
	}
	if j.o.Instance != "" {
		settings["group.instance.id"] = j.o.Instance
	}
	logs, quiet := make(chan ck.LogEvent), make(chan struct{})
	settings["go.logs.channel.enable"], settings["go.logs.channel"] = true, logs // a fatal error goes to stderr otherwise
	group, err := j.t.newConsumer(settings)
	if err != nil {
		return err
	}
	var talk sync.WaitGroup
	defer talk.Wait()
	defer close(quiet)
	talk.Go(func() {
		for {
			select {
			case l := <-logs:
				j.t.logger.Debug("librdkafka: "+kafkaconn.Clean(j.t.replacer, l.Message), "tag", l.Tag)
			case <-quiet:
				return
			}
		}
	})
	j.group, j.up, j.steady = group, time.Now(), time.Now()
	j.mu.Lock()
	j.laneCluster.group = group
	j.mu.Unlock()
	gaining, stop := context.WithCancel(ctx)
	var gains sync.WaitGroup
	gains.Go(func() { j.gain(gaining) })
	err = j.poll(ctx)
	stop()
	gains.Wait()
	if err == nil {
		j.giveBack(nil) // here, since a consumer that is being closed must not be asked for its membership
	}
	j.lose(nil)
	j.mu.Lock()
	j.laneCluster.group = nil
	j.mu.Unlock()
	if j.fatal { // Close of confluent-kafka-go waits for ever then. This takes a second process of one instance, so it can be left behind
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- group.Close() }()
	late := time.NewTimer(closeTimeout + j.o.Session) // it may have become fatal at the last moment
	defer late.Stop()
	select {
	case end := <-closed:
		if err == nil && end != nil {
			err = fmt.Errorf("leaving the Kafka group %q: %s", j.o.Group, j.t.scrub(end))
		}
	case <-late.C:
		j.t.logger.Warn("a Kafka group was not left in good order; the others take over when the session has ended", "group", j.o.Group)
	}
	return err
}

// poll serves the group until ctx ends, or this process can't be a member any more.
func (j *joining) poll(ctx context.Context) error {
	if err := j.group.Subscribe(j.topic, j.rebalance); err != nil {
		return fmt.Errorf("joining the Kafka group %q: %s", j.o.Group, j.t.scrub(err))
	}
	for ctx.Err() == nil {
		var err error
		switch e := j.group.Poll(int(groupPoll / time.Millisecond)).(type) {
		case ck.Error:
			err = j.trouble(e)
		case *ck.Stats:
			err = j.health(e)
		}
		if err == nil {
			err = j.refusal
		}
		select {
		case <-j.broke:
			err = j.broken
		default:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// trouble is the error of a member that can't go on after e, or nil.
func (j *joining) trouble(e ck.Error) error {
	j.fatal = j.fatal || e.IsFatal()
	switch e.Code() {
	case ck.ErrGroupAuthorizationFailed, ck.ErrTopicAuthorizationFailed, ck.ErrInvalidSessionTimeout, ck.ErrInconsistentGroupProtocol,
		ck.ErrFencedInstanceID, ck.ErrInvalidGroupID, ck.ErrGroupMaxSizeReached, ck.ErrUnsupportedVersion, ck.ErrSaslAuthenticationFailed,
		ck.ErrAuthentication:
		return j.explain(e)
	}
	if j.fatal {
		return j.explain(e)
	}
	j.t.env.Retried("group")
	j.t.logger.Debug("trouble with a Kafka group", "group", j.o.Group, "error", kafkaconn.Clean(j.t.replacer, e.Error()))
	return nil
}

// health ends a membership that can't be kept up since the group can't be reached. One whose session has ended meanwhile becomes a
// member anew, as long as its coordinator answers; there, it may have to wait for members that do not hurry to give lanes away.
func (j *joining) health(s *ck.Stats) error {
	var stats struct {
		Group struct {
			State string `json:"state"`
			Join  string `json:"join_state"`
		} `json:"cgrp"`
	}
	if json.Unmarshal([]byte(s.String()), &stats) != nil || stats.Group.State == "" {
		return nil //nolint:nilerr // a later library's form
	}
	now := time.Now()
	if stats.Group.State == "up" {
		j.up = now
	}
	if stats.Group.Join == "steady" {
		j.steady = now
	}
	limit := j.o.Session
	if now.Sub(j.up) <= limit {
		if limit += j.patience; now.Sub(j.steady) <= limit {
			return nil
		}
	}
	return syncd.Hint(fmt.Errorf("taking part in the Kafka group %q: it was not reached for %s: %w", j.o.Group, limit, syncd.ErrUnavailable), brokersHint)
}

// rebalance takes lanes and gives them back. It runs while attend polls.
func (j *joining) rebalance(group *ck.Consumer, e ck.Event) error {
	var err error
	switch e := e.(type) {
	case ck.AssignedPartitions:
		for i := range e.Partitions {
			e.Partitions[i].Offset = ck.OffsetEnd
		}
		if err = group.IncrementalAssign(e.Partitions); err == nil && len(e.Partitions) > 0 {
			err = group.Pause(e.Partitions) // the membership is all that is wanted
		}
		j.given(e.Partitions)
	case ck.RevokedPartitions:
		if group.AssignmentLost() {
			j.lose(e.Partitions)
		} else {
			j.giveBack(e.Partitions)
		}
		err = group.IncrementalUnassign(e.Partitions)
	}
	if err != nil && j.refusal == nil {
		j.refusal = fmt.Errorf("taking part in the Kafka group %q: %s", j.o.Group, j.t.scrub(err))
	}
	return nil
}

// given notes lanes that the group gave to this process. They are not owned before they are read.
func (j *joining) given(partitions []ck.TopicPartition) {
	j.mu.Lock()
	for _, p := range partitions {
		if int(p.Partition) >= len(j.lanes) {
			j.refusal = syncd.Hint(fmt.Errorf("taking part in the Kafka group %q: its topic %q has more partitions than the %d that it had", j.o.Group, j.topic, len(j.lanes)),
				"run it again, and do so with all processes of the cluster")
			continue
		}
		l := &j.lanes[p.Partition]
		l.held, l.end = gaining, -1
		l.given++
	}
	j.mu.Unlock()
	j.tidings()
}

// giveBack has the member give up lanes that others are to have, all of them where none are given.
func (j *joining) giveBack(partitions []ck.TopicPartition) {
	j.calls.Lock() // no lane is owned anew meanwhile
	defer j.calls.Unlock()
	j.mu.Lock()
	var told []int
	for _, l := range j.held(partitions) {
		if j.lanes[l].held == owned {
			told = append(told, l)
		} else {
			j.lanes[l].held = unheld // the member never heard of it
		}
	}
	j.mu.Unlock()
	if len(told) == 0 {
		return
	}
	within, cancel := context.WithTimeout(context.Background(), j.o.Leave)
	j.member.Losing(within, told)
	j.t.tidy(within)
	cancel()
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range told {
		j.lanes[l].held = unheld
	}
}

// lose takes lanes from the member that the process does not own any more, all of them where none are given. They are not owned
// before that is told: calls may be locked by a function that takes its time.
func (j *joining) lose(partitions []ck.TopicPartition) {
	j.mu.Lock()
	var told []int
	for _, l := range j.held(partitions) {
		if j.lanes[l].held == owned {
			told = append(told, l)
		}
		j.lanes[l].held = unheld
	}
	j.mu.Unlock()
	if len(told) == 0 {
		return
	}
	j.calls.Lock()
	defer j.calls.Unlock()
	j.member.Lost(told)
}

// held are those of the lanes that this process has something of; nil stands for all. The caller holds mu.
func (j *joining) held(partitions []ck.TopicPartition) []int {
	var out []int
	add := func(l int) {
		if l < len(j.lanes) && j.lanes[l].held != unheld {
			out = append(out, l)
		}
	}
	if partitions == nil {
		for l := range j.lanes {
			add(l)
		}
	}
	for _, p := range partitions {
		add(int(p.Partition))
	}
	return out
}

// gain tells the member of lanes that it owns, until ctx ends.
func (j *joining) gain(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.news:
		}
		if err := j.askEnds(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			j.t.env.Retried("end of partitions")
			j.t.logger.Debug("could not ask where lanes end", "error", err)
			_ = wait.Pause(ctx, identityPause)
			j.tidings()
		}
		j.take()
	}
}

// askEnds asks where lanes end that the group gave to this process.
func (j *joining) askEnds(ctx context.Context) error {
	var asked []place
	given := map[place]int{}
	j.mu.Lock()
	for i := range j.lanes {
		if l := &j.lanes[i]; l.held == gaining && l.end < 0 {
			p := place{j.topic, int32(i)}
			asked, given[p] = append(asked, p), l.given
		}
	}
	j.mu.Unlock()
	if len(asked) == 0 {
		return nil
	}
	ends, err := j.t.offsets(ctx, asked, ck.LatestOffsetSpec)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for p, end := range ends {
		if l := &j.lanes[p.partition]; l.held == gaining && l.given == given[p] {
			l.end = end
		}
	}
	return nil
}

// take tells the member of the lanes that are read to their ends.
func (j *joining) take() {
	j.calls.Lock()
	defer j.calls.Unlock()
	var told []syncd.Tenure
	j.mu.Lock()
	for i := range j.lanes {
		if l := &j.lanes[i]; l.held == gaining && l.end >= 0 && l.at >= l.end {
			l.held = owned
			told = append(told, syncd.Tenure{Lane: i, Number: l.given})
		}
	}
	j.mu.Unlock()
	if len(told) > 0 {
		j.member.Own(told)
	}
}
