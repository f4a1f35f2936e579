package cli

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/server"
	"github.com/syncd-io/syncd/server/page"
	"github.com/syncd-io/syncd/tally"
)

// serviceAddress is where Kafka Connect's REST API is found as well.
const serviceAddress = "127.0.0.1:8083"

// pollEvery is the pause between two looks at the files of jobs.
const pollEvery = 2 * time.Second

func (a *app) serveCommand() *cobra.Command {
	var s service
	c := &cobra.Command{
		Use:   "serve DIR|FILE…",
		Short: "Run many jobs: those of the YAML files of folders",
		Long: `Run the jobs that YAML files describe, each by its own schedule: once, by schedule.every or schedule.cron, or following with run.follow.
Files that change are read again, and take effect between two runs; one that can't be used leaves its job as it was. The service is
watched and driven over HTTP: by Kafka Connect's REST API, by syncd's own, and in a browser.`,
		Example: "  syncd serve jobs/\n  syncd serve configs/prod.yaml configs/audit.yaml --listen 127.0.0.1:8083",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("which jobs? give their folder, or their files")
			}
			return a.serve(cmd.Context(), s, args)
		},
	}
	f := c.Flags()
	f.StringVar(&s.listen, "listen", serviceAddress, "address and port to listen on")
	f.StringVar(&s.stateDir, "state-dir", "", "the folder for what is wanted of jobs; not set, the default of run.state_dir")
	f.BoolVar(&s.writable, "writable", false, "let clients add, change and delete the files of jobs")
	f.DurationVar(&s.stopTimeout, "stop-timeout", 30*time.Second, "how long a run may take to end when it is to")
	f.StringVar(&s.logFormat, "log-format", "text", "how the log is written: text or json")
	f.StringVar(&s.logLevel, "log-level", "info", "the least important line of the log: debug, info, warn or error")
	return c
}

// service is what a service is told.
type service struct {
	listen, stateDir, logFormat, logLevel string
	writable                              bool
	stopTimeout                           time.Duration
}

// serve runs the jobs of the paths until a signal.
func (a *app) serve(ctx context.Context, s service, paths []string) (err error) {
	logger, err := a.logger(s.logFormat, s.logLevel)
	if err != nil {
		return err
	}
	if s.stateDir, err = job.StateDir(s.stateDir, a.env); err != nil {
		return err
	}
	hosted := &hosted{app: a}
	h, err := host.New(host.Options{
		Paths: paths, StateDir: s.stateDir, StopTimeout: s.stopTimeout, Poll: pollEvery, Logger: logger, Run: hosted.run,
		Load: func(path string) config.Result {
			return config.Check(config.Input{Path: path, Environ: a.environ, Registry: a.registry})
		},
		RunsDir: a.runsDir(s),
	})
	if err != nil {
		return err
	}
	hosted.metrics = metrics.NewService(programVersion(), func() (states []metrics.JobState) {
		for _, j := range h.Jobs() {
			states = append(states, metrics.JobState{Job: j.Name, State: string(j.State)})
		}
		return states
	})
	pages := page.New(page.Options{Host: h, RunsDir: a.runsDir(s), Version: programVersion(), Logger: logger})
	defer pages.Watch()()
	listening, err := server.Start(ctx, server.Options{
		Listen: s.listen, Logger: logger, Metrics: hosted.metrics.Handler(logger),
		Healthy: func() error { return nil }, // a job that fails is no reason to end those of others
		Ready:   func() error { return notReady(h) }, Routes: pages.Routes(), Root: a.root8083(h, s, logger),
	})
	if err != nil {
		return err
	}
	defer listening.Close()
	logger.Info("serving", "url", "http://"+listening.Address()+page.Prefix)
	stop, running := interrupts(ctx, logger)
	defer stop.end()
	defer a.reloads(h)()
	return h.Serve(running, stop.drain)
}

// runsDir finds the folder of a job's record of runs; a job without a configuration that can be used has the service's.
func (a *app) runsDir(s service) func(c *config.Config) string {
	return func(c *config.Config) string {
		if c == nil {
			return s.stateDir
		}
		dir, _ := job.StateDir(c.Run.StateDir, a.env) // s.stateDir was found the same way
		return cmp.Or(dir, s.stateDir)
	}
}

// root8083 is Kafka Connect's REST API.
func (a *app) root8083(*host.Host, service, *slog.Logger) http.Handler { return http.NotFoundHandler() }

// notReady says why the service is not ready to be asked.
func notReady(h *host.Host) error {
	if !h.Ready() {
		return errors.New("the files of the jobs are being read")
	}
	return nil
}

// reloads has the files looked at when SIGHUP comes.
func (a *app) reloads(h *host.Host) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-signals:
				h.Reload()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		watch.Wait()
	}
}

// hosted runs the jobs of a service.
type hosted struct {
	app     *app
	metrics *metrics.Service
}

// run is one run of a job, or its backfill and following.
func (s *hosted) run(ctx context.Context, r host.Run) (res job.Result, err error) {
	cfg := r.Config
	var id atomic.Pointer[string]
	logger := slog.New(runHandler{r.Logger.Handler(), &id})
	ob, err := s.app.observeJob(ctx, cfg, logger, s.metrics.Job(cfg.Name))
	if err != nil {
		return res, err
	}
	defer ob.close()
	inside := ob.begin(ctx, r.Monitor, r.Plan != nil)
	running := true // a run: what follows it is none
	defer func() {
		if running || err != nil {
			ob.ended(ctx, res.Report, err)
		}
	}()
	j := &job.Job{
		Config: cfg, Logger: logger, Getenv: s.app.env, Drain: r.Drain, Revision: r.Revision,
		Env: ob.env,
	}
	told := narrated(job.Observer{}, logger)
	told.RunID = func(run string) { id.Store(&run) }
	res, err = j.Backfill(inside, job.Request{
		Plan: r.Plan, Fresh: r.Fresh, Monitor: r.Monitor, Again: r.Again, Observer: told,
		Following: job.Following{
			Began: func(streams []syncd.Stream) {
				logger.Info("following changes", "streams", len(streams))
				if running { // an earlier process has done the run
					ob.ended(ctx, job.Report{}, nil)
					running = false
				}
				ob.follows(r.Monitor, cfg.Run.StallAfter+2*cfg.Stream.Debounce)
			},
			Backfill: func(res job.Result, err error) {
				narrateEnd(logger, res.Report, err)
				ob.ended(ctx, res.Report, err)
				running = false
			},
			Reconciling: func(why job.Reconcile) {
				reconciling(logger, why)
				ob.reconciles(why.Cause)
				ob.begin(ctx, r.Monitor, false)
				running = true
			},
		},
		Watch: func(o *job.Options) func() {
			ob.into(o)
			return func() {}
		},
	})
	if running {
		narrateEnd(logger, res.Report, err)
	}
	if err != nil && job.OutcomeOf(err) != tally.Interrupted {
		logger.Warn("the job ended with an error", "error", err.Error(), "hint", syncd.HintOf(err), "outcome", string(job.OutcomeOf(err)))
	}
	return res, err
}
