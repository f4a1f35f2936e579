package kafka

import (
	"testing"

	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/spec"
)

// The sink of dead letters starts from the settings of the one beside it. With its transactional.id it would shut that one out.
func TestDeriveSharesNoTransactions(t *testing.T) {
	c, diags := decode(t, "topic: events\nevent: {profile: mongo_kafka, json: extended}\nclient_id: job\ndelivery: exactly_once\ndelivery_timeout: 3m\ntransactions: {id: job, state_topic: own, timeout: 2m}")
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	letters := func(text string) *Config {
		d := c.Derive().(*Config)
		if diags := spec.Decode(parse(t, text), d, "errors", "dead_letter", "kafka"); len(diags) > 0 {
			t.Errorf("%s: %v", text, diags)
		}
		return d
	}
	// A shorter delivery_timeout would not do with the transactions of the other, but there are none.
	d := letters("topic: letters\ndelivery_timeout: 10s")
	if d.exactlyOnce() || d.Transactions != defaults().Transactions || d.ClientID != "job" || d.Event != c.Event {
		t.Errorf("delivery %s, transactions %+v, client_id %s, event %+v", d.Delivery, d.Transactions, d.ClientID, d.Event)
	}
	for _, property := range []string{"transactional.id", "transaction.timeout.ms"} {
		if v, ok := d.librdkafka()[property]; ok {
			t.Errorf("%s is %v", property, v)
		}
	}
	if d := letters("topic: letters\nevent: {json: simplified}"); d.Event.Profile != codec.MongoKafka || d.Event.JSON != codec.SimplifiedJSON || c.Event.JSON != codec.ExtendedJSON {
		t.Errorf("event %+v beside %+v", d.Event, c.Event)
	}
	if d := letters("topic: letters\ndelivery: exactly_once\ntransactions: {id: letters}"); d.Transactions.ID != "letters" || d.stateTopic() == "own" {
		t.Errorf("transactions %+v", d.Transactions)
	}
	if c.Topic != "events" || c.Transactions.ID != "job" {
		t.Error("the sink beside it is another one now")
	}
	if d := c.Derive().(*Config); d.Topic != "" {
		t.Errorf("topic %q", d.Topic)
	}
}
