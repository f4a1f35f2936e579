package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/integration/kafka"
	"github.com/syncd-io/syncd/sandbox/fastmongo"
	"github.com/syncd-io/syncd/sandbox/qdrantserver"
)

// throughputEnv is for how many documents TestClusterThroughput shares; it is not run otherwise, since it takes minutes.
const throughputEnv = "SYNCD_TEST_THROUGHPUT"

// away is how long servers that are far away take to answer.
const away = 50 * time.Millisecond

// distant carries what is sent between clients and a server that is far away: each byte arrives after half of the time away.
type distant struct {
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// newDistant listens at addr for clients of the server upstream.
func newDistant(t *testing.T, addr, upstream string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	d := &distant{listener: l}
	d.running.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", upstream)
			if err != nil {
				_ = near.Close()
				continue
			}
			d.mu.Lock()
			d.conns = append(d.conns, near, far)
			d.mu.Unlock()
			d.running.Go(func() { carry(far, near) })
			d.running.Go(func() { carry(near, far) })
		}
	})
	closeAfter(t, func() error {
		err := l.Close()
		d.mu.Lock()
		for _, c := range d.conns {
			_ = c.Close()
		}
		d.mu.Unlock()
		d.running.Wait()
		return err
	})
}

// carry copies from one connection to another, late, and closes both at the end.
func carry(to, from net.Conn) {
	type piece struct {
		b   []byte
		due time.Time
	}
	pieces := make(chan piece, 1024)
	var writing sync.WaitGroup
	writing.Go(func() {
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.b); err != nil {
				_ = from.Close() // ends the reading
			}
		}
		_ = to.Close()
	})
	for {
		b := make([]byte, 64<<10)
		n, err := from.Read(b)
		if n > 0 {
			pieces <- piece{b[:n], time.Now().Add(away / 2)}
		}
		if err != nil {
			break
		}
	}
	close(pieces)
	_ = from.Close()
	writing.Wait()
	_, _ = io.Copy(io.Discard, from)
}

// TestClusterThroughput measures how much faster several processes are than one where all servers are far away, so that waiting limits
// them and not this machine. Its figures mean something where little of the time is spent computing, which it tells.
func TestClusterThroughput(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(throughputEnv))
	if err != nil {
		t.Skipf("set %s to a number of documents", throughputEnv)
	}
	b := ownBroker(t)
	newDistant(t, b.Advertised(), b.Addr(kafka.Proxied))
	mongo := generated(t)
	mongo.Inject(fastmongo.Fault{Times: fastmongo.Always, Delay: away})
	index, err := qdrantserver.Start(qdrantserver.Config{Intercept: func(ctx context.Context, _ string) error {
		select {
		case <-time.After(away):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, index.Close)
	var one time.Duration
	for _, processes := range []int{1, 2, 4} {
		p := newPlace(t, mongo.URI(), b.Addr(kafka.Plain)).at(b.Advertised())
		p.qdrantURL = "http://" + index.Addr()
		docs := fastmongo.Documents(n, 300)
		if err := mongo.Generate(p.name+".page", docs); err != nil {
			t.Fatal(err)
		}
		f := newFleet(t, p, 0, 16, []string{createTopics})
		config := filepath.Join(t.TempDir(), "far.yaml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "extends: %s\nrun: {batch_size: 50}\nsource: {mongo: {splits: 0}} # as many as users have\n", f.config), 0o600); err != nil {
			t.Fatal(err)
		}
		f.config = config
		began := time.Now()
		for range processes {
			f.join(t)
		}
		whole := f.ends(t)
		took := time.Since(began)
		if c := whole.Totals; c.Documents != int64(n) || c.Acked != int64(n) {
			t.Errorf("the report says %d documents, %d events confirmed", c.Documents, c.Acked)
		}
		if repeats := p.wantsAll(t, docs); repeats > 0 {
			t.Errorf("%d events are there twice", repeats)
		}
		if processes == 1 {
			one = took
		}
		var cpu time.Duration
		parts := ""
		for _, i := range f.members {
			u := i.cmd.ProcessState.SysUsage().(*syscall.Rusage)
			cpu += time.Duration(u.Utime.Nano() + u.Stime.Nano())
			parts += fmt.Sprintf(" %s", i.cmd.ProcessState.UserTime().Round(time.Millisecond))
		}
		t.Logf("%d processes: %s (the run itself %.1f s), %.0f documents a second, %.2f times one; %s of processor (%.0f %% of one)", processes, took.Round(10*time.Millisecond), whole.Seconds,
			float64(n)/took.Seconds(), float64(one)/float64(took), cpu.Round(10*time.Millisecond), 100*cpu.Seconds()/took.Seconds())
		for k, i := range f.members {
			t.Logf("process %d:\n%s", k, i.output.String())
		}
	}
}
