package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// pool keeps connections that are done for those that come. There are as many as are used at once; of those that are not, few.
type pool struct {
	config *pgconn.Config
	mu     sync.Mutex
	idle   []*pgconn.PgConn
	closed bool
}

const mostIdle = 16

// errBroken is a connection that ended before the answer did.
var errBroken = errors.New("the connection has ended")

// get returns a connection in no transaction.
func (p *pool) get(ctx context.Context) (*pgconn.PgConn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	var c *pgconn.PgConn
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		if c.CheckConn() == nil { // a server that was restarted has closed them
			return c, nil
		}
		discard(c)
	}
	return pgconn.ConnectConfig(ctx, p.config)
}

// put takes a connection back. One that is not idle by now is closed.
func (p *pool) put(c *pgconn.PgConn) {
	if !c.IsClosed() && !c.IsBusy() && c.TxStatus() == 'I' {
		p.mu.Lock()
		if !p.closed && len(p.idle) < mostIdle {
			p.idle = append(p.idle, c)
			c = nil
		}
		p.mu.Unlock()
	}
	if c != nil {
		discard(c)
	}
}

// close closes the idle connections. Those in use are closed when they are put back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		discard(c)
	}
}

// goodbye bounds the end of a connection.
const goodbye = time.Second

// discard closes a connection, whatever is under way on it, and waits until nothing of it is left.
func discard(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = c.Close(ctx)
	<-c.CleanupDone()
}

// with calls f with a connection.
func (p *pool) with(ctx context.Context, f func(*pgconn.PgConn) error) error {
	c, err := p.get(ctx)
	if err != nil {
		return err
	}
	defer p.put(c)
	return f(c)
}

// query asks with parameters as text and calls each with PostgreSQL's text of each row, which is valid until the next; it stops at each's
// error. The connection must then be discarded.
func query(ctx context.Context, c *pgconn.PgConn, sql string, args [][]byte, each func(values [][]byte) error) error {
	return queryColumns(ctx, c, sql, args, nil, each)
}

// queryColumns is query, and calls columns before the first row, and where there is none.
func queryColumns(ctx context.Context, c *pgconn.PgConn, sql string, args [][]byte, columns func([]pgconn.FieldDescription) error, each func(values [][]byte) error) error {
	rr := c.ExecParams(ctx, sql, args, nil, nil, nil)
	if columns != nil && len(rr.FieldDescriptions()) > 0 {
		if err := columns(rr.FieldDescriptions()); err != nil {
			return err
		}
	}
	for rr.NextRow() {
		if err := each(rr.Values()); err != nil {
			return err
		}
	}
	if _, err := rr.Close(); err != nil {
		return err
	}
	return nil
}

// ask is query on a connection of the pool, again where that may help: each is called anew from the first row, behind begin.
func (s *source) ask(ctx context.Context, sql string, args [][]byte, begin func(), each func(values [][]byte) error) error {
	_, err := retried(ctx, s, func() (struct{}, error) {
		begin()
		return struct{}{}, s.pool.with(ctx, func(c *pgconn.PgConn) error { return query(ctx, c, sql, args, each) })
	})
	return err
}

// exec runs commands without an answer.
func exec(ctx context.Context, c *pgconn.PgConn, sql string) error {
	if _, err := c.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

func texts(args ...string) [][]byte {
	out := make([][]byte, len(args))
	for i, a := range args {
		out[i] = []byte(a)
	}
	return out
}
