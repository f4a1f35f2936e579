package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/sendlog"
)

// Job is a configuration that is to be executed: by Backfill, Plan, Verify or With, one at a time.
type Job struct {
	Config *config.Config
	Logger *slog.Logger
	// Getenv looks a variable of the environment up, for the default state folder.
	Getenv func(string) string
	// Env completes what a plugin is opened with; nil leaves it at the Logger.
	Env func(env syncd.Env, p config.Plugin) syncd.Env
	// Drain is closed when the job is to finish what is under way and end; nil never is.
	Drain <-chan struct{}
	// Process names this process in a cluster; empty makes a name.
	Process string
	// Address is that of this process's service, for others in the cluster to tell; it may be empty.
	Address string
	// Revision tells the configuration from what it was before, in the record of runs; it may be empty.
	Revision string
	// Events bounds the events that are sent, together with other jobs that have the same limiter; nil does not.
	Events *rate.Limiter
}

// Observer is told how a run goes, one call at a time, for a person who follows it. Each function may be nil.
type Observer struct {
	State          func(Decision)                // an interrupted run is resumed, or is not
	RunID          func(string)                  // under which everything that follows happens
	Lag            func(l arrival.Lag, end bool) // of the consumers, before anything is read; end is the last word
	Started        func(IndexReport, bool)       // the index was looked at; full: it was not asked
	CollectionDone func(engine.CollectionReport)
	Arriving       func(arrival.Arrivals) // how far the index has come with what was sent
}

// needsDocuments is an error where the source has no documents to look at.
func (j *Job) needsDocuments() error {
	if !j.Config.FollowedOnly() {
		return nil
	}
	return &UsageError{syncd.Hint(fmt.Errorf("the source %s has changes, and no documents to look at", j.Config.Source.Name()), "use a configuration whose source is the database")}
}

// options are a run's, from the configuration.
func (j *Job) options(p *Plugins) Options {
	c := j.Config
	o := Options{
		Options: engine.Options{
			RunID: uuid.NewString(), Source: p.Source, Checker: p.Checker, Stages: p.Stages, Sink: p.Sink, DeadLetters: p.DeadLetters, Rules: c.Mapping.Rules,
			BatchSize: c.Run.BatchSize, BatchBytes: c.Run.BatchBytes, Sleep: c.Run.Sleep, Readers: c.Run.Readers, Workers: c.Run.Workers,
			Limits: engine.Limits{
				DocumentsPerSecond: c.Limits.DocumentsPerSecond, BytesPerSecond: c.Limits.BytesPerSecond, MaxEvents: c.Limits.MaxEvents,
				Events: j.Events,
			},
			Memory: engine.Memory{Documents: c.Run.DocumentMemory(), Sending: c.Run.SendingMemory(), PointIDs: c.Run.PointIDMemory()},
			MinAge: c.Run.MinAge, StopOnFailure: c.Errors.Tolerance == config.TolerateNone, MaxFailures: c.Errors.Max,
			Oversize: engine.Oversize(c.Errors.Oversize), WaitForIndex: c.Run.OnCheckUnavailable == config.OutageWait,
			StallAfter: c.Run.StallAfter, Drain: j.Drain, Logger: j.Logger,
		},
		Orphans: OrphanMode(c.Run.Orphans), WaitTimeout: c.Run.WaitTimeout,
		Guards: Guards{AllowDrift: c.Run.AllowDrift, MaxMissingRatio: c.Limits.MaxMissingRatio, MaxDeletes: c.Limits.MaxDeletes},
	}
	return o
}

// dryRun has a run send nothing.
func (j *Job) dryRun(o *Options, sample float64, measure int) {
	o.DryRun = &engine.DryRun{Sample: sample, Measure: measure}
	if p := j.Config.Previewer(); p != nil {
		o.DryRun.Preview = p.Preview
	}
}

// whole reports whether every collection of the mapping is read.
func (j *Job) whole() bool { return len(j.Config.Run.Collections) == 0 }

// sourceLabel is what people call the source, and where it is.
func (j *Job) sourceLabel() string {
	label := j.Config.Source.Place()
	if n, ok := j.Config.Source.Settings.(syncd.DatabaseNamer); ok {
		label += fmt.Sprintf(", database %q", n.DatabaseName())
	}
	return label
}

// indexLabel is what people call the index; empty where there is none.
func (j *Job) indexLabel() string {
	if j.Config.Checker.Settings == nil {
		return ""
	}
	return j.Config.Checker.Label()
}

// indexOf tells an index from all others, in words, and gives its own name.
func (j *Job) indexOf(ctx context.Context, checker syncd.Checker) (text, name string, err error) {
	text = j.Config.Checker.Label()
	if l, ok := j.Config.Checker.Settings.(syncd.Locator); ok {
		text += " at " + l.Location()
	}
	if inspect := checker.Abilities().Inspect; inspect != nil {
		index, err := inspect(ctx)
		if err != nil {
			return "", "", fmt.Errorf("looking at the index: %w", err)
		}
		if name = index.Name; name != "" {
			text += ", " + name
		}
	}
	if name == "" {
		name = j.Config.Checker.Name()
	}
	return text, name, nil
}

// StateDir is the folder of the local records of a configuration, which may be empty for the default one.
func StateDir(set string, getenv func(string) string) (string, error) {
	if set != "" {
		return set, nil
	}
	// As the XDG Base Directory Specification has it, which ignores relative paths.
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "syncd"), nil
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "syncd"), nil
	}
	return "", syncd.Hint(errors.New("there is no folder for local records: neither XDG_STATE_HOME nor HOME is set"),
		"set run.state_dir to a folder that outlives the run")
}

// openLedger opens the record of attempts, or returns nil where none is kept: where the configuration wants none, and where
// no index is asked, since nobody would know what never appeared there.
func (j *Job) openLedger(ctx context.Context, checker syncd.Checker, readOnly bool) (*sendlog.Ledger, error) {
	c := &j.Config.Run.Attempts
	if c.Max == 0 || checker == nil {
		return nil, nil //nolint:nilnil // no record is kept
	}
	index, name, err := j.indexOf(ctx, checker)
	if err != nil {
		return nil, err
	}
	path := c.File
	if path == "" {
		dir, err := StateDir(j.Config.Run.StateDir, j.Getenv)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(index))
		path = filepath.Join(dir, fmt.Sprintf("attempts-%s-%s.db", fileName(name), hex.EncodeToString(sum[:4])))
	}
	return sendlog.Open(sendlog.Config{Path: path, Index: index, Max: c.Max, Retry: c.Retry, ReadOnly: readOnly})
}

// fileName keeps what any file system takes.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}
