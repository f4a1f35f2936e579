package connect

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/runlog"
	"github.com/syncd-io/syncd/spec"
)

// The states that Connect knows.
const (
	running    = "RUNNING"
	paused     = "PAUSED"
	stopped    = "STOPPED"
	failed     = "FAILED"
	restarting = "RESTARTING"
)

// maxTasks bounds the tasks of a connector; of a job of more collections the last ones are not shown.
const maxTasks = 100

// info is a connector.
type info struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
	Tasks  []taskID          `json:"tasks"`
	Type   string            `json:"type"`
}

type taskID struct {
	Connector string `json:"connector"`
	Task      int    `json:"task"`
}

// statusBody is how a connector stands.
type statusBody struct {
	Name      string     `json:"name"`
	Connector state      `json:"connector"`
	Tasks     []taskBody `json:"tasks"`
	Type      string     `json:"type"`
}

type state struct {
	State   string `json:"state"`
	Worker  string `json:"worker_id"`
	Version string `json:"version"`
	Trace   string `json:"trace,omitempty"`
}

type taskBody struct {
	ID int `json:"id"`
	state
}

// find returns a job, or the error that a route has for one that is not there.
func (a *API) findJob(name, missing string) (host.Status, *config.Config, error) {
	j, err := a.Host.Job(name)
	if errors.Is(err, host.ErrNoJob) {
		return j, nil, fail(http.StatusNotFound, missing, name)
	}
	if err != nil {
		return j, nil, err
	}
	c, err := a.Host.Config(name)
	if errors.Is(err, host.ErrNoJob) { // gone meanwhile
		return j, nil, fail(http.StatusNotFound, missing, name)
	}
	return j, c, err
}

const (
	notFound    = "Connector %s not found"
	noStatus    = "No status found for connector %s"
	unknown     = "Unknown connector %s"
	unknownToo  = "Unknown connector: %s" // of the restart
	noTask      = "No status found for task %s-%s"
	unknownTask = "Unknown task: %s-%s"
)

func (a *API) list(q *request) (answer, error) {
	jobs := a.Host.Jobs()
	a.flats.keep(jobs)
	expand, ok := q.query["expand"]
	if !ok {
		names := make([]string, 0, len(jobs))
		for _, j := range jobs {
			names = append(names, j.Name)
		}
		return answer{body: names}, nil
	}
	out := map[string]map[string]any{}
	for _, j := range jobs {
		c, err := a.Host.Config(j.Name)
		if err != nil { // gone meanwhile
			continue
		}
		one := map[string]any{}
		if slices.Contains(expand, "status") {
			one["status"] = a.statusOf(q, j, c)
		}
		if slices.Contains(expand, "info") {
			one["info"] = a.infoOf(j, c)
		}
		out[j.Name] = one
	}
	return answer{body: out}, nil
}

func (a *API) connector(q *request) (answer, error) {
	j, c, err := a.findJob(q.job(), notFound)
	if err != nil {
		return answer{}, err
	}
	return answer{body: a.infoOf(j, c)}, nil
}

func (a *API) config(q *request) (answer, error) {
	j, _, err := a.findJob(q.job(), notFound)
	if err != nil {
		return answer{}, err
	}
	return answer{body: a.flat(j).Values}, nil
}

func (a *API) status(q *request) (answer, error) {
	j, c, err := a.findJob(q.job(), noStatus)
	if err != nil {
		return answer{}, err
	}
	return answer{body: a.statusOf(q, j, c)}, nil
}

func (a *API) tasks(q *request) (answer, error) {
	j, c, err := a.findJob(q.job(), notFound)
	if err != nil {
		return answer{}, err
	}
	type task struct {
		ID     taskID            `json:"id"`
		Config map[string]string `json:"config"`
	}
	tasks := []task{}
	for i, t := range tasksOf(j, c) {
		one := task{taskID{j.Name, i}, map[string]string{"task.class": c.Source.Name(), t.kind: t.name}}
		for k, v := range a.flat(j).Values {
			one.Config[k] = v
		}
		tasks = append(tasks, one)
	}
	return answer{body: tasks}, nil
}

func (a *API) taskStatus(q *request) (answer, error) {
	missing := fail(http.StatusNotFound, noTask, q.job(), q.names[1])
	j, c, err := a.findJob(q.job(), noStatus)
	if err != nil {
		return answer{}, missing
	}
	if id, ok := taskNumber(q.names[1], j, c); ok {
		return answer{body: a.statusOf(q, j, c).Tasks[id]}, nil
	}
	return answer{}, missing
}

// taskNumber reads the number of a task that a job has.
func taskNumber(text string, j host.Status, c *config.Config) (int, bool) {
	id, err := strconv.Atoi(text)
	return id, err == nil && id >= 0 && id < len(tasksOf(j, c))
}

func (a *API) topics(q *request) (answer, error) {
	topics := []string{}
	if _, c, err := a.findJob(q.job(), notFound); err == nil && c != nil {
		if router, ok := c.Sink.Settings.(syncd.Router); ok {
			for _, r := range c.Mapping.Rules {
				topics = append(topics, spec.ScrubURLs(router.Route(r.Target())))
			}
		}
		slices.Sort(topics)
		topics = slices.Compact(topics)
	}
	type named struct {
		Topics []string `json:"topics"`
	}
	return answer{body: map[string]named{q.job(): {topics}}}, nil
}

// resetTopics has nothing to do: topics are what the mapping says, not what was seen.
func (a *API) resetTopics(*request) (answer, error) { return answer{code: http.StatusAccepted}, nil }

// flat is what a job's file sets.
func (a *API) flat(j host.Status) *config.Flat {
	f := a.flats.of(j.File, func() *config.Flat { return a.forms().Flatten(config.Input{Path: j.File, Environ: a.Environ}) })
	if f.Values[config.FlatName] == j.Name {
		return f
	}
	named := &config.Flat{Values: map[string]string{}} // a file that is broken, or gone
	for k, v := range f.Values {
		named.Values[k] = v
	}
	named.Values[config.FlatName] = j.Name
	return named
}

// flats are the flat forms of files, as long as the files stay as they are.
type flats struct {
	mu    sync.Mutex
	files map[string]kept
}

type kept struct {
	stamp string
	flat  *config.Flat
}

func (f *flats) of(file string, read func() *config.Flat) *config.Flat {
	f.mu.Lock()
	k, ok := f.files[file]
	f.mu.Unlock()
	if ok && k.stamp == stamp(append([]string{file}, k.flat.Files...)) {
		return k.flat
	}
	flat := read()
	k = kept{stamp(append([]string{file}, flat.Files...)), flat}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.files == nil {
		f.files = map[string]kept{}
	}
	f.files[file] = k
	return flat
}

// keep drops the files that are no job's any more.
func (f *flats) keep(jobs []host.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.files) <= len(jobs) {
		return
	}
	for file := range f.files {
		if !slices.ContainsFunc(jobs, func(j host.Status) bool { return j.File == file }) {
			delete(f.files, file)
		}
	}
}

// stamp changes when one of the files is written.
func stamp(files []string) string {
	var b strings.Builder
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&b, "%d %d\n", info.ModTime().UnixNano(), info.Size())
		} else {
			b.WriteString("-\n")
		}
	}
	return b.String()
}

// infoOf is what a connector is.
func (a *API) infoOf(j host.Status, c *config.Config) info {
	out := info{j.Name, a.flat(j).Values, []taskID{}, typeOf(c)}
	for i := range tasksOf(j, c) {
		out.Tasks = append(out.Tasks, taskID{j.Name, i})
	}
	return out
}

// typeOf is what a job is to Connect's clients; it is not known of one whose file can't be used.
func typeOf(c *config.Config) string {
	if c == nil {
		return "unknown"
	}
	return "source"
}

// taskCollection is the kind of a task that is a collection.
const taskCollection = "task.collection"

// task is a part of a job.
type task struct{ kind, name string }

// tasksOf lists the tasks of a job, in an order that does not change while its file stays: its collections, and what it follows. One that
// is stopped has none.
func tasksOf(j host.Status, c *config.Config) (tasks []task) {
	if s := stateOf(j); c == nil || s == host.Stopped || s == host.Removed {
		return nil
	}
	if c.Run.Follow {
		tasks = append(tasks, task{"task.stream", "changes"})
	}
	for _, r := range c.Mapping.Rules {
		if len(tasks) == maxTasks {
			break
		}
		tasks = append(tasks, task{taskCollection, r.Collection.Name})
	}
	return tasks
}

// stateOf is the state of a job, where one that was resumed, and has not noticed yet, goes on.
func stateOf(j host.Status) host.State {
	if (j.State == host.Paused || j.State == host.Stopped) && j.Wish.Desired == host.WantRunning {
		return host.Waiting
	}
	return j.State
}

// statusOf is how a connector stands. A run that failed, of a job that tries again, is a failure of its tasks, as in Connect.
func (a *API) statusOf(q *request, j host.Status, c *config.Config) statusBody {
	return a.statusAt(q.worker(), j, c)
}

// statusAt is statusOf for who asked at that address.
func (a *API) statusAt(here string, j host.Status, c *config.Config) statusBody {
	version := a.Version
	if c != nil && c.Source.Version() != "" {
		version = c.Source.Version()
	}
	s := state{State: running, Worker: here, Version: version}
	tasks := s
	trace := spec.ScrubURLs(traceOf(j))
	switch stateOf(j) {
	case host.Paused:
		s.State, tasks.State = paused, paused
	case host.Stopped:
		s.State = stopped
	case host.Failed, host.Invalid, host.Removed:
		s.State, s.Trace = failed, trace
		tasks.State, tasks.Trace = failed, trace
	case host.Retrying:
		tasks.State, tasks.Trace = failed, trace
	case host.Running, host.Waiting, host.Done, host.Ending:
	}
	var cluster *runlog.Cluster
	if j.Live != nil {
		cluster = j.Live.Cluster
	}
	s.Worker = workerOf(cluster, task{}, here)
	out := statusBody{j.Name, s, []taskBody{}, typeOf(c)}
	for i, t := range tasksOf(j, c) {
		tasks.Worker = workerOf(cluster, t, here)
		out.Tasks = append(out.Tasks, taskBody{i, tasks})
	}
	return out
}

// workerOf is where a task is worked on: here, or in a cluster at the process that has most left to do of a collection. What a collection
// does not have is the leader's.
func workerOf(c *runlog.Cluster, t task, here string) string {
	if c == nil {
		return here
	}
	at := c.Leads()
	if t.kind == taskCollection {
		at = c.Working(t.name)
	}
	if at == nil || at.Name == c.Process {
		return here
	}
	return at.Worker()
}

// traceOf is why a job does not do what it should, and what to do.
func traceOf(j host.Status) string {
	lines := []string{j.Reason}
	if j.State == host.Invalid {
		lines = append(lines, j.Problems...)
	}
	if j.Hint != "" {
		lines = append(lines, j.Hint)
	}
	return strings.Join(slices.DeleteFunc(lines, func(s string) bool { return s == "" }), "\n")
}
