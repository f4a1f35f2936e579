package kafka

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/kafkaconn"
)

// notableOutage is how long a broker must be away before that is told: connections that nobody uses are cut, too.
const notableOutage = time.Second

// source is an open source: a consumer, which joins its group when the stream is read.
type source struct {
	cfg      Config
	logger   *slog.Logger
	scrubber dial.Scrubber
	decoder  codec.Decoder
	contact  *contact.Contact
	member   *member

	mu     sync.Mutex
	lost   bool            // the last read ended with a lost position: the next one goes on with what is still there
	warned map[string]bool // what was said once
}

func open(ctx context.Context, cfg Config, env syncd.Env) (syncd.Source, error) {
	s := &source{
		cfg: cfg, logger: env.Logger, scrubber: cfg.Security.Scrubber(cfg.Properties), decoder: codec.Decoder{Form: cfg.Format},
		warned: map[string]bool{},
	}
	s.contact = contact.New(contact.Config{
		Log: env.Logger, Server: "Kafka", Address: cfg.BootstrapServers, Verb: "read", Patience: notableOutage,
		Trying: "connecting again, and closing and opening everything after " + awayAfter.String(),
	})
	if err := cfg.Security.CheckFiles(section); err != nil {
		return nil, err
	}
	conf := cfg.librdkafka(env.Memory)
	var err error
	if s.member, err = s.newMember(conf); err != nil {
		err := fmt.Errorf("configuring the Kafka client: %s", s.scrub(err))
		if strings.Contains(err.Error(), "ssl.") {
			return nil, syncd.Hint(err, section+".security.tls: ca_file, cert_file and key_file must be PEM files that can be read, and key_password that of key_file")
		}
		_, version := ck.LibraryVersion()
		return nil, syncd.Hint(err, section+".properties must be properties of librdkafka %s; see its CONFIGURATION.md", version)
	}
	if err := s.preflight(ctx); err != nil {
		return nil, errors.Join(err, s.member.close())
	}
	return s, nil
}

// Abilities implements syncd.Source.
func (s *source) Abilities() syncd.SourceAbilities {
	return syncd.SourceAbilities{
		Stream: &syncd.Streaming{Streams: s.streams, Now: s.now, Window: s.window, Commit: s.commit},
		Probe:  s.probe,
	}
}

// errFollowedOnly says what a topic lacks.
var errFollowedOnly = syncd.Hint(errors.New("topics of Kafka have changes, and no documents to look at: they can only be followed"), "use run --follow")

// Splits implements syncd.Source.
func (s *source) Splits(context.Context, syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) { yield(syncd.Split{}, errFollowedOnly) }
}

// Fetch implements syncd.Source.
func (s *source) Fetch(context.Context, syncd.Collection, []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) { yield(syncd.Fetched{}, errFollowedOnly) }
}

// Close leaves the group, once what was confirmed is committed.
func (s *source) Close() error { return s.member.close() }

// scrub gives an error's text without the configuration's secrets.
func (s *source) scrub(err error) string { return s.scrubber.Replace(err.Error()) }

// once reports whether something is to be said for the first time.
func (s *source) once(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.warned[what]
	s.warned[what] = true
	return !said
}

// preflight proves that the brokers can be reached and accept the credentials, or says which of the two it is.
func (s *source) preflight(ctx context.Context) error {
	patience := s.cfg.ConnectTimeout
	if end, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(end))
	}
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.member.troubles.OnHopeless(cancel)
	_, err := s.metadata(asked, nil)
	causes := s.member.troubles.Started()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled): // where time ran out, what was met until then says more
		return fmt.Errorf("connecting to Kafka at %s: %w", s.cfg.BootstrapServers, ctx.Err())
	}
	c := kafkaconn.Connection{Section: section, Servers: s.cfg.BootstrapServers, Security: &s.cfg.Security, Scrubber: s.scrubber}
	return c.Explain(ctx, err, causes, patience.Round(100*time.Millisecond))
}

// metadata asks a broker for its view of the cluster and of one topic, or where topic is nil of all, until ctx ends. The library's call
// can't be interrupted, and one that times out forgets its request: so it is called for longer and longer.
func (s *source) metadata(ctx context.Context, topic *string) (*ck.Metadata, error) {
	for patience := 250 * time.Millisecond; ; patience = min(2*patience, 2*time.Second) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if end, ok := ctx.Deadline(); ok {
			patience = max(min(patience, time.Until(end)), time.Millisecond)
		}
		md, err := s.member.GetMetadata(topic, topic == nil, int(patience/time.Millisecond))
		if err == nil || !kafkaconn.Unreachable(err) {
			return md, err
		}
	}
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("topic %s, partition %d", p.topic, p.partition) }

func placeOf(tp ck.TopicPartition) place { return place{*tp.Topic, tp.Partition} }

// partitions lists the partitions of the topics that are read now. A topic that is named and does not exist is an error, as is a pattern
// that matches none where there is nothing else.
func (s *source) partitions(ctx context.Context) ([]ck.TopicPartition, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	pattern := slices.ContainsFunc(s.cfg.Topics, isPattern)
	var out []ck.TopicPartition
	seen := map[string]bool{}
	add := func(t ck.TopicMetadata) {
		if seen[t.Topic] {
			return
		}
		seen[t.Topic] = true
		for _, p := range t.Partitions {
			out = append(out, ck.TopicPartition{Topic: &t.Topic, Partition: p.ID})
		}
	}
	if pattern {
		md, err := s.metadata(ctx, nil)
		if err != nil {
			return nil, s.asked("asking for the topics", err)
		}
		for _, topic := range s.cfg.Topics {
			if !isPattern(topic) {
				continue
			}
			re, err := regexp.CompilePOSIX(topic)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", topic, err)
			}
			for name, t := range md.Topics {
				if re.MatchString(name) && t.Error.Code() == ck.ErrNoError {
					add(t)
				}
			}
		}
	}
	for _, topic := range s.cfg.Topics {
		if isPattern(topic) {
			continue
		}
		t, err := s.topic(ctx, topic)
		if err != nil {
			return nil, err
		}
		add(t)
	}
	if len(out) == 0 {
		return nil, syncd.Hint(fmt.Errorf("no topic matches %s", strings.Join(s.cfg.Topics, ", ")), "create it, or set "+section+".topics to topics that exist")
	}
	return out, nil
}

// topic asks for one topic.
func (s *source) topic(ctx context.Context, name string) (ck.TopicMetadata, error) {
	md, err := s.metadata(ctx, &name)
	if err != nil {
		return ck.TopicMetadata{}, s.asked(fmt.Sprintf("asking for topic %q", name), err)
	}
	t := md.Topics[name]
	switch t.Error.Code() {
	case ck.ErrNoError:
		if len(t.Partitions) > 0 {
			return t, nil
		}
		return t, fmt.Errorf("topic %q has no partitions yet: %w", name, syncd.ErrUnavailable)
	case ck.ErrUnknownTopic, ck.ErrUnknownTopicOrPart:
		return t, syncd.Hint(fmt.Errorf("the topic %q does not exist", name), "create it, or set "+section+".topics to topics that exist")
	case ck.ErrTopicAuthorizationFailed:
		return t, s.forbidden(fmt.Sprintf("asking for topic %q", name), t.Error)
	}
	return t, s.asked(fmt.Sprintf("asking for topic %q", name), t.Error)
}

// asked completes the error of a question to the brokers.
func (s *source) asked(what string, err error) error {
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, context.DeadlineExceeded), kafkaconn.Unreachable(err):
		return fmt.Errorf("%s: %s did not answer within %s: %w", what, s.cfg.BootstrapServers, s.cfg.ConnectTimeout, syncd.ErrUnavailable)
	case kafkaconn.Passing(err), kafkaconn.Code(err) == ck.ErrCoordinatorNotAvailable, kafkaconn.Code(err) == ck.ErrNotCoordinator,
		kafkaconn.Code(err) == ck.ErrCoordinatorLoadInProgress:
		return fmt.Errorf("%s: %s: %w", what, s.scrub(err), syncd.ErrUnavailable)
	}
	return fmt.Errorf("%s: %s", what, s.scrub(err))
}

// forbidden is an error of a login that may not do something.
func (s *source) forbidden(what string, err error) error {
	return syncd.Hint(fmt.Errorf("%s: %s", what, s.scrub(err)), "grant this login READ and DESCRIBE on %s.topics, and READ on the group %s", section, s.cfg.GroupID)
}
