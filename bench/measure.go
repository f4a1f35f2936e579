package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
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

// servers is the process that serves.
type servers struct {
	endpoints
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

func startServers(ctx context.Context, self string, documents, size, absent int, list bool) (*servers, error) {
	cmd := exec.CommandContext(ctx, self, "serve", strconv.Itoa(documents), strconv.Itoa(size), strconv.Itoa(absent), map[bool]string{true: "1", false: "0"}[list])
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
func sampleDocument() (bson.Raw, error) {
	raw := bson.Raw(fastmongo.Documents(1, documentSize).Document(0, nil))
	return raw, raw.Validate()
}
