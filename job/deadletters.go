package job

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/wait"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/planfile"
	"github.com/syncd-io/syncd/verdict"
)

// DeadLetters are the documents of a job that could not be handled.
type DeadLetters struct {
	Letters []DeadLetter // one a document, the last of each; the newest first
	Read    int64        // letters that were read
}

// DeadLetter is the last dead letter of a document.
type DeadLetter struct {
	syncd.DeadLetter
	Times int64 // how often the document became one; less where there were more documents than are kept
}

// DeadLetters reads what was written as dead letters of the job's collections, and keeps the newest of at most so many documents. It
// connects to the place of the dead letters alone.
func (j *Job) DeadLetters(ctx context.Context, most int) (res DeadLetters, err error) {
	c := j.Config
	if c.DeadLetter.Settings == nil {
		return res, &UsageError{syncd.Hint(errors.New("there are no dead letters: errors.dead_letter is not set"),
			"set it, and documents that can't be sent are kept with their reasons")}
	}
	ctx, stop := wait.Drained(ctx, j.Drain)
	defer stop()
	sink, err := c.DeadLetter.OpenSink(ctx, c.DeadLetter.Settings, j.env(c.DeadLetter))
	if err != nil {
		return res, fmt.Errorf("opening errors.dead_letter: %w", err)
	}
	defer func() {
		if cerr := sink.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("closing the dead letters: %w", cerr)
		}
	}()
	read := sink.Abilities().DeadLetters
	if read == nil {
		return res, &UsageError{fmt.Errorf("the sink %s can't read its dead letters back", c.DeadLetter.Name())}
	}
	var targets []syncd.Target
	for _, r := range c.Mapping.Rules {
		targets = append(targets, r.Target())
	}
	last := map[letterOf]*DeadLetter{}
	for l, err := range read(ctx, targets) {
		if err != nil {
			return res, err
		}
		res.Read++
		if l.Collection == "" {
			l.Collection = j.collectionOf(&l)
		}
		of := letterOf{l.Collection, l.ID}
		if l.ID == "" {
			of.id = l.Place // it is nobody's
		}
		d := last[of]
		if d == nil {
			if len(last) >= 2*most { // there may be more than memory holds
				keepNewest(last, most)
			}
			d = &DeadLetter{}
			last[of] = d
		}
		d.Times++
		if !l.At.Before(d.At) {
			d.DeadLetter = l
		}
	}
	keepNewest(last, most)
	for _, d := range last {
		res.Letters = append(res.Letters, *d)
	}
	slices.SortFunc(res.Letters, newer)
	return res, nil
}

// letterOf is whose a dead letter is.
type letterOf struct{ collection, id string }

// newer orders letters, the newest first.
func newer(a, b DeadLetter) int {
	if c := b.At.Compare(a.At); c != 0 {
		return c
	}
	return strings.Compare(b.Place, a.Place)
}

// keepNewest drops all but so many. What is dropped was no more among the newest, and never is again, unless its document becomes a dead
// letter once more.
func keepNewest(last map[letterOf]*DeadLetter, most int) {
	all := slices.SortedFunc(maps.Keys(last), func(a, b letterOf) int { return newer(*last[a], *last[b]) })
	for _, of := range all[min(len(all), most):] {
		delete(last, of)
	}
}

// collectionOf is the collection of a letter whose place does not say it: the one with its content type whose events go where the letter's
// was to go. It is empty where that is not one.
func (j *Job) collectionOf(l *syncd.DeadLetter) (name string) {
	router, _ := j.Config.Sink.Settings.(syncd.Router)
	for _, r := range j.Config.Mapping.Rules {
		if r.ContentType != l.ContentType || router != nil && l.Route != "" && router.Route(r.Target()) != l.Route {
			continue
		}
		if name != "" {
			return ""
		}
		name = r.Collection.Name
	}
	return name
}

// Unsendable is a dead letter whose document can't be sent again.
type Unsendable struct {
	DeadLetter
	Why string
}

// PlanDeadLetters makes a plan that sends the documents of dead letters again, as far as the index still lacks them. It returns how many
// documents the plan has, and those letters whose documents it can't have.
func (j *Job) PlanDeadLetters(ctx context.Context, letters []DeadLetter) (plan *planfile.Plan, planned int, left []Unsendable, err error) {
	dir, err := os.MkdirTemp("", "syncd-retry-")
	if err != nil {
		return nil, 0, nil, fmt.Errorf("making room for the plan: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left does no harm
	path := filepath.Join(dir, "plan")
	byName := map[string][]DeadLetter{}
	for _, l := range letters {
		switch {
		case l.ID == "":
			left = append(left, Unsendable{l, "it has no id: mend it in the source, and the next run reads it"})
		case l.Collection == "":
			left = append(left, Unsendable{l, "its collection is not known: the configuration reads none, or several, of its content type"})
		default:
			byName[l.Collection] = append(byName[l.Collection], l)
		}
	}
	err = j.With(ctx, false, func(ctx context.Context, p *Plugins) (err error) {
		ctx, stop := wait.Drained(ctx, j.Drain)
		defer stop()
		find := p.Source.Abilities().Find
		if find == nil {
			return &UsageError{fmt.Errorf("the source %s can't find documents by their ids", j.Config.Source.Name())}
		}
		w, err := planfile.Create(path, j.planHeader(uuid.NewString(), 0), false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Close(err == nil)) }()
		for _, r := range j.Config.Mapping.Rules {
			of := byName[r.Collection.Name]
			delete(byName, r.Collection.Name)
			for len(of) > 0 {
				part := of[:min(len(of), findAtOnce)]
				of = of[len(part):]
				n, lost, err := planLetters(ctx, w, find, r, part)
				if err != nil {
					return err
				}
				planned += n
				left = append(left, lost...)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			for _, l := range byName[name] {
				left = append(left, Unsendable{l, "the configuration does not read its collection any more"})
			}
		}
		return nil
	})
	if err == nil {
		plan, err = planfile.Held(path)
	}
	return plan, planned, left, err
}

// findAtOnce is how many documents the source is asked for in one question.
const findAtOnce = 500

// planLetters writes those documents of a collection to the plan that are still there.
func planLetters(ctx context.Context, w *planfile.Writer, find func(context.Context, syncd.Collection, []string) ([]syncd.Key, error), r *mapping.Rule, letters []DeadLetter) (planned int, left []Unsendable, err error) {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.ID
	}
	keys, err := find(ctx, r.Collection, ids)
	if err != nil {
		return 0, nil, fmt.Errorf("finding the documents of collection %s: %w", r.Collection.Name, err)
	}
	var buf []byte
	for i, key := range keys {
		if key == "" {
			left = append(left, Unsendable{letters[i], "the source has it no more"})
			continue
		}
		item := verdict.Item{Rule: r, Verdict: syncd.Missing, ID: ids[i], Key: key}
		if r.SeedFields() == 0 { // otherwise it is made when the document is read
			if item.PointID, err = r.PointID(&buf, &syncd.Change{ID: ids[i]}, 0); err != nil {
				left = append(left, Unsendable{letters[i], err.Error()})
				continue
			}
		}
		w.Item(item)
		planned++
	}
	return planned, left, nil
}
