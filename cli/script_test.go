package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli"
	filesource "github.com/syncd-io/syncd/connectors/file"
	filesink "github.com/syncd-io/syncd/sinks/file"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestMain makes the scripts' command syncd of this test binary.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"syncd": func() { os.Exit(cli.Main(filesource.Plugin(), filesink.Plugin(), listChecker(), pointsChecker())) },
	})
}

// update rewrites what the scripts compare with: go test ./cli -run TestScripts -update
var update = flag.Bool("update", false, "rewrite the files that scripts compare with")

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=10") // by default the race detector has each program wait for a second at its end
			return nil
		},
	})
}

// listConfig configures a checker whose index is a file of point ids, one a line.
type listConfig struct {
	Path   string `yaml:"path" rule:"required" env:"QDRANT_URL" doc:"The file."`
	Broken bool   `yaml:"broken" doc:"Whether opening fails for another reason than an outage."`
}

func listChecker() syncd.Plugin {
	return syncd.NewChecker("list", "Checks against a file of point ids.", listConfig{},
		func(_ context.Context, c listConfig, _ syncd.Env) (syncd.Checker, error) {
			if c.Broken {
				return nil, syncd.Hint(errors.New("opening the list: wrong key"), "check checker.list.key")
			}
			f, err := os.Open(c.Path)
			if err != nil {
				return nil, fmt.Errorf("%s: no list: %w", c.Path, syncd.ErrUnavailable)
			}
			defer f.Close()
			l := list{}
			for s := bufio.NewScanner(f); s.Scan(); {
				id, err := uuid.Parse(s.Text())
				if err != nil {
					return nil, fmt.Errorf("%s: what is there is no list: %w", c.Path, errors.Join(syncd.ErrForeign, syncd.ErrUnavailable))
				}
				l[id] = true
			}
			return l, nil
		}).WithLabel("The list")
}

// pointsChecker has an index that can do all that a checker can: a file with the seed and the payload of each point.
func pointsChecker() syncd.Plugin {
	return syncd.NewChecker("points", "Checks against a file of points.", listConfig{},
		func(_ context.Context, c listConfig, _ syncd.Env) (syncd.Checker, error) {
			f, err := os.Open(c.Path)
			if err != nil {
				return nil, fmt.Errorf("%s: no points: %w", c.Path, syncd.ErrUnavailable)
			}
			defer f.Close()
			index := syncdtest.NewMemoryChecker()
			for s := bufio.NewScanner(f); s.Scan(); {
				var p struct {
					Seed    string
					Payload map[string]any
				}
				if err := json.Unmarshal(s.Bytes(), &p); err != nil {
					return nil, err
				}
				index.Put(uuid.NewSHA1(uuid.NameSpaceURL, []byte(p.Seed)), p.Payload)
			}
			return index, nil
		}).WithLabel("The index")
}

type list map[uuid.UUID]bool

func (l list) Check(_ context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	for i, p := range points {
		verdicts[i] = syncd.Missing
		if l[p.ID] {
			verdicts[i] = syncd.Present
		}
	}
	return nil
}

func (l list) Abilities() syncd.CheckerAbilities { return syncd.CheckerAbilities{Inspect: l.Inspect} }

func (l list) Inspect(context.Context) (syncd.Index, error) {
	return syncd.Index{Exists: true, Points: int64(len(l))}, nil
}

func (l list) Close() error { return nil }
