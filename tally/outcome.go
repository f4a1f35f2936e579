package tally

// Outcome is how a run ended. Exit codes, reports, metrics and kept states all use these words.
type Outcome string

// The outcomes.
const (
	Running     Outcome = "running"     // it has not ended
	Complete    Outcome = "complete"    // every document was handled
	Failures    Outcome = "failures"    // every document was looked at, but some could not be sent
	NotArrived  Outcome = "not_arrived" // everything was sent, but the index did not show all of it in time
	Stopped     Outcome = "stopped"     // a guard ended it, or an audit found differences
	Interrupted Outcome = "interrupted" // it was asked to end early
	Failed      Outcome = "failed"
)

// Outcomes lists those of a run that has ended.
func Outcomes() []Outcome {
	return []Outcome{Complete, Failures, NotArrived, Stopped, Interrupted, Failed}
}

// Finished reports whether every document was looked at and all that can be sent was.
func (o Outcome) Finished() bool { return o == Complete || o == Failures || o == NotArrived }
