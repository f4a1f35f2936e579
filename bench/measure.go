package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// figure is what the operating system says of one finished process.
type figure struct {
	wall  time.Duration
	cpu   time.Duration // user and system
	rss   int64         // bytes, at its peak
	start time.Time
}

// perDocument is d divided among n documents, in microseconds.
func perDocument(d time.Duration, n int) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }

// measure runs a command to its end and accounts for it.
func measure(cmd *exec.Cmd) (figure, error) {
	cmd.Stderr = os.Stderr
	f := figure{start: time.Now()}
	if err := cmd.Run(); err != nil {
		return f, fmt.Errorf("running %s: %w", cmd.Args, err)
	}
	f.wall = time.Since(f.start)
	f.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		f.rss = usage.Maxrss * 1024 // Linux counts kilobytes
	}
	return f, nil
}

// account accounts for a process that runs, as measure does for one that has ended. Only Linux can tell.
func (f *figure) account(pid int) error {
	f.wall = time.Since(f.start)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err
	}
	// After the name, which may be anything in parentheses, the 12th and 13th fields are user and system time in ticks of 10 ms.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return fmt.Errorf("reading the times of process %d: %q", pid, stat)
	}
	for _, text := range fields[11:13] {
		ticks, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		f.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(text), " kB"), 10, 64)
			if err != nil {
				return err
			}
			f.rss = kB * 1024
		}
	}
	return nil
}

// configuration is syncd's, for what the servers hold. What it does not mention has its default.
func configuration(e endpoints, l load) string {
	rules := make([]string, 0, l.Collections)
	for _, name := range l.names() {
		rules = append(rules, name+": doc")
	}
	return fmt.Sprintf(`source: {mongo: {uri: %q, database: %s}}
checker: {qdrant: {url: %q, collection: c}}
sink: {kafka: {bootstrap_servers: %q}}
mapping: {collections: {%s}}
run: {wait_timeout: 0}
`, e.Mongo, database, e.Qdrant, e.Kafka, strings.Join(rules, ", "))
}

// measureProgram measures a program with a configuration. Its folder, home and state are its own, so that no run knows of
// another.
func measureProgram(ctx context.Context, program, config string, args ...string) (figure, error) {
	dir, err := os.MkdirTemp("", "syncd-bench-")
	if err != nil {
		return figure{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return figure{}, err
	}
	cmd := exec.CommandContext(ctx, program, append(args, "-c", file)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	return measure(cmd)
}

// interleave calls each measurement n times, in turn, from another one on each time, so that whatever else the machine does
// meets all of them alike. The figures come back by measurement, and in it by repetition.
func interleave(n int, measurements ...func() (figure, error)) ([][]figure, error) {
	out := make([][]figure, len(measurements))
	for i := range n {
		for j := range measurements {
			k := (i + j) % len(measurements)
			f, err := measurements[k]()
			if err != nil {
				return nil, err
			}
			out[k] = append(out[k], f)
		}
	}
	return out, nil
}

// each takes one figure of every repetition.
func each(figures []figure, of func(figure) float64) []float64 {
	out := make([]float64, len(figures))
	for i, f := range figures {
		out[i] = of(f)
	}
	return out
}

// ratios divides the repetitions of one measurement by those of another, pair by pair.
func ratios(of, by []figure, what func(figure) float64) []float64 {
	out := make([]float64, len(of))
	for i := range of {
		out[i] = what(of[i]) / what(by[i])
	}
	return out
}

func cpuSeconds(f figure) float64  { return f.cpu.Seconds() }
func wallSeconds(f figure) float64 { return f.wall.Seconds() }
func peakMB(f figure) float64      { return float64(f.rss) / 1e6 }

// servers is the process that serves.
type servers struct {
	endpoints
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

func startServers(ctx context.Context, self string, l load) (*servers, error) {
	what, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "serve", string(what))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the servers: %w", err)
	}
	s := &servers{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	return s, s.read()
}

func (s *servers) read() error {
	line, err := s.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading what the servers say: %w", err)
	}
	return json.Unmarshal(line, &s.endpoints)
}

// stop ends the servers and reads what they saw.
func (s *servers) stop() error {
	if err := s.stdin.Close(); err != nil {
		return err
	}
	if err := s.read(); err != nil {
		return err
	}
	return s.cmd.Wait()
}

// sampleDocument is one of the documents that the server makes.
func sampleDocument(l load) (bson.Raw, error) {
	raw := bson.Raw(fastmongo.Documents(1, l.Size).Document(0, nil))
	return raw, raw.Validate()
}
