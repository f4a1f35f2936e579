package postgres

import (
	"context"
	"iter"

	"github.com/syncd-io/syncd"
)

type confirmable struct{}

func (s *source) streaming() *syncd.Streaming { return nil }

func (s *source) follow(ctx context.Context, req syncd.ReadRequest) iter.Seq2[syncd.Batch, error] {
	return nil
}
