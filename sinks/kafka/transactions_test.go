package kafka

import (
	"context"
	"errors"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// librdkafka's commit and abort are called without a timeout, and never while one is under way: whoever asks while it is, or later,
// gets the outcome of that one.
func TestRequest(t *testing.T) {
	calls, answers := make(chan context.Context, 10), make(chan error)
	c := &transactional{}
	commit := c.request(func(ctx context.Context) error {
		calls <- ctx
		return <-answers
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	patient, stop := context.WithTimeout(t.Context(), 30*time.Second) // which only a mistake takes
	defer stop()
	for range 3 {
		if err := commit(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	}
	refused := ck.NewError(ck.ErrFail, "refused", false)
	go func() { answers <- refused }()
	if err := commit(patient); !errors.Is(err, refused) {
		t.Errorf("the outcome of the call that was left under way: %v", err)
	}
	go func() { answers <- nil }()
	if err := commit(patient); err != nil {
		t.Errorf("the outcome of another call: %v", err)
	}
	if c.asked != nil {
		t.Error("a call is held to be under way")
	}
	if len(calls) != 2 {
		t.Errorf("%d calls", len(calls))
	}
	for range len(calls) {
		ctx := <-calls
		if _, limited := ctx.Deadline(); limited || ctx.Done() != nil {
			t.Error("a call has a timeout, or can be canceled")
		}
	}
}
