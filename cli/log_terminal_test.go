package cli

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"testing"
)

// TestLogOnATerminal: what happened comes first, and what to do has a line of its own.
func TestLogOnATerminal(t *testing.T) {
	for name, c := range map[string]struct {
		log  func(l *slog.Logger)
		want string
	}{
		"a warning with a hint": {func(l *slog.Logger) {
			l.Warn("could not connect to Qdrant", "policy", "full", "hint", "set run.on_check_unavailable: fail")
		}, "warning: could not connect to Qdrant  policy=full\n         hint: set run.on_check_unavailable: fail\n"},
		"a notice":    {func(l *slog.Logger) { l.Info("collection done", "collection", "page", "sent", 3) }, "collection done  collection=page  sent=3\n"},
		"an error":    {func(l *slog.Logger) { l.Error("it failed", "error", errors.New("no\nway")) }, "error: it failed  error=no\\\\nway\n"},
		"two lines":   {func(l *slog.Logger) { l.Info("a\nb") }, "a\\\\nb\n"},
		"of a logger": {func(l *slog.Logger) { l.With("source", "mongo").WithGroup("g").Info("m", "a", 1) }, "m  source=mongo  g.a=1\n"},
		"a group":     {func(l *slog.Logger) { l.Info("m", slog.Group("g", "a", 1, "hint", "h")) }, "m  g.a=1  g.hint=h\n"},
		"too little":  {func(l *slog.Logger) { l.Debug("m") }, ""},
	} {
		var out bytes.Buffer
		c.log(slog.New(newTerminalHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: cutLong})))
		pattern := ""
		if c.want != "" {
			pattern = `\d\d:\d\d:\d\d ` + regexp.MustCompile(`[=.\[\]]`).ReplaceAllString(c.want, `\$0`)
		}
		if !regexp.MustCompile("^" + pattern + "$").Match(out.Bytes()) {
			t.Errorf("%s: %q, want %q", name, out.String(), c.want)
		}
	}
}
