package connect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/store/bolt"
	"github.com/syncd-io/syncd/tally"
)

// position is a checkpoint as Connect has it.
type position struct {
	Partition partition `json:"partition"`
	Offset    *offset   `json:"offset"`
}

// partition is what a checkpoint is of: a split of a collection, of its deletes, or a stream.
type partition struct {
	Collection *string `json:"collection,omitempty"`
	Deletes    *string `json:"deletes,omitempty"`
	Split      *int    `json:"split,omitempty"`
	Stream     *string `json:"stream,omitempty"`
}

// offset is up to where a split or a stream was handled. It means something to its source alone: where it is no text, it is in base64.
type offset struct {
	After  *string `json:"after,omitempty"`
	Base64 *string `json:"after_base64,omitempty"`
	Done   bool    `json:"done,omitempty"` // the split was read to its end
}

const (
	notStopped = "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the specified connector " +
		"by issuing a 'PUT' request to the '/connectors/%s/stop' endpoint"
	inSink = "the positions of connector %s are in the transactions of its sink, since it delivers exactly once: " +
		"syncd state show reads them, and syncd run --fresh begins anew"
	noPartition = "a partition is a collection and a split, deletes and a split, or a stream, as GET offsets shows them"
)

func offsetOf(s store.Split) *offset {
	o := &offset{Done: s.Done}
	switch after := string(s.After); {
	case after == "":
	case utf8.ValidString(after) && !strings.ContainsFunc(after, func(r rune) bool { return !unicode.IsPrint(r) }):
		o.After = &after
	default:
		coded := base64.StdEncoding.EncodeToString([]byte(after))
		o.Base64 = &coded
	}
	return o
}

// after is the position that an offset says.
func (o *offset) after() (syncd.Offset, error) {
	switch {
	case o.After != nil && o.Base64 != nil:
		return "", errors.New("an offset has after or after_base64, not both")
	case o.After != nil && *o.After != "":
		return syncd.Offset(*o.After), nil
	case o.Base64 != nil && *o.Base64 != "":
		raw, err := base64.StdEncoding.DecodeString(*o.Base64)
		if err != nil {
			return "", errors.New("after_base64 is no base64")
		}
		return syncd.Offset(raw), nil
	}
	return "", errors.New("an offset says after, or after_base64; null begins anew")
}

// exactlyOnce reports whether a job keeps its positions in its sink.
func exactlyOnce(c *config.Config) bool {
	t, ok := c.Sink.Settings.(syncd.Transactor)
	return ok && t.Transactional()
}

func (a *API) offsets(q *request) (answer, error) {
	j, c, err := a.findJob(q.job(), notFound)
	if err != nil {
		return answer{}, err
	}
	list := []position{}
	if c == nil {
		return answer{body: map[string]any{"offsets": list}}, nil
	}
	if exactlyOnce(c) {
		return answer{}, fail(http.StatusNotImplemented, inSink, j.Name)
	}
	e, err := a.kept(q.Context(), j.Name, c)
	if err != nil {
		return answer{}, err
	}
	for _, name := range sorted(e.Collections) {
		for _, s := range e.Collections[name].Splits {
			if s.After != "" || s.Done {
				list = append(list, position{partitionOf(name, s), offsetOf(s)})
			}
		}
	}
	return answer{body: map[string]any{"offsets": list}}, nil
}

// deletes begins the names of what is kept of the deletes of collections.
var deletes = store.DeletesOf("")

func partitionOf(name string, s store.Split) partition {
	if stream, ok := store.StreamName(name); ok {
		return partition{Stream: &stream}
	}
	if of, ok := strings.CutPrefix(name, deletes); ok {
		return partition{Deletes: &of, Split: &s.Index}
	}
	return partition{Collection: &name, Split: &s.Index}
}

// kept is what a job keeps of how far it came: its run under way says it, else its file.
func (a *API) kept(ctx context.Context, name string, c *config.Config) (e store.Entry, err error) {
	dir := a.StateDir(c)
	for range 3 { // a run may begin or end meanwhile
		e, ok, err := a.Host.Kept(name)
		if ok || errors.Is(err, host.ErrNoJob) {
			return e, err
		}
		e, err = bolt.Read(dir, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return store.Entry{}, nil
		case err != nil:
			return e, err
		case e.Info.Outcome != tally.Running || e.Info.RunID != "":
			return e, nil
		}
		if ctx.Err() != nil {
			return e, ctx.Err()
		}
	}
	return e, fail(http.StatusInternalServerError, "the positions of connector %s can't be read: another process works on the job", name)
}

// modify calls f with the state of a job that is stopped, which f may change. A job that is about to stop is waited for.
func (a *API) modify(q *request, f func(dir string, c *config.Config) error) error {
	limit := time.NewTimer(stopPatience)
	defer limit.Stop()
	for {
		changed := a.Host.Changed()
		j, _, err := a.findJob(q.job(), notFound)
		if err != nil {
			return err
		}
		if j.Wish.Desired != host.WantStopped {
			return fail(http.StatusBadRequest, notStopped, q.job())
		}
		err = a.Host.Idle(q.job(), func(c *config.Config) error {
			if c == nil {
				return fail(http.StatusBadRequest, "the file of connector %s can't be used, so it is not known where its positions are kept", q.job())
			}
			if exactlyOnce(c) {
				return fail(http.StatusNotImplemented, inSink, q.job())
			}
			return f(a.StateDir(c), c)
		})
		if _, busy := errors.AsType[*bolt.BusyError](err); busy {
			return fail(http.StatusConflict, "%s", said(err))
		}
		if !errors.Is(err, host.ErrConflict) {
			return err
		}
		select {
		case <-changed:
		case <-limit.C:
			return fail(http.StatusBadRequest, notStopped, q.job())
		case <-q.Context().Done():
			return q.Context().Err()
		}
	}
}

func (a *API) resetOffsets(q *request) (answer, error) {
	err := a.modify(q, func(dir string, c *config.Config) error {
		if err := bolt.Clear(dir, c.Name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil {
		return answer{}, err
	}
	a.Logger.Info("the positions of a job were forgotten", "job", q.job(), "by", a.by(q))
	return answer{body: map[string]string{"message": "The offsets for this connector have been reset successfully"}}, nil
}

func (a *API) alterOffsets(q *request) (answer, error) {
	var body struct {
		Offsets []struct {
			Partition json.RawMessage `json:"partition"`
			Offset    json.RawMessage `json:"offset"`
		} `json:"offsets"`
	}
	if _, _, err := a.findJob(q.job(), notFound); err != nil {
		return answer{}, err
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	if len(body.Offsets) == 0 {
		return answer{}, fail(http.StatusBadRequest, "Partitions / offsets need to be provided for an alter offsets request")
	}
	wanted := make([]position, 0, len(body.Offsets))
	for i, o := range body.Offsets {
		var p position
		if err := decode(o.Partition, &p.Partition); err != nil {
			return answer{}, fail(http.StatusBadRequest, "offset %d: %s", i, noPartition)
		}
		if raw := strings.TrimSpace(string(o.Offset)); raw != "null" {
			if raw == "" {
				return answer{}, fail(http.StatusBadRequest, "offset %d has no offset; null begins anew", i)
			}
			if err := decode(o.Offset, &p.Offset); err != nil {
				return answer{}, err
			}
		}
		wanted = append(wanted, p)
	}
	err := a.modify(q, func(dir string, c *config.Config) error { return alter(q.Context(), dir, c.Name, wanted) })
	if err != nil {
		return answer{}, err
	}
	a.Logger.Info("the positions of a job were changed", "job", q.job(), "partitions", len(wanted), "by", a.by(q))
	return answer{body: map[string]string{"message": "The offsets for this connector have been altered successfully"}}, nil
}

// alter changes the kept state of a job that is not at work: all that is wanted, or nothing.
func alter(ctx context.Context, dir, job string, wanted []position) error {
	e, err := bolt.Read(dir, job)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	type place struct {
		name  string
		split int
	}
	touched := map[place]bool{}
	for i, p := range wanted {
		name, split, err := alterOne(&e, p)
		if err != nil {
			return fail(http.StatusBadRequest, "offset %d: %v", i, err)
		}
		if split >= 0 {
			touched[place{name, split}] = true
		}
	}
	st, err := bolt.Open(dir, job)
	if err != nil {
		return err
	}
	for at := range touched {
		// First that the collection is not complete: a crash in between loses nothing.
		c := e.Collections[at.name]
		err = errors.Join(err, st.Collection(ctx, at.name, *c, false), st.Split(ctx, at.name, c.Splits[at.split], true))
	}
	return errors.Join(err, st.Close(ctx, store.End{Outcome: e.Info.Outcome, Resumable: e.Info.Resumable}))
}

// alterOne changes one position of what is kept, and says where that is; split is -1 where nothing changes.
func alterOne(e *store.Entry, p position) (name string, split int, err error) {
	name, c, at, err := placeOf(e, p.Partition)
	if err != nil {
		return "", 0, err
	}
	s := &c.Splits[at]
	stream := p.Partition.Stream != nil
	if p.Offset == nil {
		*s = store.Split{Index: s.Index, Lower: s.Lower, Upper: s.Upper}
		if c.Complete = false; stream {
			c.Identity = forgotten
		}
		return name, at, nil
	}
	if s.After == "" && s.Done && *p.Offset == (offset{Done: true}) {
		return name, -1, nil // as it was shown
	}
	after, err := p.Offset.after()
	switch {
	case err != nil:
		return "", 0, err
	case after == s.After && p.Offset.Done == s.Done:
		return name, -1, nil
	case p.Offset.Done:
		return "", 0, errors.New("done can't be set: only a run knows that a split was read to its end")
	case !stream && !e.Info.Resumable:
		return "", 0, errors.New("the last run has ended, so the next one reads the collection from its start")
	case stream:
		s.After = after
		return name, at, nil
	}
	// What was counted up to here is not what was counted up to there, so the collection can't be proved by its count any more.
	*s = store.Split{Index: s.Index, Lower: s.Lower, Upper: s.Upper, After: after}
	c.Complete, c.Before = false, -1
	return name, at, nil
}

// forgotten is the identity of a stream that is to begin anew: no source has it.
const forgotten = "\x00forgotten"

// placeOf finds what is kept of a partition.
func placeOf(e *store.Entry, of partition) (name string, c *store.Collection, split int, err error) {
	switch {
	case of.Stream != nil && of.Collection == nil && of.Deletes == nil && of.Split == nil:
		name = store.StreamOf(*of.Stream)
	case of.Collection != nil && of.Deletes == nil && of.Stream == nil:
		name = *of.Collection
	case of.Deletes != nil && of.Collection == nil && of.Stream == nil:
		name = store.DeletesOf(*of.Deletes)
	default:
		return "", nil, 0, errors.New(noPartition)
	}
	c = e.Collections[name]
	switch {
	case c == nil, of.Stream != nil && len(c.Splits) == 0:
		return "", nil, 0, errors.New("nothing is kept of that partition")
	case of.Stream != nil:
		return name, c, 0, nil
	case of.Split == nil:
		return "", nil, 0, errors.New("a partition of a collection has a split")
	case *of.Split < 0 || *of.Split >= len(c.Splits):
		return "", nil, 0, fmt.Errorf("there is no split %d of that collection, which has %d", *of.Split, len(c.Splits))
	}
	return name, c, *of.Split, nil
}
