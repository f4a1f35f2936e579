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
			if err := t.address(ctx, b, changes); err != nil {
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
		if err := t.address(ctx, b, changes); err != nil {
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
	return t.address(ctx, b, changes)
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
// error.
func (t *transform) address(ctx context.Context, b *batch, changes []syncd.Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Err != nil {
			continue
		}
		if c.Operation == syncd.Delete {
			c.Content = &syncd.Content{}
		}
		if c.Content == nil {
			continue
		}
		c.Content.Model = t.model
		rule := t.rule(b, c)
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
			asked = append(asked, *c)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	if err := t.held(ctx, asked); err != nil {
		return fmt.Errorf("asking the index what it holds of %d documents of %s: %w", len(changes), b.from(), err)
	}
	for i := range changes {
		c := &changes[i]
		if c.Content == nil || c.Err != nil {
			continue
		}
		rule := t.rule(b, c)
		for k := max(len(c.Content.Chunks), 1); k < c.Content.Held; k++ {
			id, err := t.pointID(rule, c, k)
			if err != nil {
				c.Err = err
				break
			}
			c.Content.Left = append(c.Content.Left, id)
		}
	}
	return nil
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
