package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/internal/retry"
)

// A question that fails for a passing reason is asked so often in a row before it counts as failed; the pauses add up to about 8 s.
const (
	maxAttempts  = 6
	firstPause   = 300 * time.Millisecond
	longestPause = 6 * time.Second
)

func (s *source) retrier() retry.Retrier {
	return retry.Retrier{
		Policy:   retry.Policy{First: firstPause, Max: longestPause, Jitter: 0.5, Attempts: maxAttempts},
		Classify: func(err error) retry.Decision { return retry.Decision{Again: pg.Transient(err) != ""} },
		Waiting:  func(err error, pause time.Duration) { s.contact.Failed(pg.Transient(err)+": "+err.Error(), pause) },
		Retrying: func(err error) { s.retried(pg.Transient(err)) },
		Answered: s.contact.Answered,
	}
}

// retried calls f until it succeeds or there is no point in going on.
func retried[T any](ctx context.Context, s *source, f func() (T, error)) (T, error) {
	return retry.Do(ctx, s.retrier(), f)
}

// explain turns an error into one for people: with what kind of trouble it is, and with a hint. The end of ctx comes before all else.
func (s *source) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	if syncd.HintOf(err) != "" {
		return err
	}
	return pg.Explain(err, s.connect, "source.postgres.dsn")
}

// ask is pg.Query on a connection of the pool, again where that may help: each is called anew from the first row, behind begin.
func (s *source) ask(ctx context.Context, sql string, args [][]byte, begin func(), each func(values [][]byte) error) error {
	_, err := retried(ctx, s, func() (struct{}, error) {
		begin()
		return struct{}{}, s.pool.With(ctx, func(c *pgconn.PgConn) error { return pg.Query(ctx, c, sql, args, each) })
	})
	return err
}
