package syncd

import "context"

// Probe is the ability of an opened source, checker, stage or sink to tell, without doing anything, whether a run would
// find what it needs: it is what `validate --connect` asks.
//
// It is called once, right after the plugin was opened and before its Close, with nothing else running; it may ask
// several questions at the same time. It only reads: it creates nothing, not even what a run would create, and leaves no
// trace but in the server's log. It returns soon after ctx ends, with what it knows by then; a question that was not
// answered in time is a Finding as well, since "could not ask" is never "all is well". There is one ProbeTarget for each
// collection of the run, in the order of the configuration. The findings stand in the order in which a person should
// read them, first the one about the server itself, and hold no secret.
type Probe func(ctx context.Context, targets []ProbeTarget) []Finding

// ProbeTarget is one collection of a run, as the source reads it, the index holds it and the sink is sent it.
type ProbeTarget struct {
	Target
	Filter         string // as in Collection; empty means every document
	ContentTypeKey string // the payload key under which the index keeps the content type

	PayloadKeys []string // all payload keys of the index that the run looks at
}

// Finding is the answer to one question of a Probe.
type Finding struct {
	Subject string // what was looked at, in a few words: "collection page"
	Status  Status
	Detail  string // what was found, one line without a period at its end
	Hint    string // what to do about it, or ""
	// Dimensions is how many numbers a vector has, where the finding is about who makes or holds vectors; 0 is not known. A stage's and a
	// sink's must be equal.
	Dimensions int
}

// Status is how good a Finding is.
type Status string

// The statuses.
const (
	StatusOK      Status = "ok"
	StatusWarning Status = "warning" // a run would work, but perhaps not as meant
	StatusFailed  Status = "failed"  // a run would fail, or it could not be found out whether it would
	StatusSkipped Status = "skipped" // not looked at, since it does not matter to the run or the server does not tell
)

// Locator is implemented by a plugin's config type to say where its server or files are, for messages such as "Kafka at
// broker:9092". The text holds no secret. It must not connect.
type Locator interface {
	Location() string
}
