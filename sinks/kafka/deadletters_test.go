package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
)

// TestDeadLettersAreReadBack: each says whose it is and why, and events beside them are passed over.
func TestDeadLettersAreReadBack(t *testing.T) {
	c := cluster(t, "letters", "empty")
	s := startClosing(t, c.BootstrapServers(), func(c *Config) { c.Topic = "letters" })
	target := &syncd.Target{Database: "db", Collection: "page", ContentType: "doc"}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{ID: "run", Targets: []syncd.Target{*target}}); err != nil {
		t.Fatal(err)
	}
	var changes []syncd.Change
	for i := range 50 {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: fmt.Sprintf("doc-%d", i)}})
		if err != nil {
			t.Fatal(err)
		}
		change := syncd.Change{ID: fmt.Sprintf("doc-%d", i), Target: target, Document: bsondoc.NewDocument(raw)}
		if i%2 == 0 {
			change.Err = &syncd.DocumentError{Stage: syncd.FailedWrite, Route: "db.page", Cause: fmt.Errorf("reason %d", i)}
		}
		changes = append(changes, change)
	}
	if err := s.Write(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for l, err := range s.Abilities().DeadLetters(t.Context(), []syncd.Target{*target, *target}) {
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(l.Place, "letters/") || l.At.IsZero() || l.ContentType != "doc" || l.Route != "db.page" || l.Stage != "KAFKA_PRODUCE" || len(l.Value) == 0 {
			t.Errorf("%+v", l)
		}
		found[l.ID] += l.Reason
	}
	if len(found) != 25 || found["doc-48"] != "reason 48" {
		t.Errorf("%d letters: %v", len(found), found)
	}
	n := 0
	for range s.Abilities().DeadLetters(t.Context(), []syncd.Target{*target}) {
		if n++; n == 3 {
			break // and it ends
		}
	}
	for topic := range map[string]bool{"empty": true, "none": true} {
		other := startClosing(t, c.BootstrapServers(), func(c *Config) { c.Topic = topic })
		for l, err := range other.Abilities().DeadLetters(t.Context(), []syncd.Target{*target}) {
			if topic == "none" && errors.Is(err, syncd.ErrUnavailable) {
				continue // the broker in process makes no difference
			}
			t.Errorf("%s: %+v, %v", topic, l, err)
		}
	}
}
