package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/files"
	"github.com/syncd-io/syncd/internal/wholefile"
)

// Write writes the report to a file, which others see only whole. A new file is its owner's alone, since ids of documents
// are in it; one that was there keeps its permissions.
func (r *Report) Write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if err := wholefile.Write(path, append(b, '\n'), true); err != nil {
		return files.WriteError("the report", path, err)
	}
	return nil
}

// Place makes a path to write a report to of one that may be a folder, where each run has a file of its own. A path that ends with a
// separator is a folder, which is made if the one that it is in is there.
func Place(path string, began time.Time) (string, error) {
	if folder := filepath.Clean(path); folder != path && os.IsPathSeparator(path[len(path)-1]) {
		if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("making a folder for reports: %w", err)
		}
	} else if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return path, nil //nolint:nilerr // a file that is to be made
	}
	return filepath.Join(path, began.UTC().Format(runPrefix+"20060102T150405.000Z.json")), nil
}

// runPrefix is what the names of reports in a folder begin with.
const runPrefix = "run-"

// Read reads reports, and returns them by the time at which their runs began. A folder stands for the reports in it; other JSON that is
// there is passed over.
func Read(paths ...string) ([]*Report, error) {
	var out []*Report
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.IsDir() {
			some, err := readFolder(path)
			if err != nil {
				return nil, err
			}
			out = append(out, some...)
			continue
		}
		r, err := readFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b *Report) int { return a.Started.Compare(b.Started) })
	return out, nil
}

func readFile(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, files.ReadError("the report", path, err)
	}
	r, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return r, nil
}

func readFolder(path string) ([]*Report, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, files.ReadError("the reports in", path, err)
	}
	var out []*Report
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".json" {
			continue
		}
		r, err := readFile(filepath.Join(path, e.Name()))
		switch {
		case err == nil:
			out = append(out, r)
		case errors.Is(err, errNoReport) && !strings.HasPrefix(e.Name(), runPrefix):
		default:
			return nil, err
		}
	}
	if len(out) == 0 {
		return nil, syncd.Hint(fmt.Errorf("reading reports: there is none in the folder %s", path), "syncd run --report %s writes one there", path)
	}
	return out, nil
}

var errNoReport = errors.New("it is not the report of a run")

func parse(b []byte) (*Report, error) {
	var head struct {
		Format *int `json:"syncd_report"`
	}
	if err := json.Unmarshal(b, &head); err != nil || head.Format == nil {
		return nil, syncd.Hint(errNoReport, "a report is what syncd run --report FILE writes")
	}
	if *head.Format < 1 || *head.Format > Format {
		return nil, syncd.Hint(fmt.Errorf("the report has format %d, and this program reads formats up to %d", *head.Format, Format),
			"read it with a version of syncd as new as the one that wrote it")
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			err = fmt.Errorf("%s can't be a %s", wrong.Field, wrong.Value) // the decoder names types of the program
		}
		return nil, syncd.Hint(fmt.Errorf("the report is damaged: %w", err), "make it anew, or leave it out")
	}
	return r, nil
}
