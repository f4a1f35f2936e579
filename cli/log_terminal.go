package cli

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/syncd-io/syncd/internal/text"
)

// terminalHandler writes lines for a person: the time of day, how bad it is, what happened, its attributes, and below it what to
// do.
type terminalHandler struct {
	out   io.Writer
	opts  *slog.HandlerOptions
	mu    *sync.Mutex
	attrs string // of the logger, as they are written
	group string // in front of the names of attributes
}

func newTerminalHandler(out io.Writer, opts *slog.HandlerOptions) slog.Handler {
	return &terminalHandler{out: out, opts: opts, mu: &sync.Mutex{}}
}

func (h *terminalHandler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= h.opts.Level.Level()
}

func (h *terminalHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	hint, attrs := "", h.attrs
	r.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "hint" && h.group == "":
			hint = h.value(a)
		default:
			attrs += h.attr(a)
		}
		return true
	})
	b.WriteString(r.Time.Format("15:04:05") + " " + levelWord(r.Level) + text.Line(r.Message) + attrs + "\n")
	if hint != "" {
		b.WriteString("         hint: " + hint + "\n")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.out, b.String())
	return err
}

func levelWord(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error: "
	case l >= slog.LevelWarn:
		return "warning: "
	case l < slog.LevelInfo:
		return "debug: "
	}
	return ""
}

func (h *terminalHandler) attr(a slog.Attr) string {
	a.Value = a.Value.Resolve()
	if a.Value.Kind() == slog.KindGroup {
		inner := *h
		if a.Key != "" {
			inner.group += a.Key + "."
		}
		var b strings.Builder
		for _, member := range a.Value.Group() {
			b.WriteString(inner.attr(member))
		}
		return b.String()
	}
	if a.Equal(slog.Attr{}) {
		return ""
	}
	return "  " + text.Line(h.group+a.Key) + "=" + h.value(a)
}

func (h *terminalHandler) value(a slog.Attr) string {
	a.Value = a.Value.Resolve()
	if h.opts.ReplaceAttr != nil {
		a = h.opts.ReplaceAttr(nil, a)
	}
	return text.Line(a.Value.String())
}

func (h *terminalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	for _, a := range attrs {
		out.attrs += h.attr(a)
	}
	return &out
}

func (h *terminalHandler) WithGroup(name string) slog.Handler {
	out := *h
	if name != "" {
		out.group += name + "."
	}
	return &out
}
