package connect

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Levels are how much is logged: of the whole, and of each job. They may change while the log is written to. All methods are safe for
// concurrent use.
type Levels struct {
	mu   sync.Mutex
	root level
	jobs map[string]*level
}

// level is that of one logger.
type level struct {
	slog.LevelVar
	changed time.Time
}

// The names of loggers.
const (
	rootLogger = "root"
	jobLoggers = "job" // all jobs'
	jobLogger  = "job."
)

// The levels' names are those of Log4j, of which slog lacks some.
var levelNames = []struct {
	name  string
	level slog.Level
}{
	{"TRACE", slog.LevelDebug - 4},
	{"DEBUG", slog.LevelDebug},
	{"INFO", slog.LevelInfo},
	{"WARN", slog.LevelWarn},
	{"ERROR", slog.LevelError},
	{"FATAL", slog.LevelError + 4},
	{"OFF", math.MaxInt32},
}

// NewLevels returns levels that log from one on.
func NewLevels(from slog.Level) *Levels {
	l := &Levels{jobs: map[string]*level{}}
	l.root.Set(from)
	return l
}

// Handler returns a handler that passes on what is to be logged: lines of a logger with the attribute job by that job's level. inner must
// take every level.
func (l *Levels) Handler(inner slog.Handler) slog.Handler {
	return levelHandler{inner, l, &l.root.LevelVar}
}

type levelHandler struct {
	slog.Handler
	levels *Levels
	from   *slog.LevelVar
}

func (h levelHandler) Enabled(_ context.Context, at slog.Level) bool { return at >= h.from.Level() }

func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key == "job" && a.Value.Kind() == slog.KindString {
			h.from = h.levels.of(a.Value.String())
		}
	}
	return levelHandler{h.Handler.WithAttrs(attrs), h.levels, h.from}
}

func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name), h.levels, h.from}
}

// of returns the level of a job.
func (l *Levels) of(job string) *slog.LevelVar {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &l.job(job).LevelVar
}

// job returns the level of a job. The caller holds mu.
func (l *Levels) job(name string) *level {
	if l.jobs[name] == nil {
		l.jobs[name] = &level{}
		l.jobs[name].Set(l.root.Level())
	}
	return l.jobs[name]
}

// set changes the level of a logger and of those below it, among them those of the given jobs, and names them; nothing where there is
// no such logger.
func (l *Levels) set(logger string, to slog.Level, jobs []string, now time.Time) (changed []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if logger == rootLogger {
		l.root.Set(to)
		l.root.changed = now
		changed = append(changed, rootLogger)
		for _, v := range l.jobs { // also of jobs that are not there now
			v.Set(to)
		}
	}
	for _, name := range jobs {
		if logger == rootLogger || logger == jobLoggers || logger == jobLogger+name {
			v := l.job(name)
			v.Set(to)
			v.changed = now
			changed = append(changed, jobLogger+name)
		}
	}
	return changed
}

// shownLevel is a logger's level.
type shownLevel struct {
	Level   string `json:"level"`
	Changed *int64 `json:"last_modified"` // milliseconds since 1970
}

func (v *level) shown() shownLevel {
	s := shownLevel{Level: levelNames[0].name}
	for _, n := range levelNames {
		if v.Level() >= n.level {
			s.Level = n.name
		}
	}
	if !v.changed.IsZero() {
		at := v.changed.UnixMilli()
		s.Changed = &at
	}
	return s
}

// all lists the levels of the root and of jobs.
func (l *Levels) all(jobs []string) map[string]shownLevel {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]shownLevel{rootLogger: l.root.shown()}
	for _, name := range jobs {
		out[jobLogger+name] = l.job(name).shown()
	}
	return out
}

// jobNames lists the jobs.
func (a *API) jobNames() []string {
	var names []string
	for _, j := range a.Host.Jobs() {
		names = append(names, j.Name)
	}
	return names
}

func (a *API) loggers(*request) (answer, error) { return answer{body: a.Levels.all(a.jobNames())}, nil }

func (a *API) logger(q *request) (answer, error) {
	found, ok := a.Levels.all(a.jobNames())[q.names[0]]
	if !ok {
		return answer{}, fail(http.StatusNotFound, "Logger %s not found.", q.names[0])
	}
	return answer{body: found}, nil
}

func (a *API) setLogger(q *request) (answer, error) {
	var want struct {
		Level *string `json:"level"`
	}
	if err := decode(q.body, &want); err != nil {
		return answer{}, err
	}
	if want.Level == nil {
		return answer{}, fail(http.StatusBadRequest, "Desired 'level' parameter was not specified in request.")
	}
	at := slices.IndexFunc(levelNames, func(n struct {
		name  string
		level slog.Level
	}) bool {
		return strings.EqualFold(n.name, *want.Level)
	})
	if at < 0 {
		return answer{}, fail(http.StatusNotFound, "invalid log level '%s'.", *want.Level)
	}
	changed := a.Levels.set(q.names[0], levelNames[at].level, a.jobNames(), time.Now())
	if len(changed) == 0 {
		return answer{}, fail(http.StatusNotFound, "Logger %s not found.", q.names[0])
	}
	a.Logger.Info("the level of a log was changed", "logger", q.names[0], "level", levelNames[at].name, "by", a.by(q))
	if q.query.Get("scope") == "cluster" {
		return answer{code: http.StatusNoContent}, nil
	}
	return answer{body: changed}, nil
}
