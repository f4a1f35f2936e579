package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/spec"
)

// server answers each question with one row of the text 7, in a test's process, so that a bubble's time is the whole world's.
type server struct {
	down    func() bool // it can't be connected to, and its connections end
	refused string      // the SQLSTATE that connections are refused with; empty: none
	served  sync.WaitGroup
	dials   atomic.Int64
}

func (s *server) dial(context.Context, string, string) (net.Conn, error) {
	s.dials.Add(1)
	if s.down != nil && s.down() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	here, there := net.Pipe()
	s.served.Go(func() {
		defer there.Close()
		s.serve(pgproto3.NewBackend(there, there))
	})
	return here, nil
}

func (s *server) serve(b *pgproto3.Backend) {
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	if s.refused != "" {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: s.refused, Message: "it says no"})
		_ = b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for b.Flush() == nil {
		m, err := b.Receive()
		if err != nil || s.down != nil && s.down() {
			return
		}
		switch m.(type) {
		case *pgproto3.Parse:
			b.Send(&pgproto3.ParseComplete{})
		case *pgproto3.Bind:
			b.Send(&pgproto3.BindComplete{})
		case *pgproto3.Describe:
			b.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("n"), DataTypeOID: pg.OIDText}}})
		case *pgproto3.Execute:
			b.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("7")}})
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
		case *pgproto3.Sync:
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Terminate:
			return
		}
	}
}

// open returns a source of the server, and what it logs. It is to be closed within the bubble.
func (s *server) open(t *testing.T, dsn string) (*source, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	cfg := defaults()
	cfg.DSN = spec.Secret(dsn)
	src, err := newSource(cfg, syncd.Env{Logger: slog.New(slog.NewTextHandler(log, nil)), Retried: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	src.connect.DialFunc = s.dial
	return src, log
}

func (s *server) close(t *testing.T, src *source) {
	t.Helper()
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	s.served.Wait()
}

// seven asks a question.
func seven(ctx context.Context, s *source) error {
	got := ""
	err := s.ask(ctx, "SELECT '7'", nil, func() { got = "" }, func(v [][]byte) error {
		got += string(v[0])
		return nil
	})
	if err == nil && got != "7" {
		err = fmt.Errorf("the answer is %q", got)
	}
	return err
}

// TestAnOutageIsToldOnce: however many ask, there is a line when the server can't be asked any more and one when it can be again; what passes
// at once is not told, and neither is the password.
func TestAnOutageIsToldOnce(t *testing.T) {
	const lost, again = "PostgreSQL can't be asked: trying again", "PostgreSQL can be asked again"
	for name, c := range map[string]struct {
		from, until time.Duration
		want        []string
		fails       bool
	}{
		"at the first question": {0, 3 * time.Second, []string{lost, again}, false},
		"amid questions":        {5 * time.Second, 7 * time.Second, []string{lost, again}, false},
		"for a moment":          {time.Second, 1200 * time.Millisecond, nil, false},
		"for good":              {time.Second, time.Hour, []string{lost}, true},
		"never":                 {0, 0, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				s := &server{down: func() bool { past := time.Since(began); return past >= c.from && past < c.until }}
				src, log := s.open(t, "postgres://u:s3cret@127.0.0.1:5432/d?sslmode=disable")
				var workers sync.WaitGroup
				for range 4 {
					workers.Go(func() {
						for time.Since(began) < 15*time.Second {
							err := seven(t.Context(), src)
							if (err != nil) != c.fails && (err != nil || time.Since(began) > 12*time.Second) {
								t.Error(err)
							}
							if err != nil {
								return
							}
							time.Sleep(100 * time.Millisecond)
						}
					})
				}
				workers.Wait()
				s.close(t, src)
				var got []string
				for line := range strings.Lines(log.String()) {
					_, text, _ := strings.Cut(line, `msg="`)
					text, _, _ = strings.Cut(text, `"`)
					got = append(got, text)
				}
				if fmt.Sprint(got) != fmt.Sprint(c.want) || strings.Contains(log.String(), "s3cret") {
					t.Error(log.String())
				}
				if c.want != nil && !strings.Contains(log.String(), "address=127.0.0.1:5432") {
					t.Error(log.String())
				}
			})
		})
	}
}

// TestTheEndOfAnOutageIsTold also where nobody asks behind the first answer.
func TestTheEndOfAnOutageIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &server{down: func() bool { return time.Since(began) < time.Second }}
		src, log := s.open(t, "postgres://u@127.0.0.1:5432/d?sslmode=disable")
		if err := seven(t.Context(), src); err != nil {
			t.Error(err)
		}
		s.close(t, src)
		if !strings.Contains(log.String(), "PostgreSQL can be asked again") {
			t.Error(log.String())
		}
	})
}

// TestErrorsOfAServer: what may pass is asked again and then is an outage; what will not is said at once, with what to do.
func TestErrorsOfAServer(t *testing.T) {
	for code, c := range map[string]struct {
		attempts    int64
		unavailable bool
		hint        string
	}{
		"57P03": {maxAttempts, true, "check that PostgreSQL runs there"}, // it is starting
		"53300": {maxAttempts, true, "check that PostgreSQL runs there"}, // too many connections
		"08006": {maxAttempts, true, "check that PostgreSQL runs there"},
		"28P01": {1, false, "source.postgres.dsn"}, // the password
		"28000": {1, false, "pg_hba.conf"},
		"3D000": {1, false, "check the database in source.postgres.dsn"},
		"42501": {1, false, "GRANT USAGE"},
		"53400": {1, false, ""},
	} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{refused: code}
				src, log := s.open(t, "postgres://u:s3cret@127.0.0.1:5432/d?sslmode=disable")
				err := seven(t.Context(), src)
				if err != nil {
					err = src.explain(t.Context(), err)
				}
				if n := s.dials.Load(); n != c.attempts {
					t.Errorf("it was connected to %d times", n)
				}
				if err == nil || errors.Is(err, syncd.ErrUnavailable) != c.unavailable || !strings.Contains(syncd.HintOf(err), c.hint) ||
					!strings.Contains(err.Error(), "it says no") || strings.Contains(err.Error()+log.String(), "s3cret") {
					t.Errorf("%v, hint %q", err, syncd.HintOf(err))
				}
				s.close(t, src)
			})
		})
	}
}

// TestTheEndOfTheContextEndsAQuestion that would be asked again.
func TestTheEndOfTheContextEndsAQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{down: func() bool { return true }}
		src, _ := s.open(t, "postgres://u@127.0.0.1:5432/d?sslmode=disable")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := src.explain(ctx, seven(ctx, src)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		s.close(t, src)
	})
}

// TestWhyAServerCantBeReached is said in one line, each cause once, though it is tried with TLS and without.
func TestWhyAServerCantBeReached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{down: func() bool { return true }}
		src, log := s.open(t, "postgres://u:s3cret@127.0.0.1:5432/d")
		err := src.explain(t.Context(), seven(t.Context(), src))
		const want = "no usable server at 127.0.0.1:5432: failed to connect to `user=u database=d`: 127.0.0.1:5432 (127.0.0.1): dial error: dial tcp: connection refused"
		if !errors.Is(err, syncd.ErrUnavailable) || !strings.HasSuffix(fmt.Sprint(err), want) {
			t.Errorf("%q", err)
		}
		if strings.Contains(log.String(), `\n`) || strings.Contains(log.String(), "s3cret") {
			t.Error(log.String())
		}
		if _, connecting := errors.AsType[*pgconn.ConnectError](err); !connecting || s.dials.Load() != 2*maxAttempts {
			t.Errorf("%d attempts, and %T", s.dials.Load(), err)
		}
		s.close(t, src)
	})
}
