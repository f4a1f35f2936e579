package kafka

import (
	"slices"
	"testing"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// TestJudge says of which reports, in one partition and in this order, the offset proves something.
func TestJudge(t *testing.T) {
	const none = int64(ck.OffsetInvalid)
	for name, c := range map[string]struct {
		offsets []int64
		again   int   // from this index on, events were produced after all reports before were here; 0 is never
		proved  []int // indices
	}{
		"one after another":                   {offsets: []int64{0, 1, 2, 7, 8}, proved: []int{0, 1, 2, 3, 4}},
		"a topic with a past":                 {offsets: []int64{500, 501, 503}, proved: []int{0, 1, 2}},
		"no offset, and the batch behind":     {offsets: []int64{none, none, 0, 1}, proved: []int{2, 3}},
		"a duplicate that is the first":       {offsets: []int64{-1, 0, 1, 2}},
		"a duplicate of one":                  {offsets: []int64{-1, 5, 6}, proved: []int{1, 2}},
		"a duplicate behind others":           {offsets: []int64{7, 8, -1, 0, 1, 9}, proved: []int{0, 1, 5}},
		"a duplicate larger than all before":  {offsets: []int64{0, 1, -1, 0, 1, 2, 3, 4}, proved: []int{0, 1}},
		"two duplicates":                      {offsets: []int64{-1, 0, 1, -1, 0, 1, 2}},
		"a duplicate, then the next batch":    {offsets: []int64{-1, 0, 1, 40, 41}, proved: []int{3, 4}},
		"a duplicate that is said to be at 0": {offsets: []int64{0, 1, 2, 0, 1, 2, 3, 4}, proved: []int{0, 1, 2}},
		"the same offset twice":               {offsets: []int64{4, 4}, proved: []int{0}},
		"a topic made anew":                   {offsets: []int64{90, 91, 0, 1, 2}, proved: []int{0, 1}},
		"sent anew behind a duplicate, and in its place": {
			offsets: []int64{-1, 0, 1, 2, 3, 4}, again: 3, proved: []int{3, 4, 5},
		},
		"sent anew, and a duplicate again": {offsets: []int64{-1, 0, -1, 0, 1, 2}, again: 2},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{proofs: map[lane]*proof{}}
			topic := "t"
			var proved []int
			for i, offset := range c.offsets {
				s := &slot{topic: &topic}
				if c.again > 0 && i >= c.again {
					s.doubts = 1
				}
				at := ck.TopicPartition{Offset: ck.Offset(offset)}
				j.look(s, &at)
				if at.Offset >= 0 {
					proved = append(proved, i)
				}
			}
			if !slices.Equal(proved, c.proved) {
				t.Errorf("of %v the indices %v are proved, want %v", c.offsets, proved, c.proved)
			}
		})
	}
}

// TestJudgeTellsLanesApart: partitions, topics and clients have offsets and duplicates of their own.
func TestJudgeTellsLanesApart(t *testing.T) {
	j := &judge{proofs: map[lane]*proof{}}
	a, b, main, alone := "a", "b", &client{}, &client{}
	for i, c := range []struct {
		slot      slot
		partition int32
		offset    ck.Offset
		proved    bool
	}{
		{slot{topic: &a, client: main}, 0, 10, true},
		{slot{topic: &a, client: main}, 1, 3, true},
		{slot{topic: &b, client: main}, 0, 4, true},
		{slot{topic: &a, client: alone}, 0, 9, true}, // its report came late
		{slot{topic: &a, client: main}, 0, -1, false},
		{slot{topic: &a, client: main}, 1, 0, false},
		{slot{topic: &b, client: main}, 0, 5, true},
		{slot{topic: &a, client: main}, 0, 0, false},
	} {
		at := ck.TopicPartition{Partition: c.partition, Offset: c.offset}
		j.look(&c.slot, &at)
		if (at.Offset >= 0) != c.proved {
			t.Errorf("report %d: proved %t", i, !c.proved)
		}
	}
	failed := ck.TopicPartition{Offset: 2, Error: ck.NewError(ck.ErrMsgTimedOut, "", false)}
	j.look(&slot{topic: &a, client: main}, &failed)
	if failed.Offset != 2 {
		t.Error("a report of a failure was judged")
	}
}
