package syncd

import "time"

// DeadLetter is a document that could not be handled, as a sink reads it back from where it was written.
type DeadLetter struct {
	Place       string    // where it stands: topic, partition and offset; file and line
	At          time.Time // when it was written; zero where the place does not say
	ID          string    // the document's id text; empty if it has none
	Collection  string    // empty where the place does not say
	ContentType string    // likewise
	Route       string    // where its event was to go
	RunID       string
	Stage       string // where it failed, in Kafka Connect's word
	Class       string // of the error
	Reason      string
	Value       []byte // what there is of the document
}
