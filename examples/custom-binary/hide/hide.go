// Package hide is a complete stage: it takes words out of the chunks that stages.chunk has made, before they are embedded and written.
package hide

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/syncd-io/syncd"
)

// Config is the only place where the stage's settings are declared.
type Config struct {
	Words []string `yaml:"words" rule:"required,min=1,dive,min=1" example:"[confidential]" doc:"Words that no index is to have; case does not matter."`
}

// Plugin declares the stage.
func Plugin() syncd.Plugin {
	return syncd.NewStage("hide", "Takes words out of chunks.", Config{}, open).WithVersion("1", syncd.Experimental)
}

type stage struct{ words *regexp.Regexp }

func open(_ context.Context, config Config, _ syncd.Env) (syncd.Stage, error) {
	quoted := make([]string, len(config.Words))
	for i, w := range config.Words {
		quoted[i] = regexp.QuoteMeta(w)
	}
	words, err := regexp.Compile(`(?i)\b(` + strings.Join(quoted, "|") + `)\b`)
	return &stage{words}, err
}

// Apply changes the chunks of each document. A delete has none, and a change with Err has failed before. What is wrong with one document is
// its Err, and the others go on.
func (s *stage) Apply(ctx context.Context, changes []syncd.Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Content == nil || c.Err != nil {
			continue
		}
		for k := range c.Content.Chunks {
			chunk := &c.Content.Chunks[k]
			text := strings.TrimSpace(s.words.ReplaceAllString(chunk.Text, ""))
			if text == "" && chunk.Text != "" {
				c.Err = errors.New("nothing is left of a chunk without the words of stages.hide.words")
			}
			chunk.Text = text
		}
	}
	return ctx.Err()
}

// Abilities has a fingerprint, which is part of each chunk's hash. The text is so, too: so it changes only when other things do that the
// vector follows from.
func (s *stage) Abilities() syncd.StageAbilities {
	return syncd.StageAbilities{Fingerprint: "hide/1"}
}

// Close has nothing to do.
func (s *stage) Close() error { return nil }
