package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/internal/files"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/metrics"
	"github.com/syncd-io/syncd/server"
	"github.com/syncd-io/syncd/server/api"
	"github.com/syncd-io/syncd/server/connect"
	"github.com/syncd-io/syncd/server/page"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/store"
	"github.com/syncd-io/syncd/tally"
)

// serviceAddress is where Kafka Connect's REST API is found as well.
const serviceAddress = "127.0.0.1:8083"

// pollEvery is the pause between two looks at the files of jobs.
const pollEvery = 2 * time.Second

func (a *app) serveCommand() *cobra.Command {
	var file, logFormat, from string
	c := &cobra.Command{
		Use:   "serve [-c FILE] DIR|FILE…",
		Short: "Run many jobs: those of the YAML files of folders",
		Long: `Run the jobs that YAML files describe, each by its own schedule: once, by schedule.every or schedule.cron, or following with run.follow.
Files that change are read again, and take effect between two runs; one that can't be used leaves its job as it was. The service is
watched and driven over HTTP: by Kafka Connect's REST API, by syncd's own, and in a browser. Its own settings, in the section server,
are in a file of their own, -c, and in variables such as SYNCD_SERVER__LISTEN.`,
		Example: "  syncd serve jobs/\n  syncd serve -c service.yaml jobs/\n  syncd serve configs/prod.yaml configs/audit.yaml --listen 127.0.0.1:8084",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError("which jobs? give their folder, or their files")
			}
			for _, path := range args {
				if err := thereAre(path); err != nil {
					return &codeError{exitUsage, err}
				}
			}
			level, err := logLevel(from)
			if err != nil {
				return err
			}
			whole, err := a.loggerFrom(logFormat, math.MinInt)
			if err != nil {
				return err
			}
			levels := connect.NewLevels(level)
			logger := slog.New(levels.Handler(whole.Handler()))
			in := config.Input{Path: file, Environ: a.environ, Registry: a.registry}
			for flag, field := range map[string]string{"listen": "listen", "writable": "writable", "state-dir": "state_dir", "stop-timeout": "stop_timeout"} {
				if f := cmd.Flags().Lookup(flag); f.Changed {
					in.Overrides = append(in.Overrides, config.Override{Flag: "--" + flag, Path: []string{"server", field}, Value: f.Value.String()})
				}
			}
			a.floorHeap()
			settings, diags := config.LoadServer(in)
			if a.printDiagnostics(diags) {
				return unusable("the settings of the service", diags)
			}
			return a.serve(cmd.Context(), settings, levels, logger, args)
		},
	}
	configFlag(c, &file)
	f := c.Flags()
	f.Lookup("config").Usage = "the service's own settings, in a section server"
	f.String("listen", serviceAddress, "address and port to listen on (server.listen)")
	f.Bool("writable", false, "let clients add, change and delete the files of jobs (server.writable)")
	f.String("state-dir", "", "the folder for what people want of jobs (server.state_dir)")
	f.String("stop-timeout", "30s", "how long a run may take to end when it is to (server.stop_timeout)")
	f.StringVar(&logFormat, "log-format", "text", "how the log is written: text or json")
	f.StringVar(&from, "log-level", "info", "the least important line of the log: debug, info, warn or error")
	return c
}

// thereAre says that a file or folder of jobs can't be read. Where it goes later, the service goes on.
func thereAre(path string) error {
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return files.ReadError("the jobs", path, err)
	}
	return nil
}

// access is who may use the service.
func access(s *config.Server, logger *slog.Logger) *server.Access {
	users := make([]server.User, 0, len(s.Users))
	for name, u := range s.Users {
		users = append(users, server.User{
			Name: name, Operate: u.Role == config.RoleOperate, PasswordHash: []byte(u.PasswordHash.Reveal()), Token: u.Token.Reveal(), Certificate: u.Certificate,
		})
	}
	return server.NewAccess(users, logger)
}

// serve runs the jobs of the paths until a signal.
func (a *app) serve(ctx context.Context, s *config.Server, levels *connect.Levels, logger *slog.Logger, paths []string) (err error) {
	if s.StateDir, err = job.StateDir(s.StateDir, a.env); err != nil {
		return err
	}
	var encrypted *tls.Config
	if s.Encrypted() {
		if encrypted, err = (server.Certificate{CertFile: s.TLS.CertFile, KeyFile: s.TLS.KeyFile, ClientCAFile: s.TLS.ClientCAFile}).Config(logger); err != nil {
			return err
		}
	}
	hosted := &hosted{app: a}
	if perSecond := s.Limits.EventsPerSecond; perSecond > 0 {
		hosted.events = rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond)))
	}
	h, err := host.New(host.Options{
		Paths: paths, StateDir: s.StateDir, StopTimeout: s.StopTimeout, Memory: s.Limits.Memory, Poll: pollEvery, Logger: logger, Run: hosted.run,
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
	own := a.ownAPI(h, s, logger)
	pages := page.New(page.Options{Host: h, API: own, RunsDir: a.runsDir(s), Resolve: a.resolveFile, Job: a.besides, By: who, Version: programVersion(), Logger: logger})
	defer pages.Watch()()
	listening, err := server.Start(ctx, server.Options{
		Listen: s.Listen, Purpose: "the service", Setting: "--listen or server.listen", Pprof: s.Pprof, Access: access(s, logger), TLS: encrypted, Logger: logger, Metrics: hosted.metrics.Handler(logger),
		Healthy: func() error { return nil }, // a job that fails is no reason to end those of others
		Ready:   func() error { return notReady(h) }, Routes: slices.Concat(own.Routes(), pages.Routes()), Root: a.connectAPI(h, s, levels, logger),
	})
	if err != nil {
		return err
	}
	defer listening.Close()
	defer own.Close()
	hosted.address = reachable(listening.Address())
	scheme := "http://"
	if encrypted != nil {
		scheme = "https://"
	}
	logger.Info("serving", "url", scheme+listening.Address()+page.Prefix)
	stop, running := interrupts(ctx, logger)
	defer stop.end()
	defer a.reloads(h)()
	return h.Serve(running, stop.drain)
}

// ownAPI is syncd's own API.
func (a *app) ownAPI(h *host.Host, s *config.Server, logger *slog.Logger) *api.API {
	return api.New(api.Options{
		Host: h, RunsDir: a.runsDir(s), Version: programVersion(), Logger: logger,
		By: who, Resolve: a.resolveFile,
		Job: a.besides,
	})
}

// besides is a job that looks at something beside its runs.
func (a *app) besides(c *config.Config, logger *slog.Logger) *job.Job {
	return &job.Job{Config: c, Logger: logger, Getenv: a.env}
}

// resolveFile tells what a configuration amounts to.
func (a *app) resolveFile(path string) (*config.Effective, spec.Diagnostics) {
	return config.Resolve(config.Input{Path: path, Environ: a.environ, Registry: a.registry})
}

// runsDir finds the folder of a job's record of runs; a job without a configuration that can be used has the service's.
func (a *app) runsDir(s *config.Server) func(c *config.Config) string {
	return func(c *config.Config) string {
		if c == nil {
			return s.StateDir
		}
		dir, _ := job.StateDir(c.Run.StateDir, a.env) // s.StateDir was found the same way
		return cmp.Or(dir, s.StateDir)
	}
}

// connectAPI is Kafka Connect's REST API.
func (a *app) connectAPI(h *host.Host, s *config.Server, levels *connect.Levels, logger *slog.Logger) http.Handler {
	return connect.New(connect.Options{
		Host: h, Registry: a.registry, Environ: a.environ, StateDir: a.runsDir(s), Levels: levels, Writable: s.Writable,
		Version: programVersion(), Page: page.Prefix, Logger: logger, By: who,
		CanOperate: func(r *http.Request) bool { return server.CanOperate(r.Context()) },
	})
}

// who asks, for the log.
func who(r *http.Request) string { return cmp.Or(server.Who(r.Context()), r.RemoteAddr) }

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
	address string        // of the service, for others in a cluster
	events  *rate.Limiter // of all jobs together; nil is no limit
}

// reachable is the address of a service as others may call it: one that listens everywhere is found by its host's name.
func reachable(listens string) string {
	host, port, err := net.SplitHostPort(listens)
	if ip := net.ParseIP(host); err != nil || host != "" && (ip == nil || !ip.IsUnspecified()) {
		return listens
	}
	return net.JoinHostPort(store.Host(), port)
}

// working says in the log that the process takes part in a run that several share.
func working(logger *slog.Logger, runID, leader string) {
	logger.Info("working on a run that several processes share", "run", runID, "leader", leader)
}

// tookOver says in the log that this process leads a run that another one has led.
func tookOver(logger *slog.Logger, d job.Decision) {
	if d.From != "" {
		logger.Info("took over the run", "run", d.RunID, "from", d.From, "handled", d.Handled)
	}
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
		Config: cfg, Logger: logger, Getenv: s.app.env, Drain: r.Drain, Revision: r.Revision, Events: s.events,
		Env: ob.env, Address: s.address,
	}
	told := job.Observer{
		RunID: func(run string) { id.Store(&run) },
		State: func(d job.Decision) { tookOver(logger, d) },
	}
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
		Working: func(o *engine.Options, leader string) {
			ob.intoWork(o)
			working(logger, o.RunID, leader)
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
