package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// transform has changes go through the stages of a job on their way to the sink. Between what divides documents into chunks and what
// embeds those it makes the chunks' point ids and hashes, and has the sink say what its index holds of them, so that what did not
// change is not embedded again. It belongs to one worker.
type transform struct {
	e           *Engine
	embeds      int    // the index of the stage that makes vectors; len(Stages) if none does
	model       string // that the vectors are of
	fingerprint []byte // of all stages
	held        func(ctx context.Context, changes []syncd.Change) error

	seed    []byte // scratch of PointID
	content int64  // bytes of content that a change has had of late
}

// firstContent is what is expected of a change's content before one was seen: two chunks with vectors of a common size.
const firstContent = 16 << 10

// maxTransform bounds the changes that are transformed and written together.
const maxTransform = 256

// newTransform returns nil where a job has no stages.
func newTransform(e *Engine) *transform {
	if len(e.Stages) == 0 {
		return nil
	}
	t := &transform{e: e, embeds: len(e.Stages), content: firstContent}
	switch {
	case e.Sink != nil:
		t.held = e.Sink.Abilities().Held
	case e.DryRun != nil && e.DryRun.Embed != nil:
		t.held = e.DryRun.Embed.Held
	}
	for i, s := range e.Stages {
		a := s.Abilities()
		if a.Vectors != nil && t.embeds == len(e.Stages) {
			t.embeds, t.model = i, a.Vectors.Model
		}
		t.fingerprint = appendText(t.fingerprint, a.Fingerprint)
	}
	return t
}

// appendText appends a text so that no other sequence of texts gives the same bytes.
func appendText(dst []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint64(dst, uint64(len(text))), text...)
}

// portion is how many of the changes are transformed together, and how many bytes they are expected to take.
func (t *transform) portion(changes []syncd.Change) (n int, bytes int64) {
	most := t.e.sending.most / portions
	for n < len(changes) && n < maxTransform {
		more := weigh(&changes[n]) + t.content
		if most > 0 && n > 0 && bytes+more > most {
			break
		}
		n, bytes = n+1, bytes+more
	}
	return n, bytes
}

// made notes how large the content of changes has become, and returns what they take.
func (t *transform) made(changes []syncd.Change) (bytes int64) {
	var content int64
	for i := range changes {
		bytes += weigh(&changes[i])
		content += int64(changes[i].Content.Size())
	}
	if n := int64(len(changes)); n > 0 {
		t.content = (3*t.content + content/n) / 4
	}
	return bytes + content
}

// apply takes changes through the stages, and returns those that can be written, in place.
func (t *transform) apply(ctx context.Context, b *batch, changes []syncd.Change) (_ []syncd.Change, err error) {
	ctx, leave := b.clock.enter(ctx, StageTransform, len(changes))
	defer func() { leave(err) }()
	for i, s := range t.e.Stages {
		if i == t.embeds {
			if err := t.address(ctx, b, changes, true); err != nil {
				return nil, err
			}
			changes = t.without(b, changes)
		}
		if err := s.Apply(ctx, changes); err != nil {
			return nil, fmt.Errorf("preparing %d documents of %s: %w", len(changes), b.from(), err)
		}
		changes = t.without(b, changes)
	}
	if t.embeds == len(t.e.Stages) {
		if err := t.address(ctx, b, changes, true); err != nil {
			return nil, err
		}
		changes = t.without(b, changes)
	}
	return changes, nil
}

// divide takes changes as far as the stage that would embed them. Those that a stage can't handle have their error.
func (t *transform) divide(ctx context.Context, b *batch, changes []syncd.Change) (err error) {
	ctx, leave := b.clock.enter(ctx, StageTransform, len(changes))
	defer func() { leave(err) }()
	for _, s := range t.e.Stages[:t.embeds] {
		if err := s.Apply(ctx, changes); err != nil {
			return fmt.Errorf("preparing %d documents of %s: %w", len(changes), b.from(), err)
		}
	}
	return t.address(ctx, b, changes, false)
}

// without takes out the changes that failed.
func (t *transform) without(b *batch, changes []syncd.Change) []syncd.Change {
	return retain(changes, func(c *syncd.Change) bool {
		if c.Err == nil {
			return true
		}
		b.counts.Emitted-- // it never came to the sink
		t.e.failures.fail(b, c, syncd.FailedTransform, c.Err)
		return false
	})
}

// address makes the ids and hashes of chunks, and finds out what the index holds of them. A change for which that can't be done has its
// error. left says that they are to be written, so that what is left over of older versions is looked for as well.
func (t *transform) address(ctx context.Context, b *batch, changes []syncd.Change, left bool) error {
	for i := range changes {
		c := &changes[i]
		if c.Err != nil {
			continue
		}
		if c.Operation == syncd.Delete && c.Content == nil {
			c.Content = &syncd.Content{}
		}
		if c.Content == nil {
			continue
		}
		c.Content.Model = t.model
		rule, own := t.rule(b, c), *c // a copy: changes move up where one before them fails
		c.Content.Point = func(chunk int) (uuid.UUID, error) { return t.pointID(rule, &own, chunk) }
		for k := range c.Content.Chunks {
			chunk := &c.Content.Chunks[k]
			chunk.Hash = t.hash(c.Content.Prefix, chunk.Text)
			if chunk.PointID, c.Err = t.pointID(rule, c, k); c.Err != nil {
				break
			}
		}
	}
	if t.held == nil {
		return nil
	}
	asked := make([]syncd.Change, 0, len(changes))
	for i := range changes {
		if c := &changes[i]; c.Err == nil && c.Content != nil && (c.Verdict != syncd.Missing || c.Reason != syncd.ReasonMissing) { // else it was asked just now
			if rule := t.rule(b, c); left && rule.TellsChunks() {
				c.Content.Further, c.Err = t.pointIDs(c.Content.Further, rule, c, max(len(c.Content.Chunks), 1), 1)
			}
			asked = append(asked, *c)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if err := t.ask(ctx, b, asked); err != nil {
		return err
	}
	if !left {
		return nil
	}
	return t.leave(ctx, b, changes)
}

func (t *transform) ask(ctx context.Context, b *batch, changes []syncd.Change) error {
	if err := t.held(ctx, changes); err != nil {
		return fmt.Errorf("asking the index what it holds of %d documents of %s: %w", len(changes), b.from(), err)
	}
	return nil
}

const (
	// firstFurther is how many points are asked about at once where a document has left one more than its chunk 0 says; the number doubles.
	firstFurther = 16
	// mostFurther bounds the chunks of a document that are looked for.
	mostFurther = 20_000
)

// leave sets what is to be deleted of documents: what a longer version left. Chunk 0 says how many chunks that one had, but a process that
// was killed between writing a version and deleting what is left over of the one before leaves more. The sink writes and deletes so that
// points of a document have no hole, so the first one that is not there ends the search.
func (t *transform) leave(ctx context.Context, b *batch, changes []syncd.Change) error {
	type search struct{ change, next int }
	var searches []search
	for i := range changes {
		c := &changes[i]
		if c.Content == nil || c.Err != nil {
			continue
		}
		rule, from := t.rule(b, c), max(len(c.Content.Chunks), 1)
		found, next := c.Content.Further, max(from, c.Content.Held)
		c.Content.Further = nil
		if c.Content.Left, c.Err = t.pointIDs(c.Content.Left, rule, c, from, next-from); c.Err != nil {
			continue
		}
		if len(found) > 0 && next == from {
			c.Content.Left = append(c.Content.Left, found...)
			next += len(found)
		}
		if next > from && rule.TellsChunks() {
			searches = append(searches, search{i, next})
		}
	}
	for n := firstFurther; len(searches) > 0; n *= 2 {
		asked, wanted := make([]syncd.Change, len(searches)), make([]int, len(searches))
		for k, s := range searches {
			c := changes[s.change]
			wanted[k] = min(n, mostFurther-s.next)
			ids, err := t.pointIDs(nil, t.rule(b, &c), &c, s.next, wanted[k])
			if err != nil {
				return err // not reached: it had ids just now
			}
			c.Content = &syncd.Content{Further: ids}
			asked[k] = c
		}
		if err := t.ask(ctx, b, asked); err != nil {
			return err
		}
		rest := searches[:0]
		for k, s := range searches {
			found, left := asked[k].Content.Further, &changes[s.change].Content.Left
			*left = append(*left, found...)
			if s.next += wanted[k]; len(found) == wanted[k] && s.next < mostFurther {
				rest = append(rest, s)
			}
		}
		searches = rest
	}
	return nil
}

// pointIDs appends the ids of n chunks.
func (t *transform) pointIDs(dst []uuid.UUID, rule *mapping.Rule, c *syncd.Change, from, n int) ([]uuid.UUID, error) {
	for k := from; k < from+n; k++ {
		id, err := t.pointID(rule, c, k)
		if err != nil {
			return dst, err
		}
		dst = append(dst, id)
	}
	return dst, nil
}

// errOneSeed says that chunks can't be told apart.
var errOneSeed = errors.New("its chunks would have one point id: the seed lacks {chunk_index}")

func (t *transform) pointID(rule *mapping.Rule, c *syncd.Change, chunk int) (uuid.UUID, error) {
	if chunk == 0 {
		return c.PointID, nil
	}
	id, err := rule.PointID(&t.seed, c, chunk)
	if err == nil && id == c.PointID {
		err = errOneSeed
	}
	return id, err
}

// rule is that of the change's collection.
func (t *transform) rule(b *batch, c *syncd.Change) *mapping.Rule {
	if rule := b.rule(); rule != nil {
		return rule
	}
	return t.e.followed[c.Streamed.Collection].rule
}

// hash sums up what a chunk's vector follows from.
func (t *transform) hash(prefix, text string) string {
	h := sha256.New()
	var size [8]byte
	_, _ = h.Write(t.fingerprint)
	for _, s := range []string{prefix, text} {
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		_, _ = h.Write(size[:])
		_, _ = h.Write([]byte(s))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
