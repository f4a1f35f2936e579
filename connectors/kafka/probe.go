package kafka

import (
	"context"
	"fmt"
	"slices"

	"github.com/syncd-io/syncd"
)

// probe is the ability Probe: it looks at the brokers, the topics and the group, and joins nothing.
func (s *source) probe(ctx context.Context, _ []syncd.ProbeTarget) []syncd.Finding {
	finding := func(subject string, err error, detail string) syncd.Finding {
		if err == nil {
			return syncd.Finding{Subject: subject, Status: syncd.StatusOK, Detail: detail}
		}
		f := syncd.Finding{Subject: subject, Status: syncd.StatusFailed, Detail: err.Error(), Hint: syncd.HintOf(err)}
		if ctx.Err() != nil {
			f.Detail = "no answer in time"
		}
		return f
	}
	partitions, err := s.partitions(ctx)
	var topics []string
	for _, p := range partitions {
		topics = append(topics, *p.Topic)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	findings := []syncd.Finding{finding("topics", err, fmt.Sprintf("%d, with %d partitions", len(topics), len(partitions)))}
	if err != nil {
		return findings
	}
	known, err := s.stands(partitions)
	detail := "the group " + s.cfg.GroupID + " has offsets"
	if !known {
		detail = "the group " + s.cfg.GroupID + " is new, and begins at " + s.cfg.Start
	}
	return append(findings, finding("consumer group", err, detail))
}
