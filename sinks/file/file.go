// Package file is the sink that writes events as lines of JSON to a file or to standard output.
//
// Invariants:
//   - a line is one event, whole: what a failed write has left of its batch is cut off again, and where that is not
//     possible the sink refuses all further writes;
//   - Write returns nil only after the lines are on the disk (fsync), unless sync is "close";
//   - nothing is created or emptied before Prepare or the first Write, so that a dry run leaves no trace;
//   - no byte that was in the file before is lost, unless mode is "truncate".
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// Config declares the sink's settings.
type Config struct {
	Path   string       `yaml:"path" rule:"required" example:"events.ndjson" doc:"File to write, in an existing directory; - is standard output."`
	Format string       `yaml:"format" rule:"oneof=value envelope" doc:"What a line holds: value is the event's value alone; envelope is an object that also holds key, headers, ids and collection."`
	Mode   string       `yaml:"mode" rule:"oneof=append truncate create" doc:"What happens to an existing file: append keeps what it holds, truncate empties it, create refuses it."`
	Sync   string       `yaml:"sync" rule:"oneof=write close" doc:"When lines must be on the disk: write is after every batch; close is at the end, which is faster and loses them if the machine stops."`
	Event  codec.Config `yaml:"event" doc:"The form of events."`
}

func defaults() Config {
	return Config{Format: "value", Mode: modeAppend, Sync: syncWrite, Event: codec.Defaults()}
}

// Values of Config's fields.
const (
	stdout = "-"

	formatEnvelope = "envelope"

	modeAppend   = "append"
	modeTruncate = "truncate"
	modeCreate   = "create"

	syncWrite = "write"
)

// Route implements syncd.Router, as the open sink does.
func (c *Config) Route(syncd.Target) string { return c.Path }

// Continues implements syncd.Continuer: only what is appended, and on the disk, adds to what an interrupted run wrote.
func (c *Config) Continues() bool {
	return c.Path != stdout && c.Mode == modeAppend && c.Sync == syncWrite
}

// Derive implements syncd.Deriver. Only the form of events is the same in a file beside this one.
func (c *Config) Derive() any {
	d := defaults()
	d.Event = c.Event
	return &d
}

// Preview implements syncd.Previewer.
func (c *Config) Preview(change *syncd.Change) (key, value []byte, err error) {
	return c.Event.Encoder().Preview(change)
}

// Plugin declares the sink.
func Plugin() syncd.Plugin {
	return syncd.NewSink("file", "Writes events as lines of JSON to a file or to standard output.", defaults(), open).
		WithVersion("1", syncd.Stable)
}

// output is what the sink needs of a file.
type output interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// Sink writes lines. Plugin opens one.
type Sink struct {
	config  Config
	encoder codec.Encoder
	logger  *slog.Logger
	runID   string    // set by prepare, before the first Write
	batches sync.Pool // of *batch

	mu      sync.Mutex
	out     output // nil until start
	regular bool   // out can be synced and truncated
	size    int64  // of a regular file up to its last whole batch
	broken  error  // why nothing more can be written
}

// batch is the memory of one Write.
type batch struct {
	codec.Batch
	lines []byte
}

// open checks what can be checked without leaving a trace.
func open(_ context.Context, c Config, env syncd.Env) (syncd.Sink, error) {
	s := &Sink{config: c, encoder: c.Event.Encoder(), logger: env.Logger}
	if c.Path == stdout {
		return s, nil
	}
	info, err := os.Stat(c.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(c.Path)
		parent, err := os.Stat(dir)
		if err == nil && !parent.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			return nil, syncd.Hint(fmt.Errorf("checking the directory of %s: %w", c.Path, err), "create the directory %s, or change sink.file.path", dir)
		}
	case err != nil:
		return nil, fmt.Errorf("checking the file to write: %w", err)
	case info.IsDir():
		return nil, syncd.Hint(fmt.Errorf("writing to %s: it is a directory", c.Path), "sink.file.path must name a file")
	case c.Mode == modeCreate:
		return nil, exists(c.Path)
	case info.Mode().IsRegular(): // opening a pipe would wait for its reader
		f, err := os.OpenFile(c.Path, os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("checking the file to write: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("checking the file to write: %w", err)
		}
	}
	return s, nil
}

func exists(path string) error {
	return syncd.Hint(fmt.Errorf("creating %s: %w", path, fs.ErrExist), "remove it, or set sink.file.mode to append or truncate")
}

// Abilities implements syncd.Sink.
func (s *Sink) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{Prepare: s.prepare, Route: s.config.Route, Raw: s.config.Event.Raw(), DeadLetters: s.deadLetters, Probe: s.probe}
}

// prepare is the ability Prepare.
func (s *Sink) prepare(_ context.Context, run syncd.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runID = run.ID
	return s.start()
}

// start opens the output, once. The caller holds mu.
func (s *Sink) start() error {
	if s.out != nil {
		return nil
	}
	if s.config.Path == stdout {
		s.out = os.Stdout
		return nil
	}
	flags := os.O_RDWR | os.O_CREATE | os.O_APPEND
	switch s.config.Mode {
	case modeTruncate:
		flags |= os.O_TRUNC
	case modeCreate:
		flags |= os.O_EXCL
	}
	f, err := os.OpenFile(s.config.Path, flags, 0o644) //nolint:gosec // as a shell's redirection: the umask decides
	if errors.Is(err, fs.ErrExist) {
		return exists(s.config.Path)
	}
	if err != nil {
		return fmt.Errorf("opening the file to write: %w", err)
	}
	if err := s.begin(f); err != nil {
		return errors.Join(err, f.Close())
	}
	s.out = f
	return nil
}

// begin finds where a file's whole lines end. One that ends within a line is given the line's end, so that the first event
// starts on its own: what is there may be a line cut short, or whole and merely unterminated, and is not ours to remove.
func (s *Sink) begin(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("opening the file to write: %w", err)
	}
	if s.regular = info.Mode().IsRegular(); !s.regular {
		return nil
	}
	s.size = info.Size()
	if s.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, s.size-1); err != nil {
		return fmt.Errorf("reading the end of the file to write: %w", err)
	}
	if last[0] == '\n' {
		return nil
	}
	s.logger.Warn("the last line of the file has no end; it is kept and may be incomplete", "path", s.config.Path)
	if _, err := f.WriteString("\n"); err != nil {
		return fmt.Errorf("ending the last line of the file to write: %w", err)
	}
	s.size++
	return nil
}

// Write implements syncd.Sink.
func (s *Sink) Write(ctx context.Context, changes []syncd.Change) error {
	b, _ := s.batches.Get().(*batch)
	if b == nil {
		b = &batch{}
	}
	defer s.batches.Put(b)
	b.Encode(s.encoder, s.runID, changes)
	return b.Settle(changes, s.write(ctx, b))
}

// write writes the events of a batch that have a line.
func (s *Sink) write(ctx context.Context, b *batch) error {
	lines, failed := s.appendLines(b.lines[:0], b.Events)
	b.lines = lines
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to %s: %w", s.config.Path, err)
	}
	if err := s.append(lines); err != nil {
		return err
	}
	return failed.OrNil()
}

// append makes whole lines durable, or leaves the file as it was. The caller holds mu.
func (s *Sink) append(lines []byte) error {
	if s.broken != nil {
		return s.broken
	}
	if err := s.start(); err != nil {
		return err
	}
	if len(lines) == 0 {
		return nil
	}
	n, err := s.out.Write(lines) // its error names the path
	if err != nil {
		err = fmt.Errorf("writing events: %w", err)
		if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
			err = syncd.Hint(err, "make room, or let sink.file.path name a place that has more, and run it again")
		}
		if undo := s.undo(n); undo != nil {
			s.broken = fmt.Errorf("%w; the last line may be incomplete: %w", err, undo)
			return s.broken
		}
		return err
	}
	s.size += int64(n)
	if s.regular && s.config.Sync == syncWrite {
		if err := s.out.Sync(); err != nil {
			// What the system could not write it may drop, so that a later fsync would succeed without it.
			s.broken = fmt.Errorf("writing events to the disk: %w", err)
			return s.broken
		}
	}
	return nil
}

// undo cuts off the n bytes of a failed write. Where somebody else has written to the file too, it leaves it alone.
func (s *Sink) undo(n int) error {
	if n == 0 {
		return nil
	}
	if !s.regular {
		return errors.New("what was written can't be taken back")
	}
	info, err := s.out.Stat()
	if err != nil {
		return err
	}
	if info.Size() != s.size+int64(n) {
		return errors.New("another process writes to the file")
	}
	return s.out.Truncate(s.size)
}

// Close implements io.Closer.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil || s.config.Path == stdout {
		return nil
	}
	var err error
	if s.regular && s.broken == nil {
		err = s.out.Sync()
	}
	if err = errors.Join(err, s.out.Close()); err != nil {
		return fmt.Errorf("closing the file of events: %w", err)
	}
	return nil
}
