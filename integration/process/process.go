// Package process runs servers that nobody here wrote as children of a test: it fetches them, starts them, waits until they
// answer, and ends them, gently or not.
//
// Invariants:
//   - a child ends with its parent, however that ends: every child is one that ends when its standard input does;
//   - when Start fails, nothing runs; when Stop or Kill has returned, the child is gone;
//   - nothing waits for a time: a server is ready when its protocol says so.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

// Config says what to run.
type Config struct {
	Name string // in messages
	Path string // of the program, or its name
	Args []string
	Env  []string // beside the parent's

	// Ready asks the server, by its own protocol, whether it serves. It is called until it returns nil, each time with a
	// context of a few seconds.
	Ready func(ctx context.Context) error
}

// Process is a running server.
type Process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.Closer
	log   *tail
	gone  chan struct{} // closed when the child has ended
	err   error         // how it ended; may be read when gone is closed
}

// Deadlines; a machine that is busy needs more time than one would think.
const (
	startTime = 2 * time.Minute
	askTime   = 5 * time.Second
	stopTime  = 30 * time.Second
)

// Start runs the server and waits until it is ready. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	// Not bound to ctx, since the server outlives the call.
	cmd := exec.Command(cfg.Path, cfg.Args...) //nolint:gosec,noctx // for tests, which choose what to run
	cmd.Env = append(cmd.Environ(), cfg.Env...)
	p := &Process{name: cfg.Name, cmd: cmd, log: &tail{}, gone: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.Name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", cfg.Name, err)
	}
	go func() {
		defer close(p.gone)
		p.err = cmd.Wait()
	}()
	if err := p.await(ctx, cfg.Ready); err != nil {
		return nil, fmt.Errorf("starting %s: %w\n%s", cfg.Name, errors.Join(err, p.Kill()), p.Log())
	}
	return p, nil
}

func (p *Process) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ask, cancel := context.WithTimeout(ctx, askTime)
		err := ready(ask)
		cancel()
		select {
		case <-p.gone: // also where another server answers at its address
			return fmt.Errorf("it ended before it was ready: %w", p.ended())
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.gone:
		case <-ctx.Done():
			return fmt.Errorf("it was not ready in time: %w", err)
		}
	}
}

// ended is why a child that should run does not.
func (p *Process) ended() error {
	if p.err != nil {
		return p.err
	}
	return errors.New("exit status 0")
}

// Stop asks the server to end, and insists after a while. Stopping one that has ended is harmless.
func (p *Process) Stop() error {
	select {
	case <-p.gone:
		return nil
	default:
	}
	_ = p.stdin.Close()
	insist := time.NewTimer(stopTime)
	defer insist.Stop()
	select {
	case <-p.gone:
		if p.err != nil {
			return fmt.Errorf("stopping %s: %w\n%s", p.name, p.err, p.Log())
		}
		return nil
	case <-insist.C:
		return errors.Join(fmt.Errorf("stopping %s: it did not end within %s\n%s", p.name, stopTime, p.Log()), p.Kill())
	}
}

// Kill ends the server without warning (SIGKILL). Killing one that has ended is harmless.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	select {
	case <-p.gone:
		return nil
	default:
	}
	if err != nil {
		return fmt.Errorf("killing %s: %w", p.name, err)
	}
	<-p.gone
	_ = p.stdin.Close()
	return nil
}

// Log is the end of what the server has printed.
func (p *Process) Log() string { return p.log.String() }

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}

// FreeAddr returns a loopback address on which nothing listens. It is below the ports that systems give to outgoing
// connections: a client that tries again and again to reach a server that is down must not, by chance, be given the server's
// own port and take it.
func FreeAddr(ctx context.Context) (string, error) {
	var last error
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(15_000+rand.IntN(15_000))) //nolint:gosec // need not be secret
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err != nil {
			last = err
			continue
		}
		return addr, l.Close()
	}
	return "", fmt.Errorf("finding a free port: %w", last)
}
