package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
)

// lateness is how long after its time a server's answer is still waited for, since the plugin may be about to say why it
// got none.
const lateness = 500 * time.Millisecond

// connectFlags are the flags of validate that have the servers looked at.
type connectFlags struct {
	app     *app
	connect bool
	timeout time.Duration
}

// connectFlags adds the flags to a command.
func (a *app) connectFlags(c *cobra.Command) *connectFlags {
	f := &connectFlags{app: a}
	c.Flags().BoolVar(&f.connect, "connect", false, "connect to the servers of each valid configuration and check that a run finds what it needs; nothing is written")
	spanVar(c.Flags(), &f.timeout, "connect-timeout", 15*time.Second, "how long each server may take with --connect")
	return f
}

// usable is a configuration that a run could use.
type usable struct {
	name   string // of its file
	config *config.Config
}

// check looks at the servers of configurations that were found valid, if --connect was given, and prints what it finds. An error says
// that a check failed, or with --strict that one warned.
func (f *connectFlags) check(cmd *cobra.Command, valid []usable) error {
	out := f.app.stdout
	if l := cmd.Flags().Lookup("format"); l != nil && slices.Contains([]string{"json", "github"}, l.Value.String()) {
		out = f.app.stderr // standard output holds data, and nothing else
	}
	bad, err := f.look(cmd, valid, func(v usable, c *connection) (counts, error) {
		fmt.Fprintln(out)
		if len(valid) > 1 {
			text.Fprintf(out, "%s\n\n", v.name)
		}
		t := serverTable{w: out}
		c.tell = t.print
		if _, err := c.look(cmd.Context()); err != nil {
			return counts{}, err
		}
		fmt.Fprintln(out, t.total)
		return t.total, nil
	})
	if err == nil && bad {
		err = &codeError{code: exitFailed}
	}
	return err
}

// look has the servers of each configuration looked at, one configuration after the other, if --connect was given: ask does that, and
// tells. bad says that a check failed, or with --strict that one warned.
func (f *connectFlags) look(cmd *cobra.Command, valid []usable, ask func(usable, *connection) (counts, error)) (bad bool, err error) {
	if !f.connect {
		if cmd.Flags().Changed("connect-timeout") {
			return false, usageError("--connect-timeout has no effect without --connect")
		}
		return false, nil
	}
	if f.timeout <= 0 {
		return false, usageError("--connect-timeout must be more than 0, not %s", f.timeout)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	strict := false
	if l := cmd.Flags().Lookup("strict"); l != nil {
		strict = l.Value.String() == "true"
	}
	for _, v := range valid {
		total, err := ask(v, &connection{
			config: v.config, timeout: f.timeout, lateness: lateness, signals: signals, waiting: func(servers []string) {
				text.Fprintf(f.app.stderr, "waiting for %s (at most %s)\n", strings.Join(servers, ", "), f.timeout)
			},
		})
		if err != nil {
			return bad, err
		}
		bad = bad || total.failed > 0 || strict && total.warnings > 0
	}
	return bad, nil
}

// interruptedBy ends the program as the signal asks.
func interruptedBy(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return context.Canceled
	}
	return &codeError{128 + int(s), fmt.Errorf("interrupted by %s while looking at the servers", signalName(s))}
}
