package cli

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/syncd-io/syncd"
	filesource "github.com/syncd-io/syncd/connectors/file"
	filesink "github.com/syncd-io/syncd/sinks/file"
)

// full is a device without room, from the first write after so many on.
type full struct{ room int }

func (f *full) Write(b []byte) (int, error) {
	if f.room--; f.room < 0 {
		return 0, &fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
	}
	return len(b), nil
}

// TestResultThatCannotBeWritten: a command whose result nobody gets has failed, whatever it did, and says so once. One that failed
// otherwise keeps its exit code.
func TestResultThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("page.ndjson", `{"_id": "1"}`+"\n")
	config := write("job.yaml", "source: {file: {path: "+dir+", format: ndjson}}\nsink: {file: {path: "+filepath.Join(dir, "out")+"}}\n"+
		"mapping: {collections: {page: page}}\nrun: {mode: full, wait_timeout: 0, state_dir: "+filepath.Join(dir, "state")+"}\n")
	for name, c := range map[string]struct {
		args []string
		room int
		code int
		own  string // words that stand in place of those about the result
	}{
		"version":                 {args: []string{"version"}, code: 1},
		"version flag":            {args: []string{"--version"}, code: 1},
		"help":                    {args: []string{"--help"}, code: 1},
		"schema":                  {args: []string{"schema"}, code: 1},
		"plugins":                 {args: []string{"plugins"}, code: 1},
		"id":                      {args: []string{"id", "1", "--collection", "page", "-c", config}, code: 1},
		"a plugin":                {args: []string{"plugins", "sink/file"}, code: 1},
		"state list":              {args: []string{"state", "list"}, code: 1},
		"run":                     {args: []string{"run", "-c", config}, code: 1},
		"the last words of a run": {args: []string{"run", "-c", config}, room: 1, code: 1},
		"a mistake":               {args: []string{"run", "--nope"}, code: 2, own: "unknown flag"},
		"no configuration":        {args: []string{"run", "-c", filepath.Join(dir, "nope.yaml")}, code: 3, own: "nope.yaml"},
		"room for all":            {args: []string{"version"}, room: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			code := program{
				args: c.args, environ: []string{"HOME=" + dir}, stdin: strings.NewReader(""), stdout: &full{c.room}, stderr: &stderr,
				plugins: []syncd.Plugin{filesource.Plugin(), filesink.Plugin()},
			}.run(t.Context())
			said := strings.Count(stderr.String(), "error: writing to standard output: no space left on device\n")
			if want := map[bool]int{true: 1}[c.code == 1]; code != c.code || said != want || !strings.Contains(stderr.String(), c.own) {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, &stderr)
			}
		})
	}
}

// TestResultKeepsWhatFailedBefore: what a command failed with matters more than that its result is lost.
func TestResultKeepsWhatFailedBefore(t *testing.T) {
	other := errors.New("other")
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		err  error
		code int
		text string
	}{
		"nothing":       {nil, 1, "writing to standard output: lost"},
		"the same":      {lost, 1, "writing to standard output: lost"},
		"another":       {other, 1, "other"},
		"printed there": {&codeError{exitStopped, nil}, 4, "writing to standard output: lost"},
		"coded":         {&codeError{exitInvalid, other}, 3, "other"},
	} {
		r := &result{err: lost}
		if err := r.outcome(c.err); codeOf(err) != c.code || err.Error() != c.text {
			t.Errorf("%s: %d, %v", name, codeOf(err), err)
		}
	}
	if err := (&result{}).outcome(nil); err != nil {
		t.Error(err)
	}
}
