package faults

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// quiet is for clients of the tests' own.
var quiet = slog.New(slog.DiscardHandler)

const (
	killSignal = syscall.SIGKILL
	termSignal = syscall.SIGTERM
	intSignal  = syscall.SIGINT
	stopSignal = syscall.SIGSTOP
	contSignal = syscall.SIGCONT
)

// patience is when a run counts as one that hangs. No wait that its configuration allows is nearly as long, but on a busy machine one that
// looks at all documents again each second may take more than a minute to catch up.
const patience = 2 * time.Minute

// run is one process.
type run struct {
	args []string
	cmd  *exec.Cmd
	over chan struct{} // closed when it has ended

	mu       sync.Mutex
	happened []fault

	stdout, stderr string
	code           int // -1 where a signal ended it
	hung           bool
}

func (r *run) String() string {
	return fmt.Sprintf("syncd %s: exit code %d, after %v\n--- stdout\n%s\n--- stderr\n%s", strings.Join(r.args, " "), r.code, r.happened, r.stdout, r.stderr)
}

func (r *run) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

func (r *run) note(f fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.happened = append(r.happened, f)
}

// met says whether any of the kinds happened.
func (r *run) met(kinds ...kind) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.happened, func(f fault) bool { return slices.Contains(kinds, f.kind) })
}

// hit says whether something happened to a server.
func (r *run) hit(on place) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.happened, func(f fault) bool { return f.on == on })
}

// done says whether the run came to its end.
func (r *run) done() bool { return r.code == 0 || r.code == 5 }

// asserted says whether librdkafka ended the process: a commit that is asked about in slices and comes to stand still, with the process or
// the broker, can meet an assertion of librdkafka 2.14.0 about the state of its transaction. It is to the run what a kill is.
func (r *run) asserted() bool {
	return (r.met(freeze) || r.hit(kafka)) && strings.Contains(r.stderr, "rd_kafka_txn_set_state: Assertion")
}

// unproved says that a run that is to follow was ended by others' deletes and inserts: its scan came upon fewer documents than were
// counted before and behind it.
func (r *run) unproved() bool {
	return slices.Contains(r.args, "--follow") && r.code == 4 && strings.Contains(r.stderr, "the run can't prove that it saw every document")
}

// prepare makes a run, and the faults that are to meet it.
func (w *world) prepare(faults []fault, args ...string) *run {
	r := &run{args: args, over: make(chan struct{}), cmd: exec.Command(w.program[0], append(w.program[1:len(w.program):len(w.program)], args...)...)}
	r.cmd.Dir, r.cmd.SysProcAttr = w.dir, w.identity
	r.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + w.dir}
	for _, f := range faults {
		if f.after == 0 {
			w.cause(r, f)
		}
	}
	w.mu.Lock()
	w.counts, w.pending = [process]int{}, nil
	for _, f := range faults {
		if f.after > 0 {
			w.pending = append(w.pending, &pendingFault{f, func() { w.cause(r, f) }})
		}
	}
	for _, m := range w.moments {
		w.pending = append(w.pending, &pendingFault{fault{clock: m.clock, after: m.after}, func() {
			if w.enter(r) {
				go func() { defer w.faulted.Done(); m.do(r) }()
			}
		}})
	}
	w.moments = nil
	w.mu.Unlock()
	return r
}

// run runs the program to whatever end it comes to, and ends all faults with it.
func (w *world) run(faults []fault, args ...string) *run {
	r := w.prepare(faults, args...)
	var stdout, stderr bytes.Buffer
	r.cmd.Stdout, r.cmd.Stderr = &stdout, &stderr
	w.must(r.cmd.Start())
	stuck := time.AfterFunc(patience, func() {
		r.hung = true
		r.signal(contSignal)
		r.signal(syscall.SIGQUIT) // shows where it hangs
	})
	err := r.cmd.Wait()
	stuck.Stop()
	w.mu.Lock()
	w.pending = nil
	close(r.over)
	w.mu.Unlock()
	w.faulted.Wait()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		w.t.Fatal(err)
	}
	r.stdout, r.stderr, r.code = stdout.String(), stderr.String(), r.cmd.ProcessState.ExitCode()
	w.judge(r)
	return r
}

// logged is a line of the program's log, and not of its last words.
var logged = regexp.MustCompile(`^time=\S+ level=`)

// judge checks what holds for every run, however it ended.
func (w *world) judge(r *run) {
	w.t.Helper()
	complain := func(format string, args ...any) {
		w.t.Helper()
		w.t.Errorf("%s: %s", fmt.Sprintf(format, args...), r)
	}
	for _, secret := range []string{mongoPassword, qdrantKey, kafkaPassword} {
		if strings.Contains(r.stdout+r.stderr, secret) {
			complain("the secret %q shows", secret)
		}
	}
	if r.hung {
		complain("it hangs")
		return
	}
	if strings.Contains(r.stderr, "panic:") || strings.Contains(r.stderr, "fatal error:") || strings.Contains(r.stderr, "goroutine ") {
		complain("it crashed")
	}
	var last []string
	for line := range strings.Lines(r.stderr) {
		if !logged.MatchString(line) && !strings.HasPrefix(line, "progress: ") { // of a long one
			last = append(last, line)
		}
	}
	words := func(prefixes ...string) bool { return slices.EqualFunc(last, prefixes, strings.HasPrefix) }
	switch r.code {
	case -1:
		if r.asserted() {
			w.t.Logf("librdkafka ended it by an assertion: %s", r)
		} else if !r.met(kill) {
			complain("a signal ended it")
		}
	case 0:
		if !words() {
			complain("a run that is complete has last words")
		}
	case 5:
		if !words("error: ", "hint: ") {
			complain("its last words are not one error with a hint")
		}
	case 1:
		if !words("error: ", "hint: ") {
			complain("its last words are not one error with a hint")
		}
	case 130, 143:
		if !r.met(interrupt, terminate, hardStop) {
			complain("nobody interrupted it")
		}
		if !words("error: interrupted by SIG") {
			complain("its last words are not that it was interrupted")
		}
	case 4:
		if len(r.args) > 0 && r.args[0] == "verify" || r.unproved() || r.met(dropped, renamed, allDropped) && strings.Contains(r.stderr, "the source has no collection") {
			break
		}
		fallthrough
	default:
		complain("no fault leads to this exit code")
	}
	left, _ := filepath.Glob(filepath.Join(w.stateDir, "*.owner"))
	for _, file := range left {
		text, err := os.ReadFile(file)
		if err == nil && r.code != -1 && strings.Contains(string(text), fmt.Sprintf(`"pid":%d`, r.cmd.Process.Pid)) {
			complain("it left %s", file)
		}
	}
}
