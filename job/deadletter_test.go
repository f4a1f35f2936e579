package job_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/syncdtest"
	"github.com/syncd-io/syncd/tally"
)

func headersOf(e codec.Event) map[string]string {
	out := map[string]string{}
	for _, h := range e.Headers {
		out[h.Name] = h.Value
	}
	return out
}

// TestDeadLetters: a document that can't be sent is there to be looked at, with what is known of it.
func TestDeadLetters(t *testing.T) {
	for _, tc := range []struct {
		name    string
		doc     syncdtest.MemoryDoc
		reject  error
		keyless bool
		full    bool

		stage, class, reason string
		reasonHeader         string
		key, value           string
		point                uuid.UUID
	}{
		{
			name: "read", doc: syncdtest.MemoryDoc{ID: "a", Err: errors.New("no id text")},
			stage: "TASK_POLL", class: "syncd.DocumentError", reason: "no id text", reasonHeader: "missing",
			key: "a", value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"}}`,
		},
		{
			name: "read, without an id", doc: syncdtest.MemoryDoc{ID: "a", Err: errors.New("no id text")}, keyless: true, full: true,
			stage: "TASK_POLL", class: "syncd.DocumentError", reason: "no id text", reasonHeader: "full",
			key: "", value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":""}}`,
		},
		{
			name: "read, without a usable id", doc: syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"n": 1}, Err: fmt.Errorf("line 7: %w", syncd.ErrNoID)},
			stage: "TASK_POLL", class: "syncd.DocumentError", reason: "line 7: no usable id", reasonHeader: "missing",
			key: "a", value: `{"_id":"a","n":1}`,
		},
		{
			name: "encode", doc: syncdtest.MemoryDoc{ID: "a", EncodeErr: errors.New("not UTF-8")},
			stage: "VALUE_CONVERTER", class: "syncd.DocumentError", reason: "not UTF-8", reasonHeader: "missing",
			key: "a", value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"}}`, point: pointID("page", "a"),
		},
		{
			name: "encode, of a document that can be written by itself", doc: syncdtest.MemoryDoc{ID: "a\xff"},
			stage: "VALUE_CONVERTER", class: "syncd.DocumentError", reason: "UTF-8", reasonHeader: "missing",
			key: "a\xff", value: `{"_id":"a\ufffd"}`, point: pointID("page", "a\xff"),
		},
		{
			name: "write", doc: syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"n": 1}}, reject: errors.New("not allowed"), full: true,
			stage: "KAFKA_PRODUCE", class: "syncd.DocumentError", reason: "not allowed", reasonHeader: "full",
			key: "a", value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"},"fullDocument":{"_id":"a","n":1}}`, point: pointID("page", "a"),
		},
		{
			name: "too large", doc: syncdtest.MemoryDoc{ID: "a", Fields: map[string]any{"n": 1}}, reject: fmt.Errorf("9 bytes: %w", syncd.ErrTooLarge),
			stage: "KAFKA_PRODUCE", class: "syncd.DocumentTooLarge", reason: "9 bytes: too large", reasonHeader: "missing",
			key: "a", value: `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"a"}}`, point: pointID("page", "a"),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.source.Insert("page", tc.doc, syncdtest.MemoryDoc{ID: "good"})
			dead := syncdtest.NewMemorySink()
			f.opts.DeadLetters = dead
			if tc.keyless {
				f.opts.Source = keyless{f.source}
			}
			if tc.full {
				f.opts.Checker = nil
			}
			f.sink.Reject = func(e codec.Event) error {
				if e.ID == "good" {
					return nil
				}
				return tc.reject
			}
			rep, err := job.Run(t.Context(), f.opts)
			if err != nil || rep.Total.Failed() != 1 || rep.Total.DeadLettered != 1 || rep.Total.Acked != 1 {
				t.Fatalf("%v, %+v", err, rep.Total)
			}
			if f := rep.Collections[0].Failures[0]; f.NoID != tc.keyless {
				t.Errorf("%+v", f)
			}
			if len(dead.Events()) != 1 || len(f.sink.Events()) != 1 || len(dead.Prepared()) != 1 {
				t.Fatalf("%d dead letters, %d events, prepared %v", len(dead.Events()), len(f.sink.Events()), dead.Prepared())
			}
			e := dead.Events()[0]
			if string(e.Key) != tc.key || string(e.Value) != tc.value || e.PointID != tc.point || e.Target != f.opts.Rules[0].Target() {
				t.Errorf("key %q, value %s, point %s, target %+v", e.Key, e.Value, e.PointID, e.Target)
			}
			h := headersOf(e)
			if !strings.Contains(h[codec.HeaderErrorMessage], tc.reason) {
				t.Errorf("message %q", h[codec.HeaderErrorMessage])
			}
			delete(h, codec.HeaderErrorMessage)
			delete(h, codec.HeaderReadTime)
			want := map[string]string{
				"syncd-run-id": "run-1", "syncd-reason": tc.reasonHeader, "syncd-content-type": "page", "syncd-point-id": tc.point.String(),
				"__connect.errors.topic": "db.page", "__connect.errors.connector.name": "syncd", "__connect.errors.task.id": "0",
				"__connect.errors.stage": tc.stage, "__connect.errors.exception.class.name": tc.class,
			}
			if diff := cmp.Diff(want, h); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// smallSink takes nothing that carries a document.
func smallSink() *syncdtest.MemorySink {
	s := syncdtest.NewMemorySink()
	s.Reject = func(e codec.Event) error {
		if strings.Contains(string(e.Value), "fullDocument") || strings.HasPrefix(string(e.Value), `{"_id"`) {
			return syncd.ErrTooLarge
		}
		return nil
	}
	return s
}

// TestDeadLettersThatAreTooLargeThemselves go without their documents.
func TestDeadLettersThatAreTooLargeThemselves(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 5, nil)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "\xff"})
	f.sink.Reject = func(e codec.Event) error {
		if e.ID < "00003" {
			return errors.New("not allowed")
		}
		return nil
	}
	dead := smallSink()
	f.opts.DeadLetters = dead
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Total.DeadLettered != 4 || rep.Total.Acked != 2 {
		t.Errorf("%v, %+v", err, rep.Total)
	}
	got := map[string]string{}
	for _, e := range dead.Events() {
		got[e.ID] = string(e.Value)
		if headersOf(e)[codec.HeaderErrorStage] == "" {
			t.Errorf("%s has no reason", e.ID)
		}
	}
	want := map[string]string{"\xff": "{}"} // of which not even the id can be written
	for _, id := range []string{"00000", "00001", "00002"} {
		want[id] = `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"` + id + `"}}`
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDeadLettersThatAreRefused: the run stops, so that no failed document is forgotten, and the next attempt meets it again.
func TestDeadLettersThatAreRefused(t *testing.T) {
	for name, faults := range map[string]syncdtest.SinkFaults{
		"down":              {Write: syncdtest.Nth(2, syncdtest.Fault{Err: errBoom})},
		"down for one":      {Write: syncdtest.Nth(2, syncdtest.Fault{Fail: map[int]error{0: fmt.Errorf("%w: %w", errBoom, syncd.ErrUnavailable)}})},
		"not even the id":   {Write: syncdtest.InOrder(syncdtest.Fault{}, syncdtest.Fault{Fail: map[int]error{0: errBoom}}, syncdtest.Fault{Fail: map[int]error{0: errBoom}})},
		"can't be prepared": {Prepare: syncdtest.Nth(1, syncdtest.Fault{Err: errBoom})},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 100, nil)
			f.sink.Reject = func(e codec.Event) error {
				if e.ID[4] == '5' {
					return errors.New("not allowed")
				}
				return nil
			}
			f.opts.Workers, f.opts.Readers = 1, 1
			dead := syncdtest.NewMemorySink()
			o := f.opts
			o.DeadLetters = syncdtest.FaultySink(dead, faults)
			path := filepath.Join(t.TempDir(), "run.db")
			rep, err := attempt(t.Context(), t, path, o)
			if !errors.Is(err, errBoom) {
				t.Fatal(err)
			}
			if faults.Prepare == nil && (syncd.HintOf(err) == "" && name != "down for one" || rep.Total.DeadLettered != 1 || len(f.sink.Events()) != 18) {
				t.Errorf("hint %q, %+v, %d events", syncd.HintOf(err), rep.Total, len(f.sink.Events()))
			}
			o.DeadLetters = dead
			rep, err = attempt(t.Context(), t, path, o)
			if err != nil || rep.Total.DeadLettered != 10 || rep.Total.FailedWrite != 10 || rep.Total.Acked != 90 {
				t.Errorf("%v, %+v", err, rep.Total)
			}
			buried := map[string]bool{}
			for _, e := range dead.Events() {
				buried[e.ID] = true
			}
			if len(buried) != 10 || len(f.sentIDs()) != 90 {
				t.Errorf("dead letters %v, %d documents", slices.Sorted(maps.Keys(buried)), len(f.sentIDs()))
			}
		})
	}
}

// TestTheDocumentThatStopsTheRunIsADeadLetter, too.
func TestTheDocumentThatStopsTheRunIsADeadLetter(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 100, nil)
	f.sink.Reject = func(e codec.Event) error {
		if e.ID == "00042" {
			return errors.New("not allowed")
		}
		return nil
	}
	f.opts.Workers, f.opts.Readers, f.opts.StopOnFailure = 1, 1, true
	dead := syncdtest.NewMemorySink()
	f.opts.DeadLetters = dead
	rep, err := job.Run(t.Context(), f.opts)
	if !errors.Is(err, engine.ErrStopped) || !strings.Contains(err.Error(), "00042") || rep.Total.FailedWrite != 1 || rep.Collections[0].Complete {
		t.Errorf("%v, %+v", err, rep.Total)
	}
	if len(dead.Events()) != 1 || dead.Events()[0].ID != "00042" || len(f.sink.Events()) != 49 {
		t.Errorf("%d dead letters, %d events", len(dead.Events()), len(f.sink.Events()))
	}
}

// TestMaxFailuresIsExact, however many workers meet failures at once.
func TestMaxFailuresIsExact(t *testing.T) {
	for _, fail := range []int{0, 1, 30} {
		for limit, stops := range map[int64]bool{0: false, 1: fail > 1, 29: fail > 29, 30: false, 31: false} {
			t.Run(fmt.Sprintf("fail=%d max=%d", fail, limit), func(t *testing.T) {
				f := newFixture(t, "page")
				f.insert("page", 60, nil)
				for i := range fail { // of each kind
					d := syncdtest.MemoryDoc{ID: fmt.Sprintf("%05d", 2*i)}
					switch i % 3 {
					case 0:
						d.Err = errors.New("no id")
					case 1:
						d.EncodeErr = errors.New("not UTF-8")
					case 2:
						d.Fields = map[string]any{"refused": true}
					}
					f.source.Insert("page", d)
				}
				f.sink.Reject = func(e codec.Event) error {
					if strings.Contains(string(e.Value), "refused") {
						return errors.New("not allowed")
					}
					return nil
				}
				f.opts.BatchSize, f.opts.MaxFailures, f.opts.Workers = 3, limit, 8
				rep, err := job.Run(t.Context(), f.opts)
				var guard *tally.GuardError
				if errors.As(err, &guard) != stops || !stops && (err != nil || rep.Total.Failed() != int64(fail) || rep.Total.Acked != int64(60-fail)) {
					t.Errorf("%v, %+v", err, rep.Total)
				}
				if stops && (rep.Total.Failed() <= limit || guard.Advice == "") {
					t.Errorf("stopped after %d failures: %+v", rep.Total.Failed(), guard)
				}
			})
		}
	}
}

// TestOversize: what becomes of an event that is too large is the user's to say.
func TestOversize(t *testing.T) {
	tooLarge := func(e codec.Event) bool { return e.ID[4] == '5' && strings.Contains(string(e.Value), "fullDocument") }
	for _, tc := range []struct {
		name    string
		policy  engine.Oversize
		reject  func(e codec.Event) error // beside what is too large
		fault   map[int]error             // of the write of the references
		err     error
		acked   int64
		refs    int64
		refused int64
	}{
		{name: "default", acked: 90, refused: 10},
		{name: "dlq", policy: engine.OversizeDLQ, acked: 90, refused: 10},
		{name: "reference", policy: engine.OversizeReference, acked: 100, refs: 10},
		{
			name: "reference that is refused", policy: engine.OversizeReference, acked: 99, refs: 9, refused: 1,
			reject: func(e codec.Event) error {
				if e.ID == "00055" {
					return fmt.Errorf("even so: %w", syncd.ErrTooLarge)
				}
				return nil
			},
		},
		{name: "reference, outage", policy: engine.OversizeReference, fault: map[int]error{0: syncd.ErrUnavailable}, err: syncd.ErrUnavailable, acked: 9},
		{name: "fail", policy: engine.OversizeFail, err: engine.ErrStopped, acked: 9, refused: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, "page")
			f.insert("page", 100, nil)
			f.sink.Reject = func(e codec.Event) error {
				if tooLarge(e) {
					return syncd.ErrTooLarge
				}
				if tc.reject != nil {
					return tc.reject(e)
				}
				return nil
			}
			f.opts.Oversize, f.opts.Workers, f.opts.Readers = tc.policy, 1, 1
			if tc.fault != nil {
				f.opts.Sink = syncdtest.FaultySink(f.sink, syncdtest.SinkFaults{Write: syncdtest.Nth(2, syncdtest.Fault{Fail: tc.fault})})
			}
			dead := syncdtest.NewMemorySink()
			f.opts.DeadLetters = dead
			rep, err := job.Run(t.Context(), f.opts)
			if !errors.Is(err, tc.err) {
				t.Fatal(err)
			}
			n := rep.Total
			if n.Acked != tc.acked || n.Referenced != tc.refs || n.FailedWrite != tc.refused || n.DeadLettered != tc.refused && tc.err == nil {
				t.Errorf("%+v", n)
			}
			if tc.err != nil && syncd.HintOf(err) == "" && tc.policy == engine.OversizeFail {
				t.Error("no hint")
			}
			refs := int64(0)
			for _, e := range f.sink.Events() {
				if headersOf(e)[codec.HeaderDocument] == codec.DocumentReference {
					refs++
					if string(e.Value) != `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"`+e.ID+`"}}` || string(e.Key) != e.ID {
						t.Errorf("reference %s, key %s", e.Value, e.Key)
					}
				}
			}
			if refs != tc.refs {
				t.Errorf("%d references", refs)
			}
		})
	}
}

// TestADryRunWritesNoDeadLetters: it only counts.
func TestADryRunWritesNoDeadLetters(t *testing.T) {
	f := newFixture(t, "page")
	f.insert("page", 10, nil)
	f.source.Insert("page", syncdtest.MemoryDoc{ID: "x", Err: errors.New("no id")})
	dead := syncdtest.NewMemorySink()
	f.opts.DeadLetters, f.opts.DryRun, f.opts.Sink = dead, &engine.DryRun{}, nil
	rep, err := job.Run(t.Context(), f.opts)
	if err != nil || rep.Total.FailedRead != 1 || rep.Total.DeadLettered != 0 || len(dead.Events()) != 0 || len(dead.Prepared()) != 0 {
		t.Errorf("%v, %+v", err, rep.Total)
	}
}
