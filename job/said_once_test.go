package job_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestAnErrorOfTheSourceNamesTheCollectionOnce, whether the source has named it or not: who reads a thing twice looks for two
// failures.
func TestAnErrorOfTheSourceNamesTheCollectionOnce(t *testing.T) {
	const what = " collection page: "
	for doing, faults := range map[string]func(f syncdtest.Fault) syncdtest.SourceFaults{
		"counting": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Count: syncdtest.Always(f)}
		},
		"counting after the read": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Count: syncdtest.Nth(2, f)}
		},
		"splitting": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Splits: syncdtest.Always(f)}
		},
		"reading": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Read: syncdtest.Always(f)}
		},
		"reading a second": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Batch: syncdtest.Nth(2, f)}
		},
		"fetching documents of": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Fetch: syncdtest.Always(f)}
		},
		"fetching documents of, for a plan": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Fetch: syncdtest.Always(f)}
		},
		"finding documents of": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Find: syncdtest.Always(f)}
		},
		"finding documents of, to delete": func(f syncdtest.Fault) syncdtest.SourceFaults {
			return syncdtest.SourceFaults{Find: syncdtest.Nth(2, f)}
		},
	} {
		begins, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(doing, " after the read"), " a second"), ",")
		begins += what
		cause := errors.New("the disk is gone")
		for _, err := range []error{cause, fmt.Errorf("%s%w", begins, cause)} {
			f := newFixture(t, "page")
			f.insert("page", 30, func(i int) bool { return i%2 == 0 })
			f.checker.Put(pointID("page", "orphan"), map[string]any{"content_type": "page", "mongo_id": "orphan", "chunk_index": 0})
			f.opts.Source = syncdtest.FaultySource(f.source, faults(syncdtest.Fault{Err: err}))
			f.opts.Orphans = job.OrphansPrune
			switch {
			case strings.HasSuffix(doing, "a plan"):
				f.opts.DryRun, f.opts.Sink = &engine.DryRun{Measure: 10, Preview: preview}, nil
			case strings.HasSuffix(doing, "after the read"): // fewer documents than were counted
				f.opts.Source = syncdtest.FaultySource(miscounts{f.source}, faults(syncdtest.Fault{Err: err}))
			}
			_, got := job.Run(t.Context(), f.opts)
			if got == nil || strings.Count(got.Error(), what) != 1 || !strings.HasSuffix(got.Error(), begins+cause.Error()) {
				t.Errorf("%s: %v", doing, got)
			}
		}
	}
}

// TestExplainNamesTheCollectionOnce as a run does.
func TestExplainNamesTheCollectionOnce(t *testing.T) {
	for _, doing := range []string{"finding", "fetching"} {
		begins := doing + " documents of collection page: "
		cause := errors.New("the disk is gone")
		for _, err := range []error{cause, fmt.Errorf("%s%w", begins, cause)} {
			f := newFixture(t, "page")
			f.insert("page", 3, nil)
			faults := syncdtest.SourceFaults{Find: syncdtest.Always(syncdtest.Fault{Err: err})}
			if doing == "fetching" {
				faults = syncdtest.SourceFaults{Fetch: syncdtest.Always(syncdtest.Fault{Err: err})}
			}
			_, got := audit.Explain(t.Context(), syncdtest.FaultySource(f.source, faults), f.checker, f.opts.Rules[0], nil, "00001")
			if got == nil || got.Error() != begins+cause.Error() {
				t.Errorf("%s: %v", doing, got)
			}
		}
	}
}

// miscounts counts a document too many, so that a run counts again.
type miscounts struct{ *syncdtest.MemorySource }

func (s miscounts) Abilities() syncd.SourceAbilities {
	can := s.MemorySource.Abilities()
	can.Count = func(ctx context.Context, c syncd.Collection) (int64, error) {
		n, err := s.Count(ctx, c)
		return n + 1, err
	}
	return can
}

// brings is a source whose reads bring the documents unasked, as one does that could only fetch them by reading once more.
type brings struct{ *syncdtest.MemorySource }

func (s brings) Read(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	req.Documents = true
	return s.MemorySource.Read(ctx, req)
}

// TestAPlanFetchesNothingThatWasBrought to estimate the bytes of events.
func TestAPlanFetchesNothingThatWasBrought(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 30, nil)
	f.opts.Source = syncdtest.FaultySource(brings{f.source}, syncdtest.SourceFaults{Fetch: syncdtest.Always(syncdtest.Fault{Err: errors.New("fetched")})})
	f.opts.DryRun, f.opts.Sink = &engine.DryRun{Measure: 10, Preview: preview}, nil
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Collections[0].Measured == 0 || rep.Collections[0].MeasuredBytes == 0 {
		t.Errorf("%v, %+v", err, rep.Collections)
	}
}
