package cli

import (
	"io"

	"github.com/syncd-io/syncd/cli/progress"
)

// color is how a word stands out on a terminal.
type color string

// The colours: what all terminals know.
const (
	red    color = "\x1b[31m"
	green  color = "\x1b[32m"
	yellow color = "\x1b[33m"
	plain  color = "\x1b[0m"
)

// painter colours text where a person looks at it: on a terminal, unless NO_COLOR is set (https://no-color.org) or the
// terminal is a dumb one.
func (a *app) painter(w io.Writer) func(color, string) string {
	if a.env("NO_COLOR") != "" || a.env("TERM") == "dumb" || !progress.IsTerminal(w) {
		return func(_ color, text string) string { return text }
	}
	return func(c color, text string) string { return string(c) + text + string(plain) }
}
