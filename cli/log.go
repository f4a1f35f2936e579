package cli

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/syncd-io/syncd/cli/progress"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/tally"
)

// logger writes to standard error. Each line carries the id of the run that is under way, if there is one, but for those that a
// person reads on a terminal.
func (a *app) logger(format, level string) (*slog.Logger, error) {
	l, err := logLevel(level)
	if err != nil {
		return nil, err
	}
	return a.loggerFrom(format, l)
}

func logLevel(level string) (l slog.Level, err error) {
	if l.UnmarshalText([]byte(level)) != nil {
		return l, usageError("--log-level must be debug, info, warn or error, not %q", level)
	}
	return l, nil
}

// loggerFrom is logger from a level on.
func (a *app) loggerFrom(format string, level slog.Level) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: cutLong}
	var h slog.Handler
	out := text.Escape(a.notices) // a handler writes one line at a time, with its line ends escaped, and not all else
	switch format {
	case "text":
		if progress.IsTerminal(a.stderr) {
			return slog.New(newTerminalHandler(out, opts)), nil
		}
		h = slog.NewTextHandler(out, opts)
	case "json":
		h = slog.NewJSONHandler(out, opts)
	default:
		return nil, usageError("--log-format must be text or json, not %q", format)
	}
	return slog.New(runHandler{h, &a.runID}), nil
}

// cutLong cuts what is too long to be read, which is others' text.
func cutLong(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(text.Cut(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(text.Cut(err.Error()))
		}
	}
	return a
}

// logRun says whose lines the log has from now on.
func (a *app) logRun(runID string) { a.runID.Store(&runID) }

// runHandler adds the run's id, which is not known yet when plugins are given their logger, and changes from run to run.
type runHandler struct {
	slog.Handler
	id *atomic.Pointer[string]
}

func (h runHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := h.id.Load(); id != nil && !hasAttr(r, "run") {
		r.AddAttrs(slog.String("run", *id))
	}
	return h.Handler.Handle(ctx, r)
}

// hasAttr reports whether a record has an attribute of that name.
func hasAttr(r slog.Record, key string) (found bool) {
	r.Attrs(func(a slog.Attr) bool {
		found = a.Key == key
		return !found
	})
	return found
}

func (h runHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return runHandler{h.Handler.WithAttrs(attrs), h.id}
}

func (h runHandler) WithGroup(name string) slog.Handler {
	return runHandler{h.Handler.WithGroup(name), h.id}
}

// narrated has the log told what an observer is told, in as many lines.
func narrated(o job.Observer, logger *slog.Logger) job.Observer {
	started, done := o.Started, o.CollectionDone
	o.Started = func(index job.IndexReport, full bool) {
		started(index, full)
		mode := "incremental"
		if full {
			mode = "full"
		}
		args := []any{"mode", mode}
		if index.Known {
			args = append(args, "index_points", index.Before.Points)
		}
		logger.Info("run started", args...)
	}
	o.CollectionDone = func(r engine.CollectionReport) {
		done(r)
		logger.Info("collection done", append([]any{"collection", r.Rule.Collection.Name, "took", r.Duration.Round(time.Millisecond).String()}, countArgs(r.Counts)...)...)
	}
	return o
}

// narrateEnd tells the log how the run ended; why it did not end well is the error's to say.
func narrateEnd(logger *slog.Logger, r job.Report, err error) {
	logger.Info("run ended", append([]any{"complete", err == nil, "took", r.Duration.Round(time.Millisecond).String()}, countArgs(r.Total)...)...)
}

func countArgs(c tally.Counts) []any {
	return []any{
		"documents", c.Scanned, "present", c.Present, "missing", c.Missing, "stale", c.Stale, "other_model", c.OtherModel, "partial", c.Partial, "chunks_unread", c.Unread,
		"sent", c.Acked, "failed", c.Failed(), "dead_lettered", c.DeadLettered,
	}
}
