package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/wholefile"
)

// Desired is what people want of a job.
type Desired string

// What they may want.
const (
	WantRunning Desired = "running"
	WantPaused  Desired = "paused"
	WantStopped Desired = "stopped"
)

// Wish is what was last wanted of a job.
type Wish struct {
	Desired Desired   `json:"desired" doc:"running, paused or stopped."`
	By      string    `json:"by,omitempty" doc:"Who wanted that."`
	At      time.Time `json:"at" doc:"Since when."`
}

// desires keeps the wishes in a file, which is replaced as a whole. Jobs without one are to run.
type desires struct {
	path string
	mu   sync.Mutex // of those who change them: nobody who asks waits for the disk
	jobs atomic.Pointer[map[string]Wish]
}

const desiresFile = "service.json"

func openDesires(dir string) (*desires, error) {
	d, jobs := &desires{path: filepath.Join(dir, desiresFile)}, map[string]Wish{}
	d.jobs.Store(&jobs)
	text, err := os.ReadFile(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d, nil
	case err != nil:
		return nil, fmt.Errorf("reading which jobs are to run: %w", err)
	}
	if err := json.Unmarshal(text, &jobs); err != nil { // to run what was stopped may do harm
		return nil, syncd.Hint(fmt.Errorf("reading which jobs are to run: %s: %w", d.path, err),
			"remove the file: then all jobs run, those that were paused or stopped as well")
	}
	return d, nil
}

// of returns what is wanted of a job.
func (d *desires) of(job string) Wish {
	if w, ok := (*d.jobs.Load())[job]; ok {
		return w
	}
	return Wish{Desired: WantRunning}
}

// set keeps what is wanted of a job. On error the old wish stays.
func (d *desires) set(job string, want Desired, by string) error {
	return d.change(func(jobs map[string]Wish) {
		jobs[job] = Wish{want, by, time.Now().UTC()}
		if want == WantRunning && by == "" {
			delete(jobs, job)
		}
	})
}

// forget drops what was wanted of a job.
func (d *desires) forget(job string) error {
	return d.change(func(jobs map[string]Wish) { delete(jobs, job) })
}

func (d *desires) change(f func(jobs map[string]Wish)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	jobs := maps.Clone(*d.jobs.Load())
	if jobs == nil {
		jobs = map[string]Wish{} // the file held null
	}
	f(jobs)
	if err := d.write(jobs); err != nil {
		return fmt.Errorf("keeping what is wanted of the job: %w", err)
	}
	d.jobs.Store(&jobs)
	return nil
}

func (d *desires) write(jobs map[string]Wish) error {
	text, err := json.MarshalIndent(jobs, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return err
	}
	return wholefile.Write(d.path, append(text, '\n'), true)
}
