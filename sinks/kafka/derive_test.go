package kafka

import "testing"

// The sink of dead letters starts from the settings of the one beside it. With its transactional.id it would shut that one out.
func TestDeriveSharesNoTransactions(t *testing.T) {
	c := defaults()
	c.Delivery, c.Transactions.ID, c.Topic = exactlyOnce, "job", "events"
	d := c.Derive().(*Config)
	if d.exactlyOnce() || d.Transactions.ID != "" || d.Topic != "" {
		t.Errorf("delivery %s, transactions.id %q, topic %q", d.Delivery, d.Transactions.ID, d.Topic)
	}
	if !c.exactlyOnce() || c.Transactions.ID == "" {
		t.Error("the sink beside it is another one now")
	}
}
