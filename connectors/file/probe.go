package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

var _ syncd.Locator = (*Config)(nil)

// Location is the directory.
func (c *Config) Location() string { return c.Path }

// Probe looks at the directory and reads the first document of each collection, which shows whether a file is in the form
// that its name promises.
func (s *source) Probe(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	folder := syncd.Finding{Subject: "folder", Status: syncd.StatusOK}
	names, err := s.collections()
	if err != nil {
		folder.Status, folder.Detail = syncd.StatusFailed, err.Error()
		folder.Hint = "the user that runs syncd must be able to read it"
		return []syncd.Finding{folder}
	}
	folder.Detail = fmt.Sprintf("%d collections", len(names))
	if len(names) == 1 {
		folder.Detail = "1 collection"
	}
	if s.folder != s.cfg.Path {
		folder.Detail += " in " + s.folder
	}
	findings := []syncd.Finding{folder}
	for _, t := range targets {
		f := syncd.Finding{Subject: "collection " + t.Collection}
		if ctx.Err() != nil {
			f.Status, f.Detail = syncd.StatusFailed, "no answer in time"
		} else {
			f = s.probeCollection(ctx, f, t, names)
		}
		findings = append(findings, f)
	}
	return findings
}

func (s *source) probeCollection(ctx context.Context, f syncd.Finding, t syncd.ProbeTarget, names []string) syncd.Finding {
	file, err := s.open(ctx, syncd.Collection{Name: t.Collection, Filter: t.Filter})
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		f.Status, f.Detail = syncd.StatusWarning, "has no file: a run takes it for an empty one"
		f.Hint = "looked for " + s.names(t.Collection)
		if near := spec.Nearest(t.Collection, names); near != "" {
			f.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		return f
	}
	if err != nil {
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
		return f
	}
	defer file.done()
	f.Status = syncd.StatusOK
	f.Detail = fmt.Sprintf("%s, %s", filepath.Base(file.name), size(file.onDisk))
	switch first, err := file.next(); {
	case errors.Is(err, io.EOF):
		f.Detail += ", no document"
	case err != nil:
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
	case first.err != nil:
		f.Status, f.Detail = syncd.StatusWarning, fmt.Sprintf("its first document can't be read: %v", first.err)
		f.Hint = "check that the file is what its extension says; a run counts and names documents like this one"
	}
	return f
}

// size gives bytes as people read them.
func size(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= unit.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.bytes), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
