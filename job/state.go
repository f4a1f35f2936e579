package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/store/marks"
	"github.com/syncd-io/syncd/tally"
)

// Decision is what was decided about the run that the store kept.
type Decision struct {
	Resumed     bool
	Followed    bool      // the kept run was not interrupted: it had followed until it was told to stop
	Interrupted time.Time // when the kept run was last heard of
	Handled     int64     // documents that it had handled
	Why         string    // why it is not resumed
	RunID       string    // of the run that is resumed
	From        string    // the process of the cluster that led it before, where that was another one
}

// openStore opens the store of the job and makes its state the run's: that of the interrupted run, or a new one. It is nil where
// none is kept.
func (j *Job) openStore(ctx context.Context, p *Plugins, scope store.Scope, fresh *bool, o *Options) (_ store.Store, d *Decision, err error) {
	can := p.Sink.Abilities()
	exactlyOnce := can.Commit != nil
	none := func(why string) (store.Store, *Decision, error) {
		if exactlyOnce {
			return nil, nil, &UsageError{errors.New("exactly once needs the run's state: " + why)}
		}
		return nil, nil, nil
	}
	c := j.Config
	switch {
	case !c.Run.Resume:
		return none("set run.resume: true")
	case !continues(c.Sink):
		return none("the sink does not keep what an interrupted run sent")
	case !continues(c.DeadLetter):
		return none("errors.dead_letter does not keep what an interrupted run sent there")
	}
	var st store.Store
	if exactlyOnce {
		open := marks.Open
		if *fresh { // whatever is wrong with the old state does not matter
			open = marks.OpenFresh
		}
		if st, err = open(ctx, can, c.Name); err != nil {
			return nil, nil, fmt.Errorf("reading the committed positions: %w", err)
		}
	} else if st, err = j.openBolt(*fresh); st == nil || err != nil {
		return nil, nil, err
	}
	if d, err = j.adopt(ctx, st, scope, *fresh, o); err != nil {
		return nil, nil, errors.Join(err, st.Close(ctx, endOf(ErrInterrupted, true)))
	}
	*fresh = false // the next run of a schedule resumes this one
	o.Checkpoints = st
	o.Monitor.keeps(st)
	return st, d, nil
}

// openBolt opens the store in the state folder. It is nil where the default folder can't be written to: then nothing is kept.
func (j *Job) openBolt(fresh bool) (store.Store, error) {
	dir, err := StateDir(j.Config.Run.StateDir, j.Getenv)
	if err != nil {
		j.Logger.Warn("no state is kept: this run can't be resumed", "reason", err.Error(), "hint", "set run.state_dir")
		return nil, nil //nolint:nilnil // none is kept
	}
	if fresh { // whatever is wrong with the old state does not matter
		if err := bolt.Clear(dir, j.Config.Name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	if err := bolt.Tidy(dir, time.Now()); err != nil {
		return nil, err
	}
	st, err := bolt.Open(dir, j.Config.Name)
	if err != nil {
		if j.Config.Run.StateDir == "" && (errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS)) {
			j.Logger.Warn("no state is kept: this run can't be resumed", "reason", err.Error(), "hint", syncd.HintOf(err))
			return nil, nil //nolint:nilnil // none is kept
		}
		return nil, err
	}
	return st, nil
}

// continues reports whether what an interrupted run sent to a sink is still there; where there is no sink, nothing is missing.
func continues(p config.Plugin) bool {
	c, ok := p.Settings.(syncd.Continuer)
	return !ok || c.Continues()
}

// adopt resumes the run in the store if there is one to resume, else begins a new one.
func (j *Job) adopt(ctx context.Context, st store.Store, scope store.Scope, fresh bool, o *Options) (*Decision, error) {
	old := st.Info()
	var d *Decision
	if old.RunID != "" && old.Resumable && !fresh {
		d = &Decision{Followed: old.Outcome == tally.Complete, Interrupted: old.Updated, Handled: st.Handled()}
		age := time.Since(old.Updated).Abs() // a clock may have been wrong
		switch differs := difference(old.Scope, scope); {
		case differs != "":
			d.Why = "it had another " + differs
		case old.Follows && !j.Config.Run.Follow && j.backfilled(st):
			// What changed since it followed is in no stream of this run, and behind all positions that it kept.
			d.Why = "it had looked at all documents, and followed changes"
		case age > j.Config.Run.ResumeWithin:
			d.Why = fmt.Sprintf("it is older than run.resume_within, %s", j.Config.Run.ResumeWithin)
		default:
			d.Resumed, d.RunID, o.RunID = true, old.RunID, old.RunID
			return d, st.Resume(ctx)
		}
	}
	info := store.Info{Job: j.Config.Name, RunID: o.RunID, Scope: scope, Follows: j.Config.Run.Follow}
	if n := len(j.Config.Files); n > 0 {
		info.Config = j.Config.Files[n-1]
	}
	return d, st.Begin(ctx, info)
}

// backfilled reports whether the kept run has looked at all documents, by the rules of today.
func (j *Job) backfilled(st store.Store) bool {
	return !slices.ContainsFunc(j.Config.Mapping.Rules, func(r *mapping.Rule) bool {
		kept := st.Recall(r.Collection.Name)
		return kept == nil || !kept.Complete || kept.Rule != r.Fingerprint()
	})
}

// difference says in words what of two scopes differs first, or nothing.
func difference(a, b store.Scope) string {
	switch {
	case a.Source != b.Source:
		return fmt.Sprintf("source (%s)", a.Source)
	case a.Index != b.Index && a.Index == "":
		return "mode: it asked no index"
	case a.Index != b.Index && b.Index == "":
		return "mode: it asked the index"
	case a.Index != b.Index:
		return fmt.Sprintf("index (%s)", a.Index)
	case a.Sink != b.Sink:
		return fmt.Sprintf("sink (%s)", a.Sink)
	case a.Mode != b.Mode:
		return fmt.Sprintf("mode (%s)", a.Mode)
	case strings.Join(a.Collections, "\x00") != strings.Join(b.Collections, "\x00"):
		return fmt.Sprintf("choice of collections (%s)", strings.Join(a.Collections, ", "))
	case a.Settings != b.Settings:
		return "form of events, topics, run.min_age or run.attempts.retry"
	}
	return ""
}

// scope says what a run works on. It changes with whatever would make the positions of one run mean something else in another,
// but for the rules of collections, of which each collection's state has its own fingerprint; how fast a run works is not part
// of it.
func (j *Job) scope(ctx context.Context, p *Plugins) (store.Scope, error) {
	c := j.Config
	place := func(p config.Plugin) string {
		if l, ok := p.Settings.(syncd.Locator); ok {
			return p.Name() + " " + l.Location()
		}
		return p.Name()
	}
	s := store.Scope{Source: place(c.Source), Sink: place(c.Sink), Mode: string(c.Run.Mode)}
	if p.Checker != nil {
		index, _, err := j.indexOf(ctx, p.Checker)
		if err != nil {
			return s, err
		}
		s.Index = index
	}
	h := sha256.New()
	router, _ := c.Sink.Settings.(syncd.Router)
	for _, r := range c.Mapping.Rules {
		s.Collections = append(s.Collections, r.Collection.Name)
		if router != nil {
			fmt.Fprintf(h, "%q\n", router.Route(r.Target()))
		}
	}
	fmt.Fprintf(h, "min age %s\nretry %t\n", c.Run.MinAge, c.Run.Attempts.Retry)
	if preview := c.Previewer(); preview != nil {
		for _, change := range sampleChanges() {
			key, value, err := preview.Preview(&change)
			fmt.Fprintf(h, "%x %x %v\n", key, value, err)
		}
	}
	s.Settings = hex.EncodeToString(h.Sum(nil)[:8])
	return s, nil
}

// fingerprint sums up a scope and the rules of the collections.
func (j *Job) fingerprint(scope store.Scope) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", []any{scope.Source, scope.Index, scope.Sink, scope.Mode, scope.Collections, scope.Settings})
	for _, r := range j.Config.Mapping.Rules {
		fmt.Fprintln(h, r.Fingerprint())
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// sampleChanges are encoded to tell forms of events apart: a document with values that the forms write differently, and a delete.
func sampleChanges() []syncd.Change {
	id := bson.ObjectID{1, 2, 3}
	raw, err := bson.Marshal(bson.D{
		{Key: "_id", Value: id}, {Key: "double", Value: 1e20}, {Key: "long", Value: int64(1) << 40}, {Key: "at", Value: bson.DateTime(0)},
		{Key: "binary", Value: bson.Binary{Data: []byte{1}}},
	})
	if err != nil {
		return nil // these values can be marshalled
	}
	target := &syncd.Target{Database: "d", Collection: "c"}
	return []syncd.Change{
		{ID: id.Hex(), Document: bsondoc.NewDocument(raw), Target: target},
		{ID: id.Hex(), Operation: syncd.Delete, Target: target},
	}
}
