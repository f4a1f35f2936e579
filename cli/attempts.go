package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/attempts"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/pipeline"
)

// openAttempts opens the record of attempts, or returns nil where none is kept: where the configuration wants none, and where
// no index is asked, since nobody would know what never appeared there.
func (a *app) openAttempts(ctx context.Context, cfg *config.Config, s session, readOnly bool) (*attempts.Ledger, error) {
	if cfg.Run.Attempts.Max == 0 || s.checker == nil {
		return nil, nil //nolint:nilnil // no record is kept
	}
	index, name, err := indexOf(ctx, cfg, s.checker)
	if err != nil {
		return nil, err
	}
	path := cfg.Run.Attempts.File
	if path == "" {
		dir, err := a.stateDir(cfg)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256([]byte(index))
		path = filepath.Join(dir, fmt.Sprintf("attempts-%s-%x.db", fileName(name), sum[:4]))
	}
	return attempts.Open(attempts.Config{
		Path: path, Index: index, Max: cfg.Run.Attempts.Max, Retry: cfg.Run.Attempts.Retry, ReadOnly: readOnly,
	})
}

// indexOf tells an index from all others, in words, and gives its own name.
func indexOf(ctx context.Context, cfg *config.Config, checker syncd.Checker) (text, name string, err error) {
	text = cfg.Checker.Label()
	if l, ok := cfg.Checker.Settings.(syncd.Locator); ok {
		text += " at " + l.Location()
	}
	if insp, ok := checker.(syncd.Inspector); ok {
		index, err := insp.Inspect(ctx)
		if err != nil {
			return "", "", fmt.Errorf("looking at the index: %w", err)
		}
		if name = index.Name; name != "" {
			text += ", " + name
		}
	}
	if name == "" {
		name = cfg.Checker.Name()
	}
	return text, name, nil
}

// stateDir is where local records are kept.
func (a *app) stateDir(cfg *config.Config) (string, error) {
	if dir := cfg.Run.StateDir; dir != "" {
		return dir, nil
	}
	// As the XDG Base Directory Specification has it, which ignores relative paths.
	if dir := a.env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "syncd"), nil
	}
	if home := a.env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "syncd"), nil
	}
	return "", syncd.Hint(errors.New("there is no folder for local records: neither XDG_STATE_HOME nor HOME is set"),
		"set run.state_dir to a folder that outlives the run")
}

// fileName keeps what any file system takes.
func fileName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// unindexed prints which documents were left alone.
func (p *printer) unindexed(r pipeline.Report) {
	if r.Total.Unindexed == 0 {
		return
	}
	p.printf("\nLeft alone, since %s never showed them (--retry-unindexed sends them again): %s\n",
		p.index, plural(r.Total.Unindexed, "document", "documents"))
	for _, n := range p.left {
		p.printf("  %s %s: sent %s, last on %s\n", n.Rule.Collection.Name, orNone(n.ID), plural(n.Attempts, "time", "times"),
			n.Last.UTC().Format(time.DateTime))
	}
	if more := r.Total.Unindexed - int64(len(p.left)); more > 0 && len(p.left) > 0 {
		p.printf("  … and %d more\n", more)
	}
}
