package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/syncd-io/syncd"
)

var (
	_ syncd.Locator   = (*Config)(nil)
	_ syncd.Router    = (*Config)(nil)
	_ syncd.Continuer = (*Config)(nil)
	_ syncd.Deriver   = (*Config)(nil)
	_ syncd.Previewer = (*Config)(nil)
)

// littleSpace is the free space below which a full disk in mid-run is likely enough to be worth a warning.
const littleSpace = 1 << 30

// Location is the file, or standard output.
func (c *Config) Location() string {
	if c.Path == stdout {
		return "standard output"
	}
	return c.Path
}

// probe is the ability Probe. It looks at the file, the directory that it is or will be in, and the room there. It creates
// nothing; what open has checked already is reported as found.
func (s *Sink) probe(context.Context, []syncd.ProbeTarget) []syncd.Finding {
	path := s.config.Path
	if path == stdout {
		return []syncd.Finding{{Subject: "standard output", Status: syncd.StatusOK, Detail: "events are written there"}}
	}
	dir := filepath.Dir(path)
	file := syncd.Finding{Subject: "file", Status: syncd.StatusOK}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file.Detail = "does not exist yet; a run will create it"
		if err := mayCreateIn(dir); err != nil {
			file.Status = syncd.StatusFailed
			file.Detail = fmt.Sprintf("does not exist, and can't be created in %s: %v", dir, err)
			file.Hint = "let the user that runs syncd write there, or change sink.file.path"
		}
	case err != nil: // it went away since it was opened
		file.Status, file.Detail = syncd.StatusFailed, err.Error()
	case !info.Mode().IsRegular():
		file.Detail = "is there, and is no regular file"
		return []syncd.Finding{file} // the room beside a device or a pipe says nothing
	case s.config.Mode == modeTruncate && info.Size() > 0:
		file.Status = syncd.StatusWarning
		file.Detail = fmt.Sprintf("holds %d bytes, which a run will remove", info.Size())
		file.Hint = "set sink.file.mode: append to keep them"
	default:
		file.Detail = fmt.Sprintf("holds %d bytes, and can be written to", info.Size())
	}
	return append([]syncd.Finding{file}, space(dir))
}

func space(dir string) syncd.Finding {
	f := syncd.Finding{Subject: "free space", Status: syncd.StatusOK}
	free, err := freeSpace(dir)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		f.Status, f.Detail = syncd.StatusSkipped, "can't be told on this system"
	case err != nil:
		f.Status, f.Detail = syncd.StatusSkipped, err.Error()
	case free < littleSpace:
		f.Status, f.Detail = syncd.StatusWarning, fmt.Sprintf("%.1f MiB", float64(free)/(1<<20))
		f.Hint = "an event is about as large as its document: make room, or write elsewhere"
	default:
		f.Detail = fmt.Sprintf("%.1f GiB", float64(free)/(1<<30))
	}
	return f
}
