package conformance

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/qdrant/go-client/qdrant"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
	qdrantsink "github.com/syncd-io/syncd/sinks/qdrant"
)

// TestSwitchOfTheSink: an alias is made, switched, and not taken back; doing it again does nothing. By SYNCD_TEST_QDRANT it is a real
// Qdrant that is asked.
func TestSwitchOfTheSink(t *testing.T) {
	older, newer := newIndex(t), newIndex(t)
	newer.addr = older.addr
	alias := older.collection + "_alias"
	of := func(x *index) *syncd.Switch {
		t.Helper()
		s := x.sink(t, func(c *qdrantsink.Config) { c.Alias = alias })
		can := s.Abilities().Switch
		if can == nil {
			t.Fatal("the sink can't switch")
		}
		return can
	}
	state := func(can *syncd.Switch, want syncd.SwitchState) {
		t.Helper()
		if got, err := can.State(t.Context()); err != nil || got != want {
			t.Errorf("the state of %s is %+v, %v; want %+v", can.Name, got, err, want)
		}
	}
	do := func(can *syncd.Switch, want string) {
		t.Helper()
		if before, err := can.Do(t.Context()); err != nil || before != want {
			t.Errorf("before, %s stood for %q, %v; want %q", can.Name, before, err, want)
		}
	}
	first := of(older)
	state(first, syncd.SwitchState{})
	do(first, "")
	do(first, older.collection)
	state(first, syncd.SwitchState{Now: older.collection, Done: true})

	second := of(newer)
	state(second, syncd.SwitchState{Now: older.collection})
	do(second, older.collection)
	state(second, syncd.SwitchState{Now: newer.collection, Done: true})
	state(first, syncd.SwitchState{Now: newer.collection, Left: true})
	if err := older.client.DeleteAlias(t.Context(), alias); err != nil {
		t.Fatal(err)
	}
	state(second, syncd.SwitchState{Left: true})

	// What became of one alias of a collection says nothing of another.
	other := older.sink(t, func(c *qdrantsink.Config) { c.Alias = alias + "_of_others" }).Abilities().Switch
	state(other, syncd.SwitchState{})
	do(other, "")
	state(other, syncd.SwitchState{Now: older.collection, Done: true})
	state(first, syncd.SwitchState{Left: true})

	// One that somebody else has made is noted, and left when it goes elsewhere.
	third := newIndex(t)
	third.addr = older.addr
	can := of(third)
	if err := older.client.CreateAlias(t.Context(), alias, third.collection); err != nil {
		t.Fatal(err)
	}
	state(can, syncd.SwitchState{Now: third.collection, Done: true})
	if err := older.client.CreateAlias(t.Context(), alias, older.collection); err != nil {
		t.Fatal(err)
	}
	state(can, syncd.SwitchState{Now: older.collection, Left: true})
	if s := older.sink(t, nil).Abilities().Switch; s != nil {
		t.Error("a sink without an alias can switch")
	}
}

// TestSwitchBeforePrepare: nothing is known of a collection that is still to be made.
func TestSwitchBeforePrepare(t *testing.T) {
	x := newIndex(t)
	conf := qdrantsink.Plugin().Config().(*qdrantsink.Config)
	conf.URL, conf.Collection, conf.Alias = "http://"+x.addr, x.collection, x.collection+"_alias"
	s, err := qdrantsink.Plugin().OpenSink(t.Context(), conf, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st, err := s.Abilities().Switch.State(t.Context()); err != nil || st != (syncd.SwitchState{}) {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestSwitchWithoutMetadata: a Qdrant that can't keep that it was switched is named, with what to do.
func TestSwitchWithoutMetadata(t *testing.T) {
	server, err := qdrantserver.Start(qdrantserver.Config{Version: "1.15.5"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var log bytes.Buffer
	conf := qdrantsink.Plugin().Config().(*qdrantsink.Config)
	conf.URL, conf.Collection, conf.Alias, conf.Create.Enabled = "http://"+server.Addr(), "a", "b", true
	s, err := qdrantsink.Plugin().OpenSink(t.Context(), conf, syncd.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	vectors := &syncd.Vectors{Dimensions: func(context.Context) (int, error) { return 4, nil }}
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{Vectors: vectors}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Abilities().Switch.Do(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "keeps no metadata of collections") || !strings.Contains(log.String(), "remove sink.qdrant.alias") {
		t.Errorf("it says %s", log.String())
	}
	if st, err := s.Abilities().Switch.State(t.Context()); err != nil || !st.Done {
		t.Errorf("%+v, %v", st, err)
	}
	if server.Calls(qdrant.Collections_UpdateAliases_FullMethodName) != 1 {
		t.Error("it was not switched in one request")
	}
}
