package config

import (
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Run is the `run` section. Its parts are one block in a file.
type Run struct {
	Work
	Flow
	Waiting
	State
}

// Work says what a run does: which documents it looks at, and what it does about what it finds.
type Work struct {
	Mode               Mode          `yaml:"mode" env:"INCREMENTAL_BACKFILL" rule:"oneof=incremental full" doc:"Which documents to send: incremental (those that the index lacks) or full (all)."`
	Follow             bool          `yaml:"follow" doc:"After the run, follow the changes of the collections as they happen, from the moment at which the run began, until told to stop."`
	Collections        []string      `yaml:"collections" env:"BACKFILL_COLLECTIONS" doc:"Read only these collections of the mapping; empty means all. In a name * stands for any text and ? for any character, and ! in front leaves out what matches: [page*, \"!pageDraft\"]."`
	DryRun             bool          `yaml:"dry_run" env:"BACKFILL_DRY_RUN" doc:"Read and check, but send nothing, and say what would be sent."`
	OnCheckUnavailable OutagePolicy  `yaml:"on_check_unavailable" rule:"oneof=full fail wait" doc:"When the index can't be reached at the start: send everything (full), end the run (fail), or try again until it can be reached (wait)."`
	Orphans            OrphanMode    `yaml:"orphans" rule:"oneof=off report prune" doc:"Points whose documents are gone: do not look for them (off), count and name them (report), or send delete events for them (prune)."`
	MinAge             time.Duration `yaml:"min_age" rule:"min=0" doc:"Leave documents alone that changed within this time; needs mapping.version."`
	AllowDrift         bool          `yaml:"allow_drift" doc:"Send even where the computed ids differ from those that the index holds, or the versions by their form."`
}

// Flow says how fast and in which portions documents flow.
type Flow struct {
	BatchSize  int           `yaml:"batch_size" env:"BACKFILL_BATCH_SIZE" rule:"min=1,max=100000" doc:"Documents that travel together from the source through the check to the sink."`
	BatchBytes int           `yaml:"batch_bytes" rule:"min=1024,max=1073741824" doc:"Bytes of whole documents after which a batch ends early."`
	Memory     int64         `yaml:"memory" rule:"min=16777216,max=1099511627776" doc:"Bytes that documents may take in memory, all together: those that were read, events that are made of them, those that wait for their acknowledgement, and what remembers point ids. Of large documents fewer are under way. The process takes up to about 60 MB beside it. It also bounds Go's heap, unless the environment has GOMEMLIMIT or GOGC."`
	Sleep      time.Duration `yaml:"sleep" env:"BACKFILL_SLEEP" rule:"min=0" doc:"Pause after each batch of a collection."`
	Readers    int           `yaml:"readers" rule:"min=0,max=256" doc:"Splits read at the same time; 0 chooses by the number of processors."`
	Workers    int           `yaml:"workers" rule:"min=0,max=1024" doc:"Batches checked and sent at the same time; 0 chooses by the number of processors."`
	StallAfter time.Duration `yaml:"stall_after" rule:"min=0" doc:"Say what a run is waiting for when nothing has moved for so long; 0 never does."`
}

// Waiting says how long a run waits for those who index what it sends.
type Waiting struct {
	Wait               bool           `yaml:"wait" doc:"After sending, wait until the index shows everything that was sent, and name what never appeared."`
	WaitTimeoutSetting *time.Duration `yaml:"wait_timeout" rule:"omitempty,min=0" example:"5m" doc:"How long to wait for the index: 10m with wait and for consumer_group if it is not set. Without wait it is how long the index may take to show what was sent before the point count is printed: if it is not set, 10s where standard output is a terminal, and elsewhere a run ends when its work ends; 0 does not wait."`
	ConsumerGroup      string         `yaml:"consumer_group" rule:"name" example:"qdrant-consumer" doc:"The indexing consumers' group: before a run, events that it has not read yet are waited for, so that they are not sent twice."`
	ConsumerLag        LagPolicy      `yaml:"consumer_lag" rule:"oneof=wait report ignore" doc:"What to do about events that consumer_group has not read: wait for up to wait_timeout and stop if there are still some (wait), say how many there are and continue (report), or not look (ignore)."`

	// These follow from wait_timeout.
	WaitTimeout  time.Duration // for the point count, which is not waited for if nobody asked: see TerminalWait
	AwaitTimeout time.Duration // of wait and consumer_group
}

// State says what a job keeps on this machine between its runs.
type State struct {
	StateDir     string        `yaml:"state_dir" doc:"Folder of the local records that a run keeps; the default is syncd in the user's folder for state, ~/.local/state."`
	Resume       bool          `yaml:"resume" doc:"Keep in state_dir how far a run came, and resume there after an interruption, if the configuration is the same."`
	ResumeWithin time.Duration `yaml:"resume_within" rule:"min=1s" doc:"Resume only a run that was interrupted within this time; after that a run starts from the beginning, since what was looked at may have changed."`
	Attempts     Attempts      `yaml:"attempts" doc:"A local record of documents that were sent and never appeared in the index, so that they are not sent for ever."`
}

func defaultRun() Run {
	return Run{
		Work:    Work{Mode: Incremental, OnCheckUnavailable: OutageFull, Orphans: OrphansOff},
		Flow:    Flow{BatchSize: 1000, BatchBytes: 1 << 20, Memory: 128 << 20, StallAfter: time.Minute},
		Waiting: Waiting{ConsumerLag: LagWait},
		State:   State{Resume: true, ResumeWithin: 24 * time.Hour},
	}
}

// Mode says which documents a run sends.
type Mode string

// The modes.
const (
	Incremental Mode = "incremental" // those that the index lacks
	Full        Mode = "full"        // all
)

// OutagePolicy says what a run does when the index can't be reached at its start.
type OutagePolicy string

// The policies.
const (
	OutageFull OutagePolicy = "full" // send everything
	OutageFail OutagePolicy = "fail" // end the run
	OutageWait OutagePolicy = "wait" // try again until it can be reached
)

// OrphanMode says what a run does about points whose documents are gone.
type OrphanMode string

// The modes.
const (
	OrphansOff    OrphanMode = "off"    // do not look for them
	OrphansReport OrphanMode = "report" // count and name them
	OrphansPrune  OrphanMode = "prune"  // send deletes for them
)

// LagPolicy says what a run does about events that the consumers have not read yet.
type LagPolicy string

// The policies.
const (
	LagWait   LagPolicy = "wait"   // wait until they are read
	LagReport LagPolicy = "report" // say how many there are
	LagIgnore LagPolicy = "ignore" // do not look
)

// TerminalWait is how long a run waits for the point count where a person looks on and nothing says how long.
const TerminalWait = 10 * time.Second

// defaultAwait is how long a run waits for the index that is told to wait, if nothing says how long.
const defaultAwait = 10 * time.Minute

// run.memory is divided up here:
//
//	1/4  documents and ids that were read and are not handled yet, with what the source is asked for next
//	3/8  what is being sent: documents of 1/8, which are there as events, in the sink's queue, and in its requests
//	1/4  what remembers point ids
//	1/8  what else plugins keep, such as stages
//
// A source may keep more where nothing is sent, such as an index of a file.

// DocumentMemory is the part of run.memory for documents and ids that were read and are not handled yet.
func (f *Flow) DocumentMemory() int64 { return f.Memory / 4 }

// SendingMemory is the part for documents that are being sent, each of which takes several times its size.
func (f *Flow) SendingMemory() int64 { return f.Memory / 8 }

// PointIDMemory is the part for what remembers point ids.
func (f *Flow) PointIDMemory() int64 { return f.Memory / 4 }

// MostBatchBytes is the most that batch_bytes can be: several batches must fit.
func (f *Flow) MostBatchBytes() int64 { return f.DocumentMemory() / 8 }

// PluginMemory is the part that a plugin of a kind may use; see [syncd.Env].
func (f *Flow) PluginMemory(kind syncd.Kind) int64 {
	switch kind {
	case syncd.KindSource:
		return f.Memory / 2
	case syncd.KindSink:
		return f.Memory / 4
	}
	return f.Memory / 8
}

// setTimeouts derives the two times from wait_timeout.
func (w *Waiting) setTimeouts() {
	w.WaitTimeout, w.AwaitTimeout = 0, defaultAwait
	if set := w.WaitTimeoutSetting; set != nil {
		w.WaitTimeout, w.AwaitTimeout = *set, *set
	}
}

// Attempts is the `run.attempts` section.
type Attempts struct {
	Max   int    `yaml:"max" rule:"min=0,max=1000000" example:"5" doc:"Leave a document alone that was sent so many times and never appeared, until its version (see mapping.version) changes; 0 keeps no record."`
	File  string `yaml:"file" doc:"The record's file; the default is one for each index, in state_dir."`
	Retry bool   `yaml:"retry" doc:"Send once more what would be left alone."`
}

// CheckConfig implements spec.SelfChecker.
func (a *Attempts) CheckConfig(d *spec.Decoder, n *spec.Node) {
	if a.Max == 0 && a.File != "" {
		d.Report(spec.Warning, n.Get("file"), spec.CodeNoEffect, "set max beside it, such as 5", "%s.file has no effect: without max no record is kept", d.Path())
	}
}
