package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/syncd-io/syncd/sandbox/change"
	"github.com/syncd-io/syncd/sandbox/sample"
)

// IndexerConfig says which program is the indexer: a built syncd, which reads the events from Kafka and writes points to Qdrant.
type IndexerConfig struct {
	Syncd     string // the program; empty starts none
	Config    string // its configuration, whose group and collection are the constants here
	ChunkSize int    // characters of a chunk; 0 is what the configuration says
}

// What the configuration of the indexer calls its group and its collection.
const (
	Group      = "qdrant-consumer"
	Collection = "pms_collection"
)

// Indexer is a running indexer.
type Indexer struct {
	cmd   *exec.Cmd
	state string // folder
	log   tail
	gone  chan struct{} // closed when it has ended
	err   error         // how; may be read when gone is closed
}

// startIndexer starts a process that ends with this one.
func startIndexer(cfg IndexerConfig, environ []string) (*Indexer, error) {
	state, err := os.MkdirTemp("", "syncd-indexer-")
	if err != nil {
		return nil, err
	}
	x := &Indexer{state: state, gone: make(chan struct{})}
	x.cmd = exec.Command(cfg.Syncd, "run", "-c", cfg.Config)
	x.cmd.Env = append(environ, "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), "XDG_STATE_HOME="+state)
	if cfg.ChunkSize > 0 {
		x.cmd.Env = append(x.cmd.Env, fmt.Sprintf("CHUNK_SIZE=%d", cfg.ChunkSize))
	}
	x.cmd.Stdout, x.cmd.Stderr = &x.log, &x.log
	x.cmd.SysProcAttr = tied()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // a child that is tied ends with the thread that started it
		defer runtime.UnlockOSThread()
		err := x.cmd.Start()
		started <- err
		if err == nil {
			x.err = x.cmd.Wait()
			close(x.gone)
		}
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("running %s: %w", cfg.Syncd, err), os.RemoveAll(state))
	}
	return x, nil
}

// ready waits until the indexer has made its collection.
func (x *Indexer) ready(ctx context.Context, data change.Data) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return x.until(ctx, func() (bool, error) { return data.Indexed(ctx) })
}

// until asks again and again until the condition holds.
func (x *Indexer) until(ctx context.Context, holds func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := holds()
		if done && err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-x.gone:
			return fmt.Errorf("the indexer has ended\n%s", x.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for the indexer: %w\n%s", errors.Join(ctx.Err(), err), x.Log())
		}
	}
}

// Log is the end of what the indexer has written.
func (x *Indexer) Log() string { return x.log.String() }

// Close ends the indexer as Ctrl-C would, and waits until it has ended. It may be called again.
func (x *Indexer) Close() error {
	_ = x.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-x.gone:
	case <-time.After(30 * time.Second):
		_ = x.cmd.Process.Kill()
		<-x.gone
		return fmt.Errorf("the indexer did not end in time\n%s", x.Log())
	}
	err := os.RemoveAll(x.state)
	if x.err != nil {
		err = errors.Join(fmt.Errorf("stopping the indexer: %w\n%s", x.err, x.Log()), err)
	}
	return err
}

// AwaitIndexed waits until the indexer has handled every event that is on the topics.
func (s *Sandbox) AwaitIndexed(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka.Addr()), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		return err
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	left := int64(0)
	err = s.Indexer.until(ctx, func() (bool, error) {
		left, err = lag(ctx, admin)
		return left == 0, err
	})
	if err != nil {
		return fmt.Errorf("%d events are left: %w", left, err)
	}
	return nil
}

// lag is how many events the indexer has not handled.
func lag(ctx context.Context, admin *kadm.Client) (left int64, err error) {
	ends, err := admin.ListEndOffsets(ctx)
	if err != nil {
		return 0, err
	}
	done, err := admin.FetchOffsets(ctx, Group)
	if err != nil {
		return 0, err
	}
	ends.Each(func(end kadm.ListedOffset) {
		if !strings.HasPrefix(end.Topic, sample.Database+".") {
			return // it reads no others
		}
		at, _ := done.Lookup(end.Topic, end.Partition)
		left += end.Offset - max(at.At, 0)
	})
	return left, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 16 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf = append(t.buf, b...); len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
