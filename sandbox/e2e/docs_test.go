package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/sandbox"
)

// TestDocumentedCommands does what README.md and docs/getting-started.md tell a reader to do, in their order. A block fenced
// as "sh run" is run line by line; a line's exit code is 0 unless it ends with "# exit code N". A block fenced as "text output"
// shows what the block before it prints: its lines must be found in that order, whatever the numbers in them are, and … stands
// for anything.
func TestDocumentedCommands(t *testing.T) {
	for page, chunk := range map[string]int{
		"docs/getting-started.md": 0,
		"README.md":               0,
		"docs/tutorial.md":        200, // as sandbox up -chunk 200
		"docs/faq.md":             0,
		"docs/reports.md":         0,
	} {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, page))
			if err != nil {
				t.Fatal(err)
			}
			s := indexed(t, sandbox.Config{Streams: true, Indexer: sandbox.IndexerConfig{ChunkSize: chunk}})
			if err := s.Load(t.Context(), 0, 1500); err != nil { // as many as `make sandbox`
				t.Fatal(err)
			}
			r := newReader(t, s)
			ran, output := 0, ""
			for _, b := range blocks(string(text)) {
				switch b.info {
				case "sh run":
					output = ""
					for _, line := range b.commands() {
						if tool, _, _ := strings.Cut(line.text, " "); tool == "jq" {
							if _, err := exec.LookPath(tool); err != nil {
								continue
							}
						}
						output += r.run(t, fmt.Sprintf("%s:%d", page, line.number), line.text)
						ran++
					}
				case "text output":
					expect(t, fmt.Sprintf("%s:%d", page, b.line), b.text, output)
				}
			}
			if ran < 4 {
				t.Errorf("%s has only %d lines to run: are its blocks fenced as sh run?", page, ran)
			}
		})
	}
}

// reader is somebody who sits in a checkout, with a program that was built there.
type reader struct {
	dir     string
	environ []string
}

func newReader(t *testing.T, s *sandbox.Sandbox) *reader {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n%s=yes exec '%s' \"$@\"\n", asSandbox, os.Args[0])
	if err := os.WriteFile(filepath.Join(dir, "bin/sandbox"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(dir, "bin/syncd")); err != nil {
		t.Fatal(err)
	}
	// configs/prod.yaml stands in the pages for the reader's own, whose servers are the sandbox here.
	if err := os.CopyFS(filepath.Join(dir, "configs"), os.DirFS(filepath.Join(root, "configs"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "configs/prod.yaml"), []byte("extends: sandbox.yaml\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &reader{dir, append([]string{
		"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir, "XDG_STATE_HOME=" + filepath.Join(dir, "state"),
	}, s.Environ()...)}
}

var exitCode = regexp.MustCompile(`# .*\bexit code (\d+)`)

// run runs one line and returns what it printed.
func (r *reader) run(t *testing.T, place, line string) string {
	t.Helper()
	want := 0
	if m := exitCode.FindStringSubmatch(line); m != nil {
		want, _ = strconv.Atoi(m[1])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = r.dir, r.environ
	// A command that hangs has children, which would keep its output open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()

	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %s: %v", place, line, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Errorf("%s: %s: exit code %d, not %d\n%s", place, line, got, want, out)
	}
	return string(out)
}

// block is a fenced block of a page.
type block struct {
	info, text string
	line       int // of its first line
}

func blocks(page string) (out []block) {
	var b *block
	for i, line := range strings.Split(page, "\n") {
		switch {
		case b == nil && strings.HasPrefix(line, "```"):
			b = &block{info: strings.TrimSpace(line[3:]), line: i + 2}
		case b != nil && strings.HasPrefix(line, "```"):
			out = append(out, *b)
			b = nil
		case b != nil:
			b.text += line + "\n"
		}
	}
	return out
}

type numbered struct {
	number int
	text   string
}

// commands are a block's lines, with those that end in a backslash joined to the next.
func (b *block) commands() (out []numbered) {
	open := false
	for i, line := range strings.Split(b.text, "\n") {
		part, more := strings.CutSuffix(line, `\`)
		if open {
			out[len(out)-1].text += part
		} else if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			out = append(out, numbered{b.line + i, part})
		} else {
			continue
		}
		open = more
	}
	return out
}

var (
	// What differs from run to run: ids, dates, numbers with their units.
	differs = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]*[0-9][0-9a-f]{11,}\b|\d[\d.:]*(?:ms|µs|s|m)?\b`)
	spaces  = regexp.MustCompile(`\s+`)
)

func loose(text string) string {
	return strings.TrimSpace(spaces.ReplaceAllString(differs.ReplaceAllString(text, "#"), " "))
}

// expect looks for the lines of a documented output in what was printed.
func expect(t *testing.T, place, documented, printed string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(printed) {
		lines = append(lines, loose(line))
	}
	at := 0
	for line := range strings.Lines(documented) {
		want := loose(line)
		if want == "" || want == "…" {
			continue
		}
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$")
		found := at
		for found < len(lines) && !pattern.MatchString(lines[found]) {
			found++
		}
		if found == len(lines) {
			t.Errorf("%s: %q is not what is printed, or not there:\n%s", place, strings.TrimSpace(line), printed)
			return
		}
		at = found + 1
	}
}
