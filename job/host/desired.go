package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
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
	mu   sync.Mutex
	jobs map[string]Wish
}

const desiresFile = "service.json"

func openDesires(dir string) (*desires, error) {
	d := &desires{path: filepath.Join(dir, desiresFile), jobs: map[string]Wish{}}
	text, err := os.ReadFile(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return d, nil
	case err != nil:
		return nil, fmt.Errorf("reading which jobs are to run: %w", err)
	}
	if err := json.Unmarshal(text, &d.jobs); err != nil { // to run what was stopped may do harm
		return nil, syncd.Hint(fmt.Errorf("reading which jobs are to run: %s: %w", d.path, err),
			"remove the file: then all jobs run, those that were paused or stopped as well")
	}
	return d, nil
}

// of returns what is wanted of a job.
func (d *desires) of(job string) Wish {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w, ok := d.jobs[job]; ok {
		return w
	}
	return Wish{Desired: WantRunning}
}

// set keeps what is wanted of a job. On error the old wish stays.
func (d *desires) set(job string, want Desired, by string) error {
	return d.change(func() {
		d.jobs[job] = Wish{want, by, time.Now().UTC()}
		if want == WantRunning && by == "" {
			delete(d.jobs, job)
		}
	})
}

// forget drops what was wanted of a job.
func (d *desires) forget(job string) error {
	return d.change(func() { delete(d.jobs, job) })
}

func (d *desires) change(f func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old := make(map[string]Wish, len(d.jobs))
	for name, w := range d.jobs {
		old[name] = w
	}
	f()
	if err := d.write(); err != nil {
		d.jobs = old
		return fmt.Errorf("keeping what is wanted of the job: %w", err)
	}
	return nil
}

func (d *desires) write() error {
	text, err := json.MarshalIndent(d.jobs, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(d.path), 0o700); err != nil {
		return err
	}
	return writeFile(d.path, append(text, '\n'), 0o600)
}

// writeFile replaces a file: whoever reads it, and a crash, finds the old one or the new one.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync())
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
