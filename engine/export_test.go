package engine

// Held is how many bytes nobody has given back.
func (e *Engine) Held() int64 { return e.held.held + e.sending.held }
