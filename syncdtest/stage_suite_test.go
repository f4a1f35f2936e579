package syncdtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/syncd-io/syncd"
)

// memoryStage makes two chunks of a document, and the vectors of those that have none.
func memoryStage() *MemoryStage {
	var texts atomic.Int64
	vector := func(text string) []float32 { return []float32{float32(len(text)), 1} }
	return &MemoryStage{
		Each: func(c *syncd.Change) error {
			if c.ID == "refused" {
				return errors.New("it is refused")
			}
			if c.Content == nil {
				c.Content = &syncd.Content{Chunks: []syncd.Chunk{{Text: "about " + c.ID}, {Text: "more"}}}
			}
			for k := range c.Content.Chunks {
				if chunk := &c.Content.Chunks[k]; !chunk.Kept && chunk.Text != "" {
					chunk.Vector = vector(chunk.Text)
					texts.Add(1)
				}
			}
			return nil
		},
		Can: syncd.StageAbilities{
			Fingerprint: "memory",
			Vectors: &syncd.Vectors{
				Model: "memory", Dimensions: func(context.Context) (int, error) { return 2, nil },
				Embed: func(_ context.Context, text string) ([]float32, error) { return vector(text), nil },
				Usage: func() syncd.Usage { return syncd.Usage{Texts: texts.Load()} },
			},
			Probe: func(context.Context, []syncd.ProbeTarget) []syncd.Finding {
				return []syncd.Finding{{Subject: "model", Status: syncd.StatusOK, Detail: "there", Dimensions: 2}}
			},
		},
	}
}

func stageChange(n int) syncd.Change {
	id := fmt.Sprint(n)
	return syncd.Change{ID: id, Document: Document(MemoryDoc{ID: id}), Target: &syncd.Target{Collection: "page"}}
}

// stageHarness is the harness of a memoryStage, seen through wrap.
func stageHarness(wrap func(*MemoryStage) syncd.Stage) StageHarness {
	return StageHarness{
		Open: func(*testing.T) syncd.Stage { return wrap(memoryStage()) },
		Change: func(n int) syncd.Change {
			c := stageChange(n)
			c.Content = &syncd.Content{Chunks: []syncd.Chunk{{Text: "about " + c.ID}, {Text: "more"}}}
			return c
		},
		Refused: func() syncd.Change {
			return syncd.Change{ID: "refused", Document: Document(MemoryDoc{ID: "refused"}), Content: &syncd.Content{Chunks: []syncd.Chunk{{Text: "a"}}}}
		},
	}
}

func TestMemoryStage(t *testing.T) {
	TestStage(t, stageHarness(func(s *MemoryStage) syncd.Stage { return s }))
	without := stageHarness(func(s *MemoryStage) syncd.Stage {
		s.Can = syncd.StageAbilities{}
		return s
	})
	without.Change, without.Refused = stageChange, nil // it makes the chunks itself
	TestStage(t, without)
}

// brokenStage is a stage whose Apply or abilities are broken.
type brokenStage struct {
	*MemoryStage
	apply func(s *MemoryStage, ctx context.Context, changes []syncd.Change) error
	can   func(syncd.StageAbilities) syncd.StageAbilities
	close func() error
}

func (b brokenStage) Apply(ctx context.Context, changes []syncd.Change) error {
	if b.apply != nil {
		return b.apply(b.MemoryStage, ctx, changes)
	}
	return b.MemoryStage.Apply(ctx, changes)
}

func (b brokenStage) Abilities() syncd.StageAbilities {
	if b.can != nil {
		return b.can(b.MemoryStage.Abilities())
	}
	return b.MemoryStage.Abilities()
}

func (b brokenStage) Close() error {
	if b.close != nil {
		return b.close()
	}
	return b.MemoryStage.Close()
}

// behind does something to the changes behind the stage.
func behind(spoil func(changes []syncd.Change)) func(*MemoryStage) syncd.Stage {
	return func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, changes []syncd.Change) error {
			err := s.Apply(ctx, changes)
			spoil(changes)
			return err
		}}
	}
}

func spoiled(spoil func(a syncd.StageAbilities) syncd.StageAbilities) func(*MemoryStage) syncd.Stage {
	return func(s *MemoryStage) syncd.Stage { return brokenStage{MemoryStage: s, can: spoil} }
}

var brokenStages = []struct {
	name, caught string
	wreck        func(*MemoryStage) syncd.Stage
}{
	{"fails a document", "one_document", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Err = errFault
		}
	})},
	{"makes no chunk", "one_document", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Content = &syncd.Content{}
		}
	})},
	{"makes chunks of bytes", "one_document", behind(func(c []syncd.Change) { c[0].Content.Chunks[0].Text = "\xff" })},
	{"fails without changes", "no_changes", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			if len(c) == 0 {
				return errFault
			}
			return s.Apply(ctx, c)
		}}
	}},
	{"hangs", "one_document", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(*MemoryStage, context.Context, []syncd.Change) error {
			<-hung
			return nil
		}}
	}},
	{"moves changes", "changes_keep_their_places", behind(slices.Reverse[[]syncd.Change])},
	{"makes deletes of changes", "changes_keep_their_places", behind(func(c []syncd.Change) { c[0].Operation = syncd.Delete })},
	{"divides deletes", "others_are_left_alone", behind(func(c []syncd.Change) {
		for i := range c {
			if c[i].Document == nil {
				c[i].Content = &syncd.Content{}
			}
		}
	})},
	{"forgets failures", "others_are_left_alone", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Err = nil
		}
	})},
	{"works on failures", "others_are_left_alone", behind(func(c []syncd.Change) {
		for i := range c {
			if c[i].Err != nil {
				c[i].Content = &syncd.Content{Chunks: []syncd.Chunk{{Text: "a"}}}
			}
		}
	})},
	{"goes by the place", "equal_documents", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Content.Chunks[0].Text += fmt.Sprint(i)
		}
	})},
	{"uses vectors again", "content_belongs_to_the_change", func() func(*MemoryStage) syncd.Stage {
		shared := make([]float32, 2)
		return behind(func(c []syncd.Change) {
			for i := range c {
				for k := range c[i].Content.Chunks {
					copy(shared, c[i].Content.Chunks[k].Vector)
					shared[0] += float32(i + len(c[i].ID)*7 + int(c[i].ID[0]))
					c[i].Content.Chunks[k].Vector = shared
				}
			}
		})
	}()},
	{"fails all with one", "one_document_fails_alone", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			if err := s.Apply(ctx, c); err != nil {
				return err
			}
			for i := range c {
				if c[i].Err != nil {
					return c[i].Err
				}
			}
			return nil
		}}
	}},
	{"refuses nothing", "one_document_fails_alone", behind(func(c []syncd.Change) {
		for i := range c {
			if c[i].ID == "refused" {
				c[i].Err = nil
			}
		}
	})},
	{"stops at what it refuses", "one_document_fails_alone", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			for i := range c {
				if err := s.Apply(ctx, c[i:i+1]); err != nil || c[i].Err != nil {
					return err
				}
			}
			return nil
		}}
	}},
	{"mixes up calls", "concurrent_calls", func(s *MemoryStage) syncd.Stage {
		var under atomic.Int64
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			if n := under.Add(1); n > 1 && len(c) > 0 {
				c[0].Content.Chunks[0].Text = fmt.Sprint("call ", n)
			}
			err := s.Apply(ctx, c)
			if len(c) != 2 {
				under.Add(-1) // else it is never done, so that calls meet on any machine
			}
			return err
		}}
	}},
	{"blames documents for the end", "context_that_has_ended", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			for i := range c {
				c[i].Err = ctx.Err()
			}
			return s.Apply(context.WithoutCancel(ctx), c)
		}}
	}},
	{"has another error at the end", "context_that_has_ended", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			if ctx.Err() != nil {
				return errFault
			}
			return s.Apply(ctx, c)
		}}
	}},
	{"has a fingerprint of the moment", "abilities", func() func(*MemoryStage) syncd.Stage {
		n := 0
		return spoiled(func(a syncd.StageAbilities) syncd.StageAbilities {
			n++
			a.Fingerprint = fmt.Sprint(n)
			return a
		})
	}()},
	{"has a fingerprint of the opening", "abilities", func() func(*MemoryStage) syncd.Stage {
		n := 0
		return func(s *MemoryStage) syncd.Stage {
			n++
			s.Can.Fingerprint = fmt.Sprint(n)
			return s
		}
	}()},
	{"names no model", "abilities", spoiled(func(a syncd.StageAbilities) syncd.StageAbilities {
		v := *a.Vectors
		v.Model = ""
		a.Vectors = &v
		return a
	})},
	{"makes vectors of what is held", "vectors", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Content.Chunks[0].Vector = []float32{1, 2}
		}
	})},
	{"forgets vectors", "vectors", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Content.Chunks[1].Vector = nil
		}
	})},
	{"makes wide vectors", "vectors", behind(func(c []syncd.Change) {
		for i := range c {
			c[i].Content.Chunks[1].Vector = []float32{1, 2, 3}
		}
	})},
	{"counts nothing", "vectors", spoiled(func(a syncd.StageAbilities) syncd.StageAbilities {
		v := *a.Vectors
		v.Usage = func() syncd.Usage { return syncd.Usage{} }
		a.Vectors = &v
		return a
	})},
	{"makes questions of another size", "vectors", spoiled(func(a syncd.StageAbilities) syncd.StageAbilities {
		v := *a.Vectors
		v.Embed = func(context.Context, string) ([]float32, error) { return []float32{1}, nil }
		a.Vectors = &v
		return a
	})},
	{"finds nothing", "probe", spoiled(func(a syncd.StageAbilities) syncd.StageAbilities {
		a.Probe = func(context.Context, []syncd.ProbeTarget) []syncd.Finding { return nil }
		return a
	})},
	{"can't be closed", "one_document", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, close: func() error { return errFault }}
	}},
	{"leaves a goroutine", "leaves_no_goroutine", func(s *MemoryStage) syncd.Stage {
		return brokenStage{MemoryStage: s, apply: func(s *MemoryStage, ctx context.Context, c []syncd.Change) error {
			go func() { <-hung }()
			return s.Apply(ctx, c)
		}}
	}},
}
