package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"golang.org/x/sync/errgroup"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
)

// topicsAtOnce bounds the questions about topics in flight.
const topicsAtOnce = 8

// topicsProbe is what a Probe finds out about topics.
type topicsProbe struct {
	sink   *Sink
	topics []*probedTopic // in the targets' order
	asked  error          // why the brokers could not be asked about topics at all
	told   error          // why they did not tell the topics' settings
}

type probedTopic struct {
	name        string
	collections []string
	illegal     error

	exists     bool
	refused    string // why the brokers say nothing about it
	partitions []ck.PartitionMetadata
	operations []ck.ACLOperation // nil where the brokers do not tell
	maxBytes   int               // 0 where they do not tell
	minISR     int               // likewise
	creating   error             // why it could not be created
}

func (p *topicsProbe) route(targets []syncd.ProbeTarget) {
	for _, t := range targets {
		r := p.sink.router.route(t.Target)
		i := slices.IndexFunc(p.topics, func(known *probedTopic) bool { return known.name == r.name })
		if i < 0 {
			i = len(p.topics)
			p.topics = append(p.topics, &probedTopic{name: r.name, illegal: r.err})
		}
		p.topics[i].collections = append(p.topics[i].collections, t.Collection)
	}
}

// names lists the topics that a condition holds for.
func (p *topicsProbe) names(is func(*probedTopic) bool) []string {
	var out []string
	for _, t := range p.topics {
		if t.illegal == nil && is(t) {
			out = append(out, t.name)
		}
	}
	return out
}

func (p *topicsProbe) find(name string) *probedTopic {
	i := slices.IndexFunc(p.topics, func(t *probedTopic) bool { return t.name == name })
	if i < 0 {
		return &probedTopic{} // an answer about what was not asked
	}
	return p.topics[i]
}

func there(t *probedTopic) bool   { return t.exists }
func missing(t *probedTopic) bool { return !t.exists && t.refused == "" }

// describe asks about each topic as a run does, which creates none of them.
func (p *topicsProbe) describe(ctx context.Context) {
	s := p.sink
	var group errgroup.Group
	group.SetLimit(topicsAtOnce)
	for _, t := range p.topics {
		if t.illegal != nil {
			continue
		}
		group.Go(panics.Caught(func() error {
			var md *ck.Metadata
			err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
				md, err = s.metadata(ctx, &t.name, false)
				return err
			})
			if err != nil {
				return err
			}
			switch answer := md.Topics[t.name]; answer.Error.Code() {
			case ck.ErrNoError, ck.ErrLeaderNotAvailable: // the latter while a new topic's leader is being elected
				t.exists, t.partitions = true, answer.Partitions
			case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic:
			case ck.ErrTopicAuthorizationFailed:
				t.refused = "not authorized: the brokers do not even let this login see it"
			default:
				t.refused = s.scrub(answer.Error)
			}
			return nil
		}))
	}
	p.asked = group.Wait()
}

// permissions asks what may be done with the topics that exist. Brokers before Apache Kafka 2.3 (KIP-430) do not tell.
func (p *topicsProbe) permissions(ctx context.Context) {
	names := p.names(there)
	if len(names) == 0 || p.asked != nil {
		return
	}
	s := p.sink
	var answer ck.DescribeTopicsResult
	err := s.ask(ctx, s.limits, func(ctx context.Context) (err error) {
		answer, err = s.main.admin.DescribeTopics(ctx, ck.NewTopicCollectionOfTopicNames(names),
			ck.SetAdminOptionIncludeAuthorizedOperations(true), ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
		return err
	})
	if err != nil {
		return
	}
	for _, d := range answer.TopicDescriptions {
		p.find(d.Name).operations = d.AuthorizedOperations
	}
}

// limits asks for the settings of the topics that exist.
func (p *topicsProbe) limits(ctx context.Context) {
	names := p.names(there)
	if len(names) == 0 || p.asked != nil {
		return
	}
	resources := make([]ck.ConfigResource, len(names))
	for i, name := range names {
		resources[i] = ck.ConfigResource{Type: ck.ResourceTopic, Name: name}
	}
	s := p.sink
	var answers []ck.ConfigResourceResult
	p.told = s.ask(ctx, s.limits, func(ctx context.Context) (err error) {
		answers, err = s.main.admin.DescribeConfigs(ctx, resources, ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
		return err
	})
	for _, a := range answers {
		t := p.find(a.Name)
		number := func(setting string) int {
			n, _ := strconv.Atoi(a.Config[setting].Value) // 0 where it is not told
			return n
		}
		t.maxBytes, t.minISR = number("max.message.bytes"), number("min.insync.replicas")
	}
}

// tryCreating asks whether the missing topics could be created, without creating them.
func (p *topicsProbe) tryCreating(ctx context.Context) {
	s := p.sink
	names := p.names(missing)
	if len(names) == 0 || p.asked != nil || s.config.CreateTopics == nil {
		return
	}
	var results []ck.TopicResult
	err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
		results, err = s.main.admin.CreateTopics(ctx, s.config.CreateTopics.specify(names),
			ck.SetAdminValidateOnly(true), ck.SetAdminRequestTimeout(s.config.ConnectTimeout))
		return err
	})
	for _, t := range p.topics {
		t.creating = err
	}
	for _, r := range results {
		if r.Error.Code() != ck.ErrNoError && r.Error.Code() != ck.ErrTopicAlreadyExists {
			p.find(r.Topic).creating = errors.New(s.scrub(r.Error))
		}
	}
}

// findings has one for each topic.
func (p *topicsProbe) findings(ctx context.Context) []syncd.Finding {
	var out []syncd.Finding
	for _, t := range p.topics {
		f := syncd.Finding{Subject: "topic " + t.name}
		switch {
		case t.illegal != nil:
			f.Status, f.Detail = syncd.StatusFailed, fmt.Sprintf("for collection %s: %v", strings.Join(t.collections, ", "), t.illegal)
			f.Hint = topicRule + "; set sink.kafka.topic or the collection's own topic"
		case p.asked != nil:
			f = failedFinding(ctx, f, p.asked)
		case t.refused != "":
			f.Status, f.Detail = syncd.StatusFailed, t.refused
			f.Hint = "grant this login the operations WRITE and DESCRIBE on the topic"
		case t.exists:
			f = t.health(f)
		default:
			f = p.absent(f, t)
		}
		out = append(out, f)
	}
	return out
}

// absent completes the finding about a topic that does not exist.
func (p *topicsProbe) absent(f syncd.Finding, t *probedTopic) syncd.Finding {
	how := p.sink.config.CreateTopics
	switch {
	case how == nil:
		f.Status = syncd.StatusFailed
		f.Detail = fmt.Sprintf("does not exist, and collection %s goes there", strings.Join(t.collections, ", "))
		f.Hint = "create it, or set sink.kafka.create_topics (with partitions and replication_factor) to have a run create it"
	case t.creating != nil:
		f.Status, f.Detail = syncd.StatusFailed, fmt.Sprintf("does not exist and can't be created: %v", t.creating)
		f.Hint = "create it, or correct sink.kafka.create_topics; the login needs the operation CREATE"
	default:
		f.Status, f.Detail = syncd.StatusOK, "does not exist yet; a run will create it with "+how.shape()
	}
	return f
}

// shape says what a created topic looks like.
func (how *CreateTopics) shape() string {
	partitions, replicas := "the brokers' number of partitions", "their replication factor"
	if how.Partitions > 0 {
		partitions = count(how.Partitions, "partition", "partitions")
	}
	if how.ReplicationFactor > 0 {
		replicas = fmt.Sprintf("replication factor %d", how.ReplicationFactor)
	}
	return partitions + " and " + replicas
}

// health completes the finding about a topic that exists: whether each partition can take events now.
func (t *probedTopic) health(f syncd.Finding) syncd.Finding {
	f.Status = syncd.StatusOK
	replicas, leaderless, thin := 0, 0, 0
	for _, part := range t.partitions {
		replicas = max(replicas, len(part.Replicas))
		switch {
		case part.Leader < 0:
			leaderless++
		case len(part.Isrs) < t.minISR:
			thin++
		}
	}
	f.Detail = fmt.Sprintf("%s, replication factor %d", count(len(t.partitions), "partition", "partitions"), replicas)
	if t.minISR > 0 {
		f.Detail += fmt.Sprintf(", min.insync.replicas %d", t.minISR)
	}
	switch {
	case t.minISR > replicas:
		f.Status = syncd.StatusFailed
		f.Detail += ": more than there are replicas, so that nothing can be written"
		f.Hint = "lower the topic's min.insync.replicas, or give it more replicas"
	case leaderless > 0:
		f.Status = syncd.StatusFailed
		f.Detail += fmt.Sprintf(": %s without a leader", count(leaderless, "partition is", "partitions are"))
		f.Hint = "start the brokers that hold it; events wait until then, up to sink.kafka.delivery_timeout"
	case thin > 0:
		f.Status = syncd.StatusFailed
		f.Detail += fmt.Sprintf(": %s fewer replicas in sync", count(thin, "partition has", "partitions have"))
		f.Hint = "start the brokers that are missing; events wait until then, up to sink.kafka.delivery_timeout"
	}
	return f
}

// permission tells whether events may be written, where the brokers tell.
func (p *topicsProbe) permission(ctx context.Context) syncd.Finding {
	f := syncd.Finding{Subject: "permission to write", Status: syncd.StatusSkipped}
	var lacking []string
	known := 0
	for _, t := range p.topics {
		if !t.exists || t.operations == nil {
			continue
		}
		known++
		if !slices.Contains(t.operations, ck.ACLOperationWrite) && !slices.Contains(t.operations, ck.ACLOperationAll) {
			lacking = append(lacking, t.name)
		}
	}
	switch {
	case len(lacking) > 0:
		f.Status = syncd.StatusFailed
		f.Detail = "not granted on " + strings.Join(lacking, ", ")
		f.Hint = "grant it: kafka-acls.sh --add --allow-principal User:… --producer --topic …"
	case known > 0:
		f.Status, f.Detail = syncd.StatusOK, "granted on "+count(known, "topic", "topics")
	case ctx.Err() != nil:
		f = failedFinding(ctx, f, ctx.Err())
	case len(p.names(there)) == 0:
		f.Detail = "no topic exists yet"
	default:
		f.Detail = "the brokers do not tell it (Apache Kafka does from 2.3 on)"
	}
	return f
}

// largest compares max_message_bytes with what the topics accept.
func (p *topicsProbe) largest(ctx context.Context) syncd.Finding {
	f := syncd.Finding{Subject: "largest event", Status: syncd.StatusSkipped}
	wanted := p.sink.config.MaxMessageBytes
	smallest := &probedTopic{}
	for _, t := range p.topics {
		if t.maxBytes > 0 && (smallest.maxBytes == 0 || t.maxBytes < smallest.maxBytes) {
			smallest = t
		}
	}
	switch {
	case smallest.maxBytes > 0 && smallest.maxBytes < wanted:
		f.Status = syncd.StatusWarning
		f.Detail = fmt.Sprintf("max_message_bytes is %d, but topic %s accepts %d bytes (max.message.bytes)", wanted, smallest.name, smallest.maxBytes)
		f.Hint = fmt.Sprintf("set sink.kafka.max_message_bytes: %d, or raise the topic's max.message.bytes", smallest.maxBytes)
	case smallest.maxBytes > 0:
		f.Status = syncd.StatusOK
		f.Detail = fmt.Sprintf("%d bytes; the topics accept %d", wanted, smallest.maxBytes)
	case ctx.Err() != nil:
		f = failedFinding(ctx, f, ctx.Err())
	case len(p.names(there)) == 0:
		f.Detail = "no topic exists yet"
	case p.told != nil:
		f.Detail = fmt.Sprintf("the topics' settings could not be asked for: %v", p.told)
	default:
		f.Detail = "the brokers do not tell the topics' max.message.bytes to this login (it lacks DESCRIBE_CONFIGS)"
	}
	return f
}
