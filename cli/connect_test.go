package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/mapping"
)

// plugin is a source, a checker or a sink that does nothing but be looked at.
type plugin struct {
	probe func(context.Context) []syncd.Finding
	close error
}

func (p plugin) Close() error { return p.close }

func (p plugin) probeAny(ctx context.Context, _ []syncd.ProbeTarget) []syncd.Finding {
	return p.probe(ctx)
}

type asSource struct{ plugin }

func (asSource) Splits(context.Context, syncd.Collection) iter.Seq2[syncd.Split, error] { return nil }

func (asSource) Read(context.Context, syncd.ReadRequest) iter.Seq2[syncd.Batch, error] { return nil }

func (asSource) Fetch(context.Context, syncd.Collection, []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return nil
}

func (p asSource) Abilities() syncd.SourceAbilities { return syncd.SourceAbilities{Probe: p.probeAny} }

type asChecker struct{ plugin }

func (asChecker) Check(context.Context, []syncd.Point, []syncd.Verdict) error { return nil }

func (p asChecker) Abilities() syncd.CheckerAbilities {
	return syncd.CheckerAbilities{Probe: p.probeAny}
}

type asSink struct{ plugin }

func (asSink) Write(context.Context, []syncd.Change) error { return nil }

func (p asSink) Abilities() syncd.SinkAbilities { return syncd.SinkAbilities{Probe: p.probeAny} }

func fine(context.Context) []syncd.Finding {
	return []syncd.Finding{{Subject: "server", Status: syncd.StatusOK, Detail: "runs"}}
}

// settings say where a test's server is.
type settings struct{}

func (*settings) Location() string { return "h:1" }

// looking is a configuration whose servers open as given.
func looking(source, checker, sink func(context.Context) (plugin, error)) *connection {
	cfg := &config.Config{Mapping: &mapping.Mapping{}}
	cfg.Source = config.Plugin{Settings: &settings{}, Plugin: syncd.NewSource("s", "", settings{},
		func(ctx context.Context, _ settings, _ syncd.Env) (syncd.Source, error) {
			p, err := source(ctx)
			return asSource{p}, err
		})}
	cfg.Checker = config.Plugin{Settings: &settings{}, Plugin: syncd.NewChecker("c", "", settings{},
		func(ctx context.Context, _ settings, _ syncd.Env) (syncd.Checker, error) {
			p, err := checker(ctx)
			return asChecker{p}, err
		})}
	cfg.Sink = config.Plugin{Settings: &settings{}, Plugin: syncd.NewSink("k", "", settings{},
		func(ctx context.Context, _ settings, _ syncd.Env) (syncd.Sink, error) {
			p, err := sink(ctx)
			return asSink{p}, err
		})}
	return &connection{config: cfg, timeout: 15 * time.Second, lateness: lateness}
}

type asStage struct{ plugin }

func (asStage) Apply(context.Context, []syncd.Change) error { return nil }

func (p asStage) Abilities() syncd.StageAbilities { return syncd.StageAbilities{Probe: p.probeAny} }

// TestStagesAreLookedAtToo: stages that have a server are checked. If vectors do not fit the sink, one check fails, whichever server answers
// first.
func TestStagesAreLookedAtToo(t *testing.T) {
	gives := func(dimensions int, after time.Duration) func(context.Context) (plugin, error) {
		return func(context.Context) (plugin, error) {
			time.Sleep(after)
			return plugin{probe: func(context.Context) []syncd.Finding {
				return []syncd.Finding{{Subject: "vectors", Status: syncd.StatusOK, Detail: "there", Dimensions: dimensions}}
			}}, nil
		}
	}
	slow := func(context.Context) (plugin, error) {
		time.Sleep(7 * time.Second)
		return plugin{probe: fine}, nil
	}
	for name, c := range map[string]struct {
		stage, sink func(context.Context) (plugin, error)
		want        string // the numbers of findings of the stage and of the sink, and what differs
	}{
		"equal":                     {gives(3, 0), gives(3, 0), "1 1"},
		"the sink does not say":     {gives(3, 0), opensFine, "1 1"},
		"others":                    {gives(3, 0), gives(4, 0), "1 2 vectors of 3 numbers, and the index takes 4"},
		"others, the stage is late": {gives(3, 5*time.Second), gives(4, 0), "2 1 vectors of 3 numbers, and the index takes 4"},
		"others, the sink is late":  {gives(3, 0), gives(4, 5*time.Second), "1 2 vectors of 3 numbers, and the index takes 4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looked := looking(opensFine, slow, c.sink) // another answer comes behind theirs
				looked.config.Stages = []config.Plugin{
					{Settings: &struct{}{}, Plugin: syncd.NewStage("without a server", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Stage, error) {
						panic("it is opened")
					})},
					{Settings: &settings{}, Plugin: syncd.NewStage("e", "", settings{}, func(ctx context.Context, _ settings, _ syncd.Env) (syncd.Stage, error) {
						p, err := c.stage(ctx)
						return asStage{p}, err
					})},
				}
				told := map[syncd.Kind][]syncd.Finding{}
				looked.tell = func(reports []report) {
					for _, r := range reports {
						told[r.kind] = r.findings
					}
				}
				if _, err := looked.look(t.Context()); err != nil {
					t.Fatal(err)
				}
				if n := len(told[syncd.KindChecker]); n != 1 {
					t.Errorf("of the checker %d things were found", n)
				}
				got := fmt.Sprint(len(told[syncd.KindStage]), " ", len(told[syncd.KindSink]))
				for _, f := range append(told[syncd.KindStage], told[syncd.KindSink]...) {
					if f.Status == syncd.StatusFailed {
						got += " " + strings.TrimPrefix(f.Detail, "the model gives ")
					}
				}
				if got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				looked.config.Run.DryRun = true
				reports, err := looked.look(t.Context())
				if err != nil || reports[2].kind != syncd.KindStage || reports[2].findings[0].Status != syncd.StatusSkipped {
					t.Errorf("%+v, %v", reports, err)
				}
			})
		})
	}
}

func opensFine(context.Context) (plugin, error) { return plugin{probe: fine}, nil }

func TestServersAreLookedAtSideBySide(t *testing.T) {
	var all sync.WaitGroup
	all.Add(3)
	meet := func(context.Context) (plugin, error) {
		all.Done()
		all.Wait()
		return plugin{probe: fine}, nil
	}
	reports, err := looking(meet, meet, meet).look(t.Context())
	if err != nil || len(reports) != 3 {
		t.Fatal(reports, err)
	}
	for i, kind := range []syncd.Kind{syncd.KindSource, syncd.KindChecker, syncd.KindSink} {
		if diff := cmp.Diff(fine(t.Context()), reports[i].findings); diff != "" || reports[i].kind != kind {
			t.Errorf("%s: %s", reports[i].kind, diff)
		}
	}
}

// TestServersThatTakeTooLong has each of the three be late in another way: none holds up the others for longer than its time.
func TestServersThatTakeTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		c := looking(
			func(ctx context.Context) (plugin, error) { // as a client library that keeps to its context
				<-ctx.Done()
				return plugin{}, ctx.Err()
			},
			func(ctx context.Context) (plugin, error) {
				return plugin{probe: func(ctx context.Context) []syncd.Finding {
					<-ctx.Done()
					return fine(ctx)
				}}, nil
			},
			func(ctx context.Context) (plugin, error) { // as one that does not
				<-release
				return plugin{}, errors.New("too late to matter")
			},
		)
		began := time.Now()
		reports, err := c.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != 15*time.Second+lateness {
			t.Errorf("it took %s", d)
		}
		for i, want := range []string{"s at h:1 did not answer within 15s", "not everything was answered within 15s", "not everything was answered within 15s"} {
			f := reports[i].findings[len(reports[i].findings)-1]
			if f.Status != syncd.StatusFailed || f.Detail != want || !strings.Contains(f.Hint, "--connect-timeout") {
				t.Errorf("%+v", f)
			}
		}
	})
}

func TestInterruptWhileLooking(t *testing.T) {
	for sig, code := range map[os.Signal]int{os.Interrupt: exitInterrupted, syscall.SIGTERM: exitTerminated} {
		synctest.Test(t, func(t *testing.T) {
			signals := make(chan os.Signal, 1)
			release := make(chan struct{})
			defer close(release)
			c := looking(opensFine, opensFine, func(context.Context) (plugin, error) {
				signals <- sig
				<-release
				return plugin{}, errors.New("too late to matter")
			})
			c.signals = signals
			began := time.Now()
			_, err := c.look(t.Context())
			coded, ok := errors.AsType[*codeError](err)
			if !ok || coded.code != code || time.Since(began) != 0 {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
		})
	}
}

func TestPrintReports(t *testing.T) {
	var out bytes.Buffer
	table := serverTable{w: &out}
	table.print([]report{
		{syncd.KindSource, "MongoDB at h:1", []syncd.Finding{
			{Subject: "server", Status: syncd.StatusOK, Detail: "MongoDB 8"},
			{Subject: "collection naïve", Status: syncd.StatusWarning, Detail: "two\nlines", Hint: "do\nthis"},
		}},
		{syncd.KindSink, "Kafka at h:2", []syncd.Finding{
			{Subject: "connection", Status: syncd.StatusFailed, Detail: "refused", Hint: "look"},
			{Subject: "rest", Status: syncd.StatusSkipped, Detail: "not asked"},
			{Subject: "forgotten"},
		}},
	})
	total := table.total
	fmt.Fprintln(&out, total)
	want := `source: MongoDB at h:1
  ok       server            MongoDB 8
  warning  collection naïve  two\nlines
                             hint: do\nthis

sink: Kafka at h:2
  FAILED   connection        refused
                             hint: look
  skipped  rest              not asked
  FAILED   forgotten         |

5 checks: 1 ok, 1 warning, 2 failed, 1 skipped
`
	if diff := cmp.Diff(strings.ReplaceAll(want, "|", ""), out.String()); diff != "" {
		t.Errorf("table (-want +got)\n%s", diff)
	}
	if (total != counts{ok: 1, warnings: 1, failed: 2, skipped: 1}) {
		t.Errorf("%+v", total)
	}
}

// TestClosingIsLookedAtToo checks that a server that can't be left in good order is said to be so.
func TestClosingIsLookedAtToo(t *testing.T) {
	c := looking(opensFine, opensFine, func(context.Context) (plugin, error) {
		return plugin{probe: fine, close: io.ErrClosedPipe}, nil
	})
	reports, err := c.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := reports[2].findings
	if len(f) != 2 || f[1].Status != syncd.StatusWarning || f[1].Detail != io.ErrClosedPipe.Error() {
		t.Errorf("%+v", f)
	}
}

// TestAnswersAreToldWhenTheyCome: those of the first second together, the failed behind the others, each later one at once, and who is
// waited for is named.
func TestAnswersAreToldWhenTheyCome(t *testing.T) {
	refused := errors.New("refused")
	answers := func(after time.Duration, err error) func(context.Context) (plugin, error) {
		return func(ctx context.Context) (plugin, error) {
			select {
			case <-time.After(after):
				return plugin{probe: fine}, err
			case <-ctx.Done():
				return plugin{}, ctx.Err()
			}
		}
	}
	for name, c := range map[string]struct {
		source, checker, sink func(context.Context) (plugin, error)
		full                  bool
		want                  []string
	}{
		"all at once":                  {opensFine, opensFine, opensFine, false, []string{"0s source checker sink"}},
		"within a second":              {answers(500*time.Millisecond, nil), opensFine, answers(900*time.Millisecond, nil), false, []string{"900ms source checker sink"}},
		"the failed behind the others": {answers(0, refused), opensFine, answers(100*time.Millisecond, nil), false, []string{"100ms checker sink source"}},
		"one that is silent":           {answers(time.Hour, nil), answers(0, refused), opensFine, false, []string{"1s sink checker", "1s waiting for s at h:1", "15s source"}},
		"two that are late": {answers(5*time.Second, nil), opensFine, answers(3*time.Second, refused), false, []string{
			"1s checker", "1s waiting for s at h:1, k at h:1", "3s sink", "5s source",
		}},
		"all are late": {answers(5*time.Second, nil), answers(5*time.Second+1, nil), answers(5*time.Second+2, nil), false, []string{
			"1s waiting for s at h:1, c at h:1, k at h:1", "5s source", "5.000000001s checker", "5.000000002s sink",
		}},
		"one is not asked": {answers(time.Hour, nil), opensFine, opensFine, true, []string{"1s checker sink", "1s waiting for s at h:1", "15s source"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looked := looking(c.source, c.checker, c.sink)
				if c.full {
					looked.config.Run.Mode = config.Full
				}
				began := time.Now()
				var got []string
				looked.tell = func(reports []report) {
					line := time.Since(began).String()
					for _, r := range reports {
						line += " " + string(r.kind)
					}
					got = append(got, line)
				}
				looked.waiting = func(servers []string) {
					got = append(got, time.Since(began).String()+" waiting for "+strings.Join(servers, ", "))
				}
				reports, err := looked.look(t.Context())
				if err != nil || len(reports) != 3 || reports[0].kind != syncd.KindSource || reports[2].kind != syncd.KindSink {
					t.Fatal(reports, err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}
