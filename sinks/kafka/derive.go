package kafka

// Derive implements syncd.Deriver. Two sinks of one transactional id would shut each other out, so a sink beside one with
// transactions has none.
func (c *Config) Derive() any {
	d := *c
	d.Topic = "" // must be set anew
	d.Delivery, d.Transactions.ID = atLeastOnce, ""
	return &d
}
