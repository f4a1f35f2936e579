package mongo

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/syncd-io/syncd"
)

// What the driver's own lists hold, which it does not export.
var driversCodes = []int{6, 7, 63, 89, 91, 133, 134, 150, 189, 234, 262, 9001, 10058, 10107, 11600, 11602, 13388, 13435, 13436}

func TestTransientCodes(t *testing.T) {
	for _, code := range append(slices.Clone(driversCodes), lostCursorCodes...) {
		if transientCodes[code] == "" {
			t.Errorf("%d is not among them", code)
		}
	}
	for _, code := range []int{16500, 365, 462, 11601, 43} {
		if !isTransient(mongodriver.CommandError{Code: int32(code)}) {
			t.Errorf("%d is final", code)
		}
	}
	for _, code := range []int{0, 1, 2, 8, 13, 18, 26, 59, 96, 112, 146, 238, 251, 280, 286, 391, 8000} {
		if isTransient(mongodriver.CommandError{Code: int32(code)}) {
			t.Errorf("%d is tried again", code)
		}
	}
}

func TestRetryReasons(t *testing.T) {
	command := func(code int32, labels ...string) error {
		return fmt.Errorf("asking: %w", mongodriver.CommandError{Code: code, Labels: labels})
	}
	for want, errs := range map[string][]error{
		"not primary":      {command(10107), command(189), command(13435)},
		"shutting down":    {command(91), command(11600)},
		"cursor lost":      {command(43), command(237)},
		"throttled":        {command(16500), command(365)},
		"timeout":          {command(50), command(262), fmt.Errorf("x: %w", context.DeadlineExceeded), topology.WaitQueueTimeoutError{}},
		"network":          {command(6), command(0, "NetworkError"), driver.Error{Labels: []string{"NetworkError"}, Wrapped: io.EOF}},
		"no usable server": {topology.ServerSelectionError{Wrapped: context.DeadlineExceeded}},
		"other":            {command(0, "RetryableError")},
	} {
		for _, err := range errs {
			if got := retryReason(err); got != want {
				t.Errorf("%v: %q, want %q", err, got, want)
			}
		}
	}
}

// reasons collects what Env.Retried is told.
type reasons struct {
	mu   sync.Mutex
	told []string
}

func (r *reasons) add(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, reason)
}

func TestRetriedIsTold(t *testing.T) {
	server := newStub(t)
	var docs []any
	for i := range 60 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	server.set(t, "c", docs...)
	f := &faults{name: "getMore", reply: failure(43, "CursorNotFound")}
	f.left.Store(2)
	server.intercept = f.intercept
	var r reasons
	cfg := config("mongodb://" + server.addr() + "/")
	cfg.BatchSize = 7
	src, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Retried: r.add})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := readKeys(t.Context(), src, syncd.ReadRequest{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cursor lost", "cursor lost"}, r.told); diff != "" {
		t.Error(diff)
	}
}

// Told once for each time that it is asked again: not for the last failure, not for one that is final.
func TestRetriedIsToldOncePerAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			err        error
			asks, told int
		}{
			{mongodriver.CommandError{Code: 91}, maxAttempts, maxAttempts - 1},
			{mongodriver.CommandError{Code: 2}, 1, 0},
		} {
			var r reasons
			asks := 0
			_, err := retried(t.Context(), &source{retried: r.add}, func() (int, error) { asks++; return 0, c.err })
			if err == nil || asks != c.asks || len(r.told) != c.told {
				t.Errorf("%v: asked %d times, told %q", err, asks, r.told)
			}
		}
	})
}
