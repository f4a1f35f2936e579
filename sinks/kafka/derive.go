package kafka

// Derive implements syncd.Deriver. Two sinks of one transactional id would shut each other out, so a sink beside one with
// transactions has none, unless it is given its own.
func (c *Config) Derive() any {
	d := *c
	d.Topic = "" // must be set anew
	d.Delivery, d.Transactions = atLeastOnce, defaults().Transactions
	return &d
}
