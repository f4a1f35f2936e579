package kafka

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/kafkaconn"
	"github.com/syncd-io/syncd/internal/wait"
)

// An offset of the stream stands for a moment of this process: where the group stands, its brokers keep.
const (
	// fromGroup is where the group stands.
	fromGroup syncd.Offset = "group"
	// fromRest is fromGroup, and where its offsets are not in the logs any more, what is still there.
	fromRest syncd.Offset = "group, and what is still there"
	// numbered begins the offset behind a batch.
	numbered = "group #"
)

// describe names the topics for a message.
func (c *Config) describe() string {
	const most = 3
	if len(c.Topics) > most {
		return fmt.Sprintf("topics %s and %d more", strings.Join(c.Topics[:most], ", "), len(c.Topics)-most)
	}
	if len(c.Topics) == 1 {
		return "topic " + c.Topics[0]
	}
	return "topics " + strings.Join(c.Topics, ", ")
}

// streams has one stream: the group's.
func (s *source) streams(ctx context.Context, collections []syncd.Collection) ([]syncd.Stream, error) {
	if _, err := s.partitions(ctx); err != nil {
		return nil, err
	}
	return []syncd.Stream{{Name: "group " + s.cfg.GroupID, Collections: collections}}, nil
}

// now has a group that is new begin, so that a read that comes later yields what is written from now on.
func (s *source) now(ctx context.Context, _ syncd.Stream) (syncd.Offset, error) {
	s.mu.Lock()
	lost := s.lost
	s.lost = false
	s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	if lost {
		return fromRest, nil
	}
	return fromGroup, nil
}

// begin commits where a group begins that has no offset yet. What it has no offset of later is newer than the group, and is read from its
// beginning: nothing that is written between two lives of it, or before it is known, is passed over.
func (s *source) begin(ctx context.Context) error {
	for pauses := 0; ; pauses++ {
		partitions, err := s.partitions(ctx)
		if err != nil {
			return err
		}
		known, err := s.stands(partitions)
		if err != nil || known {
			return err
		}
		at, err := s.starts(partitions)
		if err != nil {
			return err
		}
		done, err := s.member.CommitOffsets(at)
		for _, p := range done {
			if err == nil && p.Error != nil {
				err = p.Error
			}
		}
		switch code := kafkaconn.Code(err); {
		case err == nil:
			s.logger.Info("the consumer group is new", "group", s.cfg.GroupID, "start", s.cfg.Start)
			return nil
		case code == ck.ErrGroupAuthorizationFailed || code == ck.ErrTopicAuthorizationFailed:
			return s.forbidden("setting the offsets of the group "+s.cfg.GroupID, err)
		case code != ck.ErrUnknownMemberID && code != ck.ErrIllegalGeneration && code != ck.ErrRebalanceInProgress && code != ck.ErrNonEmptyGroup || pauses > 50:
			return s.asked("setting the offsets of the group "+s.cfg.GroupID, err)
		}
		// Another process is in the group already, and has set them, or is about to.
		if err := wait.Pause(ctx, pollTime); err != nil {
			return err
		}
	}
}

// stands reports whether the group has an offset of any of the partitions.
func (s *source) stands(partitions []ck.TopicPartition) (bool, error) {
	committed, err := s.member.Committed(slices.Clone(partitions), int(s.cfg.ConnectTimeout/time.Millisecond))
	if kafkaconn.Code(err) == ck.ErrGroupAuthorizationFailed {
		return false, s.forbidden("asking where the group "+s.cfg.GroupID+" stands", err)
	}
	if kafkaconn.Code(err) == ck.ErrGroupIDNotFound { // what some brokers say of a group that nobody was in yet
		return false, nil
	}
	if err != nil {
		return false, s.asked("asking where the group "+s.cfg.GroupID+" stands", err)
	}
	return slices.ContainsFunc(committed, func(p ck.TopicPartition) bool { return p.Offset >= 0 }), nil
}

// starts finds the offsets of Config.Start.
func (s *source) starts(partitions []ck.TopicPartition) ([]ck.TopicPartition, error) {
	out := slices.Clone(partitions)
	patience := int(s.cfg.ConnectTimeout / time.Millisecond)
	at, err := s.cfg.startTime()
	if err != nil {
		return nil, err
	}
	if !at.IsZero() {
		for i := range out {
			out[i].Offset = ck.Offset(at.UnixMilli())
		}
		if out, err = s.member.OffsetsForTimes(out, patience); err != nil {
			return nil, s.asked("finding the offsets of "+s.cfg.Start, err)
		}
	}
	for i := range out {
		p := &out[i]
		if !at.IsZero() && p.Offset >= 0 {
			continue // else nothing is as new: the end
		}
		low, high, err := s.member.QueryWatermarkOffsets(*p.Topic, p.Partition, patience)
		if err != nil {
			return nil, s.asked("finding where "+placeOf(*p).String()+" begins", err)
		}
		p.Offset = ck.Offset(high)
		if s.cfg.Start == startEarliest {
			p.Offset = ck.Offset(low)
		}
	}
	return out, nil
}

// commit is the ability Commit.
func (s *source) commit(ctx context.Context, _ syncd.Stream, at syncd.Offset) error {
	if number, ok := strings.CutPrefix(string(at), numbered); ok {
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fmt.Errorf("reading the offset %q: %w", at, err)
		}
		s.member.confirm(seq)
	}
	return s.member.commit(ctx)
}

// window is the time of the oldest and of the newest record, as far as brokers tell.
func (s *source) window(ctx context.Context, _ syncd.Stream) (w syncd.Window, err error) {
	partitions, err := s.partitions(ctx)
	if err != nil {
		return w, err
	}
	times := func(spec ck.OffsetSpec, each func(time.Time)) error {
		asked := make(map[ck.TopicPartition]ck.OffsetSpec, len(partitions))
		for _, p := range partitions {
			asked[p] = spec
		}
		answer, err := s.member.admin.ListOffsets(ctx, asked, ck.SetAdminRequestTimeout(s.cfg.ConnectTimeout))
		if err != nil {
			return s.asked("asking for the times of records", err)
		}
		for _, info := range answer.ResultInfos {
			if info.Error.Code() == ck.ErrNoError && info.Timestamp > 0 {
				each(time.UnixMilli(info.Timestamp))
			}
		}
		return nil
	}
	if err := times(ck.NewOffsetSpecForTimestamp(1), func(t time.Time) {
		if w.First.IsZero() || t.Before(w.First) {
			w.First = t
		}
	}); err != nil {
		return w, err
	}
	return w, times(ck.MaxTimestampOffsetSpec, func(t time.Time) {
		if t.After(w.Last) {
			w.Last = t
		}
	})
}
