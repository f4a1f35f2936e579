package job

import (
	"context"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/panics"
	"github.com/syncd-io/syncd/internal/wait"
)

// SearchRequest is a question to the index that a job writes.
type SearchRequest struct {
	Text         string
	ContentTypes []string // only these; empty is all
	Limit        int
}

// Search embeds a text as the job does, and returns the points nearest to it. It opens neither the source nor the checker.
func (j *Job) Search(ctx context.Context, q SearchRequest) (found []syncd.Neighbour, err error) {
	ctx, stop := wait.Drained(ctx, j.Drain)
	defer stop()
	c, p := j.Config, &Plugins{}
	defer func() {
		closing, stop := wait.Drained(context.WithoutCancel(ctx), j.Drain)
		defer stop()
		if cerr := closeUntil(closing, p.close); cerr != nil && err == nil {
			err = cerr
		}
	}()
	for _, s := range c.Stages {
		if _, makes := s.Settings.(syncd.VectorMaker); !makes {
			continue
		}
		opened, err := s.OpenStage(ctx, s.Settings, j.env(s))
		if err != nil {
			return nil, fmt.Errorf("opening stages.%s: %w", s.Name(), err)
		}
		p.Stages = append(p.Stages, opened)
		break
	}
	if _, indexes := c.Sink.Settings.(syncd.Indexer); !indexes || len(p.Stages) == 0 {
		return nil, &UsageError{syncd.Hint(errors.New("only a job that writes the index itself can search it"), "take a configuration with stages.embed and an index as its sink, such as configs/direct.yaml")}
	}
	if p.Sink, err = c.Sink.OpenSink(ctx, c.Sink.Settings, j.env(c.Sink)); err != nil {
		return nil, err
	}
	nearest := p.Sink.Abilities().Nearest
	if nearest == nil {
		return nil, &UsageError{fmt.Errorf("the sink %s can't search", c.Sink.Name())}
	}
	err = panics.Caught(func() error {
		vector, err := p.Stages[0].Abilities().Vectors.Embed(ctx, q.Text)
		if err == nil {
			found, err = nearest(ctx, vector, q.ContentTypes, q.Limit)
		}
		return err
	})()
	return found, err
}
