// Package pg is what plugins for PostgreSQL share: connections in a pool, questions whose answers are the server's texts, and what an
// error means.
package pg

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Pool keeps connections that are done for those that come. There are as many as are used at once; of those that are not, few. It is
// safe for concurrent use.
type Pool struct {
	Config *pgconn.Config
	mu     sync.Mutex
	idle   []*pgconn.PgConn
	closed bool
}

const mostIdle = 16

// ErrBroken is a connection that ended before the answer did.
var ErrBroken = errors.New("the connection has ended")

// Get returns a connection in no transaction.
func (p *Pool) Get(ctx context.Context) (*pgconn.PgConn, error) {
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
		return c, nil
	}
	return Connect(ctx, p.Config)
}

// Put takes a connection back. One that is not idle by now is closed.
func (p *Pool) Put(c *pgconn.PgConn) {
	if !c.IsClosed() && !c.IsBusy() && c.TxStatus() == 'I' {
		p.mu.Lock()
		if !p.closed && len(p.idle) < mostIdle {
			p.idle = append(p.idle, c)
			c = nil
		}
		p.mu.Unlock()
	}
	if c == nil {
		return
	}
	broken := c.IsClosed()
	Discard(c)
	if broken { // a server that was restarted has closed them all
		p.drop(false)
	}
}

// Close closes the idle connections. Those in use are closed when they are put back.
func (p *Pool) Close() { p.drop(true) }

func (p *Pool) drop(end bool) {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, p.closed || end
	p.mu.Unlock()
	for _, c := range idle {
		Discard(c)
	}
}

// goodbye bounds the end of a connection.
const goodbye = time.Second

// Discard closes a connection, whatever is under way on it, and waits until nothing of it is left.
func Discard(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	_ = c.Close(ctx)
	<-c.CleanupDone()
}

// With calls f with a connection.
func (p *Pool) With(ctx context.Context, f func(*pgconn.PgConn) error) error {
	c, err := p.Get(ctx)
	if err != nil {
		return err
	}
	defer p.Put(c)
	return f(c)
}

// Query asks with parameters as text and calls each with PostgreSQL's text of each row, which is valid until the next; it stops at each's
// error. The connection must then be discarded.
func Query(ctx context.Context, c *pgconn.PgConn, sql string, args [][]byte, each func(values [][]byte) error) error {
	return QueryColumns(ctx, c, sql, args, nil, each)
}

// QueryColumns is Query, and calls columns before the first row, and where there is none.
func QueryColumns(ctx context.Context, c *pgconn.PgConn, sql string, args [][]byte, columns func([]pgconn.FieldDescription) error, each func(values [][]byte) error) error {
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

// Exec runs commands without an answer.
func Exec(ctx context.Context, c *pgconn.PgConn, sql string) error {
	if _, err := c.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

// Texts makes parameters of texts.
func Texts(args ...string) [][]byte {
	out := make([][]byte, len(args))
	for i, a := range args {
		out[i] = []byte(a)
	}
	return out
}
