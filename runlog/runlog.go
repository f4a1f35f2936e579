// Package runlog keeps, in the state folder, what became of a job's runs, and how the run under way stands. Others read it: the
// command line, a service, and whoever has only the folder.
//
// Invariants:
//   - a job has two files: its runs, a line of JSON each, and what is under way, which is replaced as a whole;
//   - only the process that owns the job's state writes them;
//   - a line that was cut off, and one of a later version that can't be read, is passed over;
//   - no secret is in either: who appends a run takes the passwords of addresses out of its error;
//   - they are records for people: that they can't be written ends no run.
package runlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/syncd-io/syncd/internal/jobfile"
	"github.com/syncd-io/syncd/internal/wholefile"
	"github.com/syncd-io/syncd/tally"
)

// Run is a run that ended, or a period of following.
type Run struct {
	Job         string        `json:"job" doc:"The job's name."`
	RunID       string        `json:"run_id" doc:"The run's id, which is in the header syncd-run-id of its events."`
	Started     time.Time     `json:"started" doc:"When it began."`
	Ended       time.Time     `json:"ended" doc:"When it ended."`
	Outcome     tally.Outcome `json:"outcome" doc:"complete, failures, not_arrived, stopped, interrupted or failed, as in reports."`
	Error       string        `json:"error,omitempty" doc:"Why it did not end well."`
	Hint        string        `json:"hint,omitempty" doc:"What to do about it."`
	Mode        string        `json:"mode" doc:"incremental or full, as configured."`
	Collections []string      `json:"collections,omitempty" doc:"That were chosen; none stands for all of the mapping."`
	Planned     bool          `json:"planned,omitempty" doc:"It sent what a plan said."`
	Resumed     bool          `json:"resumed,omitempty" doc:"It went on where an interrupted run had ended."`
	Follows     bool          `json:"follows,omitempty" doc:"It went on with following changes."`
	Total       tally.Counts  `json:"total" doc:"Counts of documents, as syncd state show has them."`
	Deleted     tally.Counts  `json:"deleted" doc:"The same of the deletes of orphans."`
	Orphans     int64         `json:"orphans,omitempty" doc:"That were found."`
	Followed    *tally.Counts `json:"followed,omitempty" doc:"Changes, since the streams began; left out where none were followed."`
	Config      string        `json:"config,omitempty" doc:"Fingerprint of the configuration as it took effect."`
	Next        *time.Time    `json:"next,omitempty" doc:"When the schedule comes again, as far as that was known."`
	Freshness   *time.Time    `json:"complete_at,omitempty" doc:"When a complete look at all documents began."`
}

// Looked reports whether the run looked at documents, rather than only followed their changes.
func (r *Run) Looked() bool { return r.Followed == nil || r.Total.Scanned > 0 || r.Freshness != nil }

// Live is how the run under way stands.
type Live struct {
	Job         string       `json:"job" doc:"The job's name."`
	RunID       string       `json:"run_id" doc:"The run's id."`
	PID         int          `json:"pid" doc:"The process that runs it."`
	Host        string       `json:"host" doc:"The machine of that process."`
	Config      string       `json:"file,omitempty" doc:"The configuration's file."`
	Started     time.Time    `json:"started" doc:"When it began."`
	Updated     time.Time    `json:"updated" doc:"When this was said."`
	Phase       string       `json:"phase" doc:"What it is about: starting, reading, looking for orphans, waiting for the index, following changes or done."`
	Expected    *int64       `json:"expected,omitempty" doc:"Documents, where every collection's number is known."`
	PerSecond   float64      `json:"documents_per_second" doc:"Documents read per second."`
	ETA         *float64     `json:"eta_seconds,omitempty" doc:"How long reading still takes, about."`
	Counts      tally.Counts `json:"counts" doc:"Counts of documents, as syncd state show has them."`
	Deleted     tally.Counts `json:"deleted" doc:"The same of the deletes of orphans."`
	Embedded    *Embedded    `json:"embedded,omitempty" doc:"What this process had embedded, of a job that embeds."`
	Stalled     bool         `json:"stalled" doc:"Nothing has moved for longer than run.stall_after."`
	Paused      bool         `json:"paused" doc:"Streams are not read: all documents are looked at again, or a server is down."`
	Collections []Collection `json:"collections" doc:"Its collections."`
	Streams     []Stream     `json:"streams,omitempty" doc:"The streams that are followed."`
	Window      *float64     `json:"window_seconds,omitempty" doc:"How far back the source keeps its changes, where it tells."`
	Cluster     *Cluster     `json:"cluster,omitempty" doc:"The processes that share the job, where several may."`
}

// Cluster is how the processes stand that share a job, as one of them sees it.
type Cluster struct {
	Process   string    `json:"process" doc:"The process that says this."`
	Leader    string    `json:"leader,omitempty" doc:"The process that leads: it plans, proves, follows streams and reports. None is known while another one is found."`
	Lanes     int       `json:"lanes" doc:"Partitions of the state topic; each is owned by one process."`
	Unowned   int       `json:"lanes_without_owner" doc:"Of which no owner is known: nobody works on what is in them until one is found."`
	Moves     int       `json:"moves" doc:"How often a partition was seen to go to another process, since this one began."`
	Processes []Process `json:"processes" doc:"The processes that own partitions."`
}

// Process is one of those that share a job.
type Process struct {
	Name    string         `json:"name" doc:"Its name, which is no other process's."`
	Host    string         `json:"host" doc:"Its machine."`
	PID     int            `json:"pid" doc:"Its number there."`
	Address string         `json:"address,omitempty" doc:"Where its service listens, if it is one."`
	Since   *time.Time     `json:"since,omitempty" doc:"When it last gained a partition."`
	Lanes   []int          `json:"lanes" doc:"The partitions that it owns; whose is 0 leads."`
	Splits  map[string]int `json:"splits" doc:"Splits in them that are not done, by collection."`
}

// Worker is where the process is found, for those who look for host and port.
func (p *Process) Worker() string {
	if p.Address != "" {
		return p.Address
	}
	return p.Name
}

// Left is how many of its splits are not done.
func (p *Process) Left() (n int) {
	for _, splits := range p.Splits {
		n += splits
	}
	return n
}

// Leads returns the process that leads; nil is not known.
func (c *Cluster) Leads() *Process {
	for i := range c.Processes {
		if c.Processes[i].Name == c.Leader {
			return &c.Processes[i]
		}
	}
	return nil
}

// Working returns the process that has most left to do of a collection; where nothing is left, the one that leads.
func (c *Cluster) Working(collection string) *Process {
	most, left := c.Leads(), 0
	for i := range c.Processes {
		if n := c.Processes[i].Splits[collection]; n > left {
			most, left = &c.Processes[i], n
		}
	}
	return most
}

// Embedded is what stages had embedded.
type Embedded struct {
	Tokens int64   `json:"tokens" doc:"Tokens, as the service counts them."`
	Texts  int64   `json:"texts" doc:"Texts that they were in."`
	Cost   float64 `json:"cost,omitempty" doc:"What they cost in US dollars; left out where the price is not known."`
}

// Collection is how far the run came with one.
type Collection struct {
	Name          string       `json:"name" doc:"Its name in the source."`
	ContentType   string       `json:"content_type" doc:"What the index calls its documents."`
	Expected      *int64       `json:"expected,omitempty" doc:"Documents that it holds, where that is known."`
	Started       bool         `json:"started" doc:"It is read."`
	Done          bool         `json:"done" doc:"It was read to its end."`
	Splits        int          `json:"splits" doc:"Its parts, as far as they are known."`
	SplitsDone    int          `json:"splits_done" doc:"Parts that were read to their end."`
	Counts        tally.Counts `json:"counts" doc:"Counts of its documents."`
	OldestMissing *time.Time   `json:"oldest_missing,omitempty" doc:"When the document that is missing and that changed longest ago was changed."`
}

// Stream is one that is followed.
type Stream struct {
	Name    string       `json:"name" doc:"Its name."`
	Counts  tally.Counts `json:"counts" doc:"Since it began."`
	Waiting int          `json:"waiting" doc:"Changes that were read and are not handled yet."`
	Lag     *float64     `json:"lag_seconds,omitempty" doc:"Where it is known."`
	Silent  float64      `json:"silent_seconds" doc:"How long the source has said nothing."`
	Idle    bool         `json:"idle" doc:"There is nothing left to handle."`
}

const (
	runsSuffix = ".runs.jsonl"
	liveSuffix = ".live.json"

	maxBytes  = 1 << 20  // of a file of runs, before the oldest are dropped
	keepRuns  = 500      // then
	readBytes = 16 << 10 // of it at once, from its end
)

// Append adds a run to those of its job. The folder is made where it is not there.
func Append(dir string, r Run) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("keeping the run: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keeping the run: %w", err)
	}
	path := jobfile.Path(dir, r.Job, runsSuffix)
	if info, err := os.Stat(path); err == nil && info.Size() > maxBytes {
		if err := shorten(path); err != nil {
			return fmt.Errorf("keeping the run: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keeping the run: %w", err)
	}
	line = append(line, '\n')
	if cutOff(f) { // what was cut off must not take this line with it
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.Write(line)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keeping the run: %w", err)
	}
	return nil
}

// cutOff reports whether the last line of a file has no end.
func cutOff(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// shorten drops the oldest runs of a file.
func shorten(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return wholefile.Write(path, bytes.Join(lines[max(0, len(lines)-keepRuns):], nil), false)
}

// Read returns the last runs of a job, at most so many, the newest first. A job without any has none. It reads no more of the file than
// it needs, since a list of many jobs asks for the last ones of each.
func Read(dir, job string, most int) ([]Run, error) {
	f, err := os.Open(jobfile.Path(dir, job, runsSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var info fs.FileInfo
	if err == nil {
		defer f.Close() //nolint:errcheck // it was only read
		info, err = f.Stat()
	}
	if err != nil {
		return nil, fmt.Errorf("reading the runs: %w", err)
	}
	var runs []Run
	left := info.Size() // of the file before what was read
	var rest []byte     // the end of a line that begins before
	for left > 0 && len(runs) < most {
		piece := make([]byte, min(left, readBytes), min(left, readBytes)+int64(len(rest)))
		left -= int64(len(piece))
		if _, err := f.ReadAt(piece, left); err != nil {
			return runs, fmt.Errorf("reading the runs: %w", err) // what could be read is told
		}
		lines := bytes.Split(append(piece, rest...), []byte("\n"))
		if rest = nil; left > 0 {
			rest, lines = lines[0], lines[1:]
		}
		for i := len(lines) - 1; i >= 0 && len(runs) < most; i-- {
			var r Run
			if len(lines[i]) > 0 && json.Unmarshal(lines[i], &r) == nil && r.Job == job {
				runs = append(runs, r)
			}
		}
	}
	return runs, nil
}

// Stamp changes when a run is added to those of a job, for whoever remembers what Read said. It is empty where there are none.
func Stamp(dir, job string) string {
	info, err := os.Stat(jobfile.Path(dir, job, runsSuffix))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d", info.ModTime().UnixNano(), info.Size())
}

// Jobs names the jobs of which a folder has a record, in the order of their names. A folder that does not exist has none.
func Jobs(dir string) ([]string, error) {
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listing the runs: %w", err)
	}
	var jobs []string
	for _, f := range all {
		path := filepath.Join(dir, f.Name())
		switch {
		case jobfile.Is(path, runsSuffix):
			jobs = append(jobs, nameIn(path, runsSuffix))
		case jobfile.Is(path, liveSuffix):
			jobs = append(jobs, nameIn(path, liveSuffix))
		}
	}
	slices.Sort(jobs)
	return slices.Compact(jobs), nil
}

// nameIn is the job of a file: a name that was too long for the file's is in its first line.
func nameIn(path, suffix string) string {
	name := jobfile.Job(path, suffix)
	f, err := os.Open(path)
	if err != nil {
		return name
	}
	defer f.Close() //nolint:errcheck // it was only read
	var said struct {
		Job string `json:"job"`
	}
	if json.NewDecoder(bufio.NewReader(f)).Decode(&said) == nil && said.Job != "" {
		return said.Job
	}
	return name
}

// Publish says how the run under way stands.
func Publish(dir string, now Live) error {
	text, err := json.Marshal(now)
	if err == nil {
		err = os.MkdirAll(dir, 0o700) // of a job that keeps its state elsewhere it may be the first file
	}
	if err == nil {
		err = wholefile.Write(jobfile.Path(dir, now.Job, liveSuffix), text, false)
	}
	if err != nil {
		return fmt.Errorf("saying how the run stands: %w", err)
	}
	return nil
}

// Withdraw says that no run of the job is under way.
func Withdraw(dir, job string) error {
	if err := os.Remove(jobfile.Path(dir, job, liveSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("saying that no run is under way: %w", err)
	}
	return nil
}

// Current is how the run under way stands, as its process last said; ok is false where none has said anything since the last ended.
// A process that was killed could not say so: whoever asks looks at Updated, and whether the process lives.
func Current(dir, job string) (now Live, ok bool, err error) {
	text, err := os.ReadFile(jobfile.Path(dir, job, liveSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return now, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &now)
	}
	if err != nil {
		return now, false, fmt.Errorf("reading how the run stands: %w", err)
	}
	return now, now.Job == job, nil
}
