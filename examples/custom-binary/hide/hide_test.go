package hide

import (
	"fmt"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestDeclaration(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

// chunked is a change as stages.chunk leaves it.
func chunked(id string, texts ...string) syncd.Change {
	c := syncd.Change{ID: id, Target: &syncd.Target{Collection: "page"}, Document: syncdtest.Document(syncdtest.MemoryDoc{ID: id}), Content: &syncd.Content{}}
	for _, text := range texts {
		c.Content.Chunks = append(c.Content.Chunks, syncd.Chunk{Text: text})
	}
	return c
}

func TestConformance(t *testing.T) {
	syncdtest.TestStage(t, syncdtest.StageHarness{
		Open: func(t *testing.T) syncd.Stage {
			s, err := open(t.Context(), Config{Words: []string{"secret"}}, syncd.Env{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Change:  func(n int) syncd.Change { return chunked(fmt.Sprint(n), fmt.Sprint("The secret of ", n), "and more") },
		Refused: func() syncd.Change { return chunked("refused", "Secret") },
	})
}

func TestWordsAreTakenOut(t *testing.T) {
	s, err := open(t.Context(), Config{Words: []string{"secret"}}, syncd.Env{})
	if err != nil {
		t.Fatal(err)
	}
	changes := []syncd.Change{chunked("1", "The Secret plan", "secretary")}
	if err := s.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if c := changes[0].Content.Chunks; c[0].Text != "The  plan" || c[1].Text != "secretary" {
		t.Errorf("%+v", c)
	}
}
