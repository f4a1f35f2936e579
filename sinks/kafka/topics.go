package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
)

// maxTopicLength and topicRule are Kafka's rule for topic names (org.apache.kafka.common.internals.Topic).
const (
	maxTopicLength = 249
	topicRule      = "a topic name has 1 to 249 letters, digits, dots, underscores and hyphens"
)

// limitsTimeout bounds a question whose answer is only worth a warning.
const limitsTimeout = 2 * time.Second

// placeholders lists what a topic template may use.
var placeholders = []string{"database", "collection", "content_type"}

// template is a parsed topic template: literal texts and placeholders in turn.
type template []part

type part struct {
	literal     string
	placeholder string
}

type unknownPlaceholderError struct{ name string }

func (e unknownPlaceholderError) Error() string {
	return fmt.Sprintf("has an unknown placeholder {%s}", e.name)
}

// parseTemplate also returns the offset of what is wrong. Errors read on after the setting's name.
func parseTemplate(text string) (template, int, error) {
	var t template
	for at := 0; at < len(text); {
		open := strings.IndexByte(text[at:], '{')
		if open < 0 {
			open = len(text) - at
		}
		if lit := text[at : at+open]; lit != "" {
			if i := illegalAt(lit); i >= 0 {
				return nil, at + i, fmt.Errorf("has %q, which a topic name can't hold", firstRune(lit[i:]))
			}
			t = append(t, part{literal: lit})
		}
		if at += open; at == len(text) {
			break
		}
		length := strings.IndexByte(text[at:], '}')
		if length < 0 {
			return nil, at, errors.New("has a { without its }")
		}
		name := text[at+1 : at+length]
		if !slices.Contains(placeholders, name) {
			return nil, at, unknownPlaceholderError{name}
		}
		t = append(t, part{placeholder: name})
		at += length + 1
	}
	return t, 0, nil
}

func firstRune(s string) string {
	for _, r := range s {
		return string(r)
	}
	return ""
}

const topicLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// illegalAt returns the index of the first byte that a topic name can't hold, or -1.
func illegalAt(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune(topicLetters, r) })
}

func checkTopicName(name string) error {
	switch {
	case name == "":
		return errors.New("its topic name is empty")
	case name == "." || name == ".." || len(name) > maxTopicLength || illegalAt(name) >= 0:
		return fmt.Errorf("its topic name %q is not legal", name)
	}
	return nil
}

// router gives targets their topics. It is safe for concurrent use.
type router struct {
	rule   template
	prefix string

	mu     sync.RWMutex
	routes map[syncd.Target]*route
	named  map[string][]*route // by topic
	rooms  map[string]*room    // by topic, of those that prepare found
}

// route is a target's topic; err says why it can't be written to. name is a field so that producing can point to it.
type route struct {
	name string
	room *room
	err  error
}

// room has writes hand librdkafka their events for one topic in groups: what comes while a group is under way makes the next one, up
// to a number of bytes. An idempotent producer has one request of a partition under way (1 MB at most, its batch.size), so what waits
// behind it gains nothing; but where that has waited for longer than linger, librdkafka's thread polls without a pause until the
// answer comes. Small writes join a group at any time, since they are answered soon. A nil room lets all in at once.
type room struct {
	bytes int64 // that a group has at most, unless it is a single write

	mu      sync.Mutex
	inside  int   // writes
	used    int64 // bytes of those
	waiting []*entrant
}

// entrant is a write that waits for the next group.
type entrant struct {
	bytes int64
	in    chan struct{} // closed when it has entered
}

const (
	// roomOfPartition is the room of a topic for each of its partitions: nearly a request, as keys do not fill partitions evenly.
	roomOfPartition = 768 << 10
	// roomToJoin is up to which size, in bytes with all that is inside, a write needs not wait for the next group.
	roomToJoin = 64 << 10
)

func newRoom(partitions int) *room {
	if partitions == 0 { // a topic without a leader yet
		return nil
	}
	return &room{bytes: int64(partitions) * roomOfPartition}
}

// enter waits until a write of some bytes may begin. Who has entered must leave, and must not enter again before.
func (r *room) enter(ctx context.Context, bytes int64) (leave func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	leave = func() { r.leave(bytes) }
	e := &entrant{bytes, make(chan struct{})}
	r.mu.Lock()
	if r.inside == 0 || len(r.waiting) == 0 && r.used+bytes <= roomToJoin {
		r.let(e)
	} else {
		r.waiting = append(r.waiting, e)
	}
	r.mu.Unlock()
	select {
	case <-e.in:
		return leave, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	i := slices.Index(r.waiting, e)
	if i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	r.mu.Unlock()
	if i < 0 { // it was let in meanwhile
		leave()
	}
	return nil, fmt.Errorf("writing to Kafka: %w", ctx.Err())
}

// leave lets the next group in when nobody else is left of this one.
func (r *room) leave(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside--
	r.used -= bytes
	if r.inside > 0 {
		return
	}
	n := 0
	for ; n < len(r.waiting) && (n == 0 || r.used+r.waiting[n].bytes <= r.bytes); n++ {
		r.let(r.waiting[n])
	}
	r.waiting = slices.Delete(r.waiting, 0, n)
}

// let has a write enter. The caller holds mu.
func (r *room) let(e *entrant) {
	r.inside++
	r.used += e.bytes
	close(e.in)
}

func newRouter(c Config) (*router, error) {
	rule, _, err := parseTemplate(c.Topic)
	if err != nil {
		return nil, fmt.Errorf("the topic template %q %w", c.Topic, err)
	}
	return &router{rule: rule, prefix: c.TopicPrefix, routes: map[syncd.Target]*route{}, named: map[string][]*route{}, rooms: map[string]*room{}}, nil
}

func (r *router) route(t syncd.Target) *route {
	r.mu.RLock()
	found := r.routes[t]
	r.mu.RUnlock()
	if found != nil {
		return found
	}
	made := &route{}
	made.name, made.err = r.render(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if found := r.routes[t]; found != nil {
		return found
	}
	made.room = r.rooms[made.name]
	r.routes[t] = made
	r.named[made.name] = append(r.named[made.name], made)
	return made
}

// partitions tells how many partitions a topic has.
func (r *router) partitions(topic string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rooms[topic] = newRoom(n)
	for _, made := range r.named[topic] {
		made.room = r.rooms[topic]
	}
}

// render gives the name even where it is not legal, for messages. A collection's own topic takes the prefix too, as in
// the MongoDB Kafka connector's namespace map: otherwise a prefix for a test environment would leave that one topic out.
func (r *router) render(t syncd.Target) (string, error) {
	rule := r.rule
	if t.Topic != "" {
		own, _, err := parseTemplate(t.Topic)
		if err != nil {
			return t.Topic, fmt.Errorf("its topic %q %w", t.Topic, err)
		}
		rule = own
	}
	var b strings.Builder
	if r.prefix != "" {
		b.WriteString(r.prefix)
		b.WriteByte('.')
	}
	var empty error
	for _, p := range rule {
		text := p.literal
		switch p.placeholder {
		case "database":
			text = t.Database
		case "collection":
			text = t.Collection
		case "content_type":
			text = t.ContentType
		}
		if text == "" {
			empty = fmt.Errorf("its topic needs {%s}, which it lacks", p.placeholder)
		}
		b.WriteString(text)
	}
	name := b.String()
	if empty != nil {
		return name, empty
	}
	return name, checkTopicName(name)
}

// route is the ability Route.
func (s *Sink) route(t syncd.Target) string { return s.router.route(t).name }

// prepare is the ability Prepare: it finds every topic that can't be written to, and creates those that do not exist if the
// configuration says how.
func (s *Sink) prepare(ctx context.Context, run syncd.Run) error {
	s.runID = run.ID
	var problems []string
	users := map[string][]string{} // collections by topic
	for _, t := range run.Targets {
		r := s.router.route(t)
		if r.err != nil {
			problems = append(problems, fmt.Sprintf("collection %q: %v", t.Collection, r.err))
			continue
		}
		if !slices.Contains(users[r.name], t.Collection) {
			users[r.name] = append(users[r.name], t.Collection)
		}
	}
	hint := ""
	if len(problems) > 0 {
		hint = topicRule + "; set sink.kafka.topic or the collection's own topic"
	}
	names := slices.Sorted(maps.Keys(users))
	missing, refused, err := s.look(ctx, names)
	if err != nil {
		return fmt.Errorf("looking for Kafka topics: %w", err)
	}
	problems = append(problems, refused...)
	switch {
	case len(missing) == 0:
	case s.config.CreateTopics == nil:
		for _, name := range missing {
			problems = append(problems, fmt.Sprintf("topic %q (for %s) does not exist", name, strings.Join(users[name], ", ")))
		}
		hint = "create missing topics, or set sink.kafka.create_topics (with partitions and replication_factor) to have them created"
	case len(problems) == 0: // nothing is created for a run that can't start
		failed, err := s.create(ctx, s.config.CreateTopics, missing)
		if err != nil {
			return fmt.Errorf("creating Kafka topics: %w", err)
		}
		problems = append(problems, failed...)
	}
	switch len(problems) {
	case 0:
		s.compareLimits(ctx, names)
		return nil
	case 1:
		return syncd.Hint(fmt.Errorf("preparing Kafka topics: %s", problems[0]), "%s", hint)
	}
	return syncd.Hint(fmt.Errorf("preparing Kafka topics: %d problems: %s", len(problems), strings.Join(problems, "; ")), "%s", hint)
}

// fewTopics are asked about one by one, which spares the brokers telling about all others.
const fewTopics = 16

// look asks the brokers about topics; refused says why some can't be used, in words that name them.
func (s *Sink) look(ctx context.Context, names []string) (missing, refused []string, err error) {
	topicOf := s.lookUp(ctx, len(names))
	for _, name := range names {
		t, err := topicOf(name)
		if err != nil {
			return nil, nil, err
		}
		switch t.Error.Code() {
		case ck.ErrNoError, ck.ErrLeaderNotAvailable: // the latter while a new topic's leader is being elected
			s.router.partitions(name, len(t.Partitions))
		case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic:
			missing = append(missing, name)
		default:
			refused = append(refused, fmt.Sprintf("topic %q: %s", name, s.scrub(t.Error)))
		}
	}
	return missing, refused, nil
}

// lookUp returns a function that tells what the brokers say of a topic. Where many are wanted, it asks about all that there are first:
// among them is none that this login may not see, and where that takes long, each is asked about.
func (s *Sink) lookUp(ctx context.Context, wanted int) func(name string) (ck.TopicMetadata, error) {
	var all map[string]ck.TopicMetadata
	ask := func(name *string) (md *ck.Metadata, err error) {
		patience := s.config.ConnectTimeout
		if name == nil {
			patience = s.limits
		}
		err = s.ask(ctx, patience, func(ctx context.Context) (err error) {
			md, err = s.metadata(ctx, name, name == nil)
			return err
		})
		return md, err
	}
	if wanted > fewTopics {
		if md, err := ask(nil); err == nil {
			all = md.Topics
		} else {
			s.logger.Debug("could not ask about all topics at once", "error", err)
		}
	}
	return func(name string) (ck.TopicMetadata, error) {
		if t, told := all[name]; told {
			return t, nil
		}
		md, err := ask(&name)
		if err != nil {
			return ck.TopicMetadata{}, err
		}
		return md.Topics[name], nil
	}
}

// create makes topics and logs each, since they outlive the run.
func (s *Sink) create(ctx context.Context, how *CreateTopics, names []string) (failed []string, err error) {
	topics := how.specify(names)
	var results []ck.TopicResult
	err = s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
		results, err = s.main.admin.CreateTopics(ctx, topics, ck.SetAdminOperationTimeout(s.config.ConnectTimeout), ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		switch r.Error.Code() {
		case ck.ErrNoError:
			s.router.partitions(r.Topic, how.Partitions)
			s.logger.Info("created Kafka topic", "topic", r.Topic, "partitions", how.Partitions, "replication_factor", how.ReplicationFactor)
		case ck.ErrTopicAlreadyExists: // somebody else was faster
		default:
			failed = append(failed, fmt.Sprintf("topic %q can't be created: %s", r.Topic, s.scrub(r.Error)))
		}
	}
	return failed, nil
}

// specify says what topics of these names look like.
func (how *CreateTopics) specify(names []string) []ck.TopicSpecification {
	topics := make([]ck.TopicSpecification, len(names))
	for i, name := range names {
		// -1 is the broker's default, from Apache Kafka 2.4 on (KIP-464).
		topics[i] = ck.TopicSpecification{Topic: name, NumPartitions: how.Partitions, ReplicationFactor: how.ReplicationFactor, Config: map[string]string{}}
		if how.Partitions == 0 {
			topics[i].NumPartitions = -1
		}
		for key, value := range how.Config {
			topics[i].Config[key] = value.Reveal()
		}
	}
	return topics
}

// compareLimits warns of topics that accept less than max_message_bytes: a batch that is too large for its topic is sent
// again event by event (see Write), which is right but slow. Not being allowed to ask is no reason to stop.
func (s *Sink) compareLimits(ctx context.Context, names []string) {
	if len(names) == 0 {
		return
	}
	resources := make([]ck.ConfigResource, len(names))
	for i, name := range names {
		resources[i] = ck.ConfigResource{Type: ck.ResourceTopic, Name: name}
	}
	var answers []ck.ConfigResourceResult
	err := s.ask(ctx, s.limits, func(ctx context.Context) (err error) {
		answers, err = s.main.admin.DescribeConfigs(ctx, resources, ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
		return err
	})
	if err != nil {
		s.logger.Debug("could not ask for the topics' max.message.bytes", "error", err)
		return
	}
	smallest, topic := s.config.MaxMessageBytes, ""
	for _, a := range answers {
		limit, err := strconv.Atoi(a.Config["max.message.bytes"].Value)
		if err == nil && limit < smallest {
			smallest, topic = limit, a.Name
		}
	}
	if topic != "" {
		s.logger.Warn("a Kafka topic accepts less than sink.kafka.max_message_bytes: set that to the topic's max.message.bytes",
			"topic", topic, "max.message.bytes", smallest, "max_message_bytes", s.config.MaxMessageBytes)
	}
}
