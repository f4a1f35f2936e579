package progress

import (
	"time"

	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/tally"
)

// progressObject is a view as JSON; counts are those of the report.
type progressObject struct {
	Time        time.Time         `json:"time"`
	RunID       string            `json:"run_id"`
	Phase       string            `json:"phase"`
	Documents   int64             `json:"documents"`          // handled
	Expected    *int64            `json:"expected,omitempty"` // where every collection's number is known
	PerSecond   float64           `json:"documents_per_second"`
	ETASeconds  *float64          `json:"eta_seconds,omitempty"`
	Counts      tally.Counts      `json:"counts"`
	Bytes       int64             `json:"bytes"`
	Embedded    *embedded         `json:"embedded,omitempty"` // of a job that embeds, by this process
	Stalled     bool              `json:"stalled"`
	Working     map[string]int    `json:"working"`
	Collections map[string]object `json:"collections"`
	Streams     map[string]stream `json:"streams,omitempty"` // that are followed
	Changes     *float64          `json:"changes_per_second,omitempty"`
	Merged      int64             `json:"merged_changes,omitempty"` // left out for later ones
	Window      *float64          `json:"window_seconds,omitempty"` // how far back the source keeps its changes, where it tells
}

// embedded is what the stages had embedded by now.
type embedded struct {
	Tokens int64   `json:"tokens"`
	Texts  int64   `json:"texts"`
	Cost   float64 `json:"cost,omitempty"` // in US dollars
}

type object struct {
	Expected *int64       `json:"expected,omitempty"`
	Done     bool         `json:"done"`
	Counts   tally.Counts `json:"counts"`
}

// stream is a stream that is followed.
type stream struct {
	Counts  tally.Counts `json:"counts"` // since it began
	Waiting int          `json:"waiting"`
	Lag     *float64     `json:"lag_seconds,omitempty"` // where it is known
	Silent  float64      `json:"silent_seconds"`
	Idle    bool         `json:"idle"` // there is nothing left to handle
}

func (v *view) object() progressObject {
	o := progressObject{
		Time: v.Started.Add(v.Elapsed).UTC(), RunID: v.RunID, Phase: v.Phase.String(), Documents: v.Total.Scanned, PerSecond: v.rates[""],
		Counts: v.Total, Bytes: v.Bytes, Stalled: v.Stalled, Working: map[string]int{}, Collections: map[string]object{},
	}
	if n, known := v.expected(); known {
		o.Expected = &n
		if r := v.rates[""]; r > 0 {
			eta := float64(max(0, n-v.Total.Scanned)) / r
			o.ETASeconds = &eta
		}
	}
	if e := v.Embedded; e != nil {
		o.Embedded = &embedded{Tokens: e.Tokens, Texts: e.Texts, Cost: e.Cost}
	}
	for s := engine.StageScan; s < engine.StageCount; s++ {
		o.Working[s.String()] = v.Working[s]
	}
	for _, c := range v.Collections {
		x := object{Done: c.Done, Counts: c.Counts}
		if c.Before >= 0 {
			x.Expected = &c.Before
		}
		o.Collections[c.Name] = x
	}
	now := time.Now()
	for _, s := range v.Streams {
		x := stream{Counts: s.Counts, Waiting: s.Waiting, Silent: max(0, now.Sub(s.Heard).Seconds()), Idle: s.Current && !v.Paused}
		if lag, ok := v.Lag(s); ok {
			behind := lag.Seconds()
			x.Lag = &behind
		}
		if o.Streams == nil {
			rate := v.rates[followedRate]
			o.Streams, o.Changes, o.Merged = map[string]stream{}, &rate, v.Merged
		}
		o.Streams[s.Name] = x
	}
	if w := v.Window; w.Last.After(w.First) && !w.First.IsZero() {
		reaches := w.Last.Sub(w.First).Seconds()
		o.Window = &reaches
	}
	return o
}
