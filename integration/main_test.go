package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/syncd-io/syncd/integration/kafka"
)

// program is the built syncd.
var program string

// shared is the broker of all tests that do not end theirs; the first of them starts it.
var shared struct {
	sync.Once
	*kafka.Broker
	err error
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "syncd-integration-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "syncd")
		build := exec.Command("go", "build", "-o", program, "./cmd/syncd")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building syncd: %v\n%s", err, out)
			return 1
		}
		code := m.Run()
		for s := range startedPostgres.all {
			if err := s.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		if shared.Broker != nil {
			if err := shared.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
		}
		return code
	}())
}

// broker is the broker that tests share.
func broker(t *testing.T) *kafka.Broker {
	t.Helper()
	shared.Do(func() {
		dir := filepath.Join(filepath.Dir(program), "kafka")
		if shared.err = os.Mkdir(dir, 0o750); shared.err == nil {
			shared.Broker, shared.err = kafka.Start(context.Background(), dir)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	logOnFailure(t, "Apache Kafka", shared.Log)
	return shared.Broker
}

// ownBroker is a broker for one test, which may end it.
func ownBroker(t *testing.T) *kafka.Broker {
	t.Helper()
	b, err := kafka.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, b.Close)
	logOnFailure(t, "Apache Kafka", b.Log)
	return b
}

func closeAfter(t *testing.T, closing func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := closing(); err != nil {
			t.Error(err)
		}
	})
}

func logOnFailure(t *testing.T, name string, log func() string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- the end of %s's log\n%s", name, log())
		}
	})
}

// result is what an invocation left behind.
type result struct {
	output string // standard output and error
	code   int
	took   time.Duration
}

// runTime bounds an invocation.
const runTime = 30 * time.Minute

// invocation is a running syncd.
type invocation struct {
	cmd    *exec.Cmd
	output output
	began  time.Time
	done   chan struct{}
	err    error
	cancel context.CancelFunc
}

// output is what a program that runs has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start begins an invocation with nothing of this machine's environment but what a program needs to run.
func start(t *testing.T, args ...string) *invocation {
	t.Helper()
	i := &invocation{began: time.Now(), done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), runTime)
	i.cancel = cancel
	i.cmd = exec.CommandContext(ctx, program, args...)
	i.cmd.Dir = t.TempDir()
	i.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + i.cmd.Dir}
	i.cmd.Stdout, i.cmd.Stderr = &i.output, &i.output
	if err := i.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer close(i.done)
		i.err = i.cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-i.done
	})
	return i
}

// running says whether the program has not ended.
func (i *invocation) running() bool {
	select {
	case <-i.done:
		return false
	default:
		return true
	}
}

// kill ends the program without warning.
func (i *invocation) kill(t *testing.T) {
	t.Helper()
	if err := i.cmd.Process.Kill(); err != nil {
		t.Errorf("killing syncd: %v", err)
	}
	<-i.done
}

// wait waits for the program's end.
func (i *invocation) wait(t *testing.T) result {
	t.Helper()
	<-i.done
	var exit *exec.ExitError
	if i.err != nil && !errors.As(i.err, &exit) {
		t.Fatal(i.err)
	}
	return result{i.output.String(), i.cmd.ProcessState.ExitCode(), time.Since(i.began)}
}

func invoke(t *testing.T, args ...string) result {
	t.Helper()
	return start(t, args...).wait(t)
}

// wants fails the test at once unless the exit code and every pattern match.
func (r result) wants(t *testing.T, code int, patterns ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("want exit code %d, got %d", code, r.code)
	}
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)` + p).MatchString(r.output) {
			t.Errorf("nothing matches %q", p)
		}
	}
	if t.Failed() {
		t.Fatalf("after %s:\n%s", r.took.Round(time.Millisecond), r.output)
	}
}

func (r result) wantsNot(t *testing.T, text string) {
	t.Helper()
	if strings.Contains(r.output, text) {
		t.Errorf("%q shows:\n%s", text, r.output)
	}
}

// patience bounds what a test waits for.
const patience = 2 * time.Minute

// until asks again and again until the condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	within(t, patience, what, holds)
}

// within is until, for what may take longer.
func within(t *testing.T, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %s", patience, what)
		}
		<-tick.C
	}
}
