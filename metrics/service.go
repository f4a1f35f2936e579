package metrics

import (
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
)

// JobState is how a job of a service stands, in one word.
type JobState struct{ Job, State string }

// Service is the metrics of a service: those of its jobs, each with its name, and those of the process. All methods are safe for
// concurrent use.
type Service struct {
	version string
	process *prometheus.Registry
	states  func() []JobState

	mu   sync.Mutex
	jobs map[string]*Metrics
}

// NewService returns the metrics of a service of that version of syncd. states tells how its jobs stand, all that there are; it is called
// concurrently.
func NewService(version string, states func() []JobState) *Service {
	s := &Service{version: version, process: prometheus.NewRegistry(), states: states, jobs: map[string]*Metrics{}}
	s.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), jobStates(states))
	return s
}

// Job returns the metrics of a job, which outlive its runs, and end with the job.
func (s *Service) Job(name string) *Metrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.jobs[name]
	if m == nil {
		m = NewJob(s.version, name)
		s.jobs[name] = m
	}
	return m
}

// Gather implements prometheus.Gatherer. It drops the metrics of jobs that are no more.
func (s *Service) Gather() ([]*dto.MetricFamily, error) {
	all, there := prometheus.Gatherers{s.process}, map[string]bool{}
	for _, j := range s.states() {
		there[j.Job] = true
	}
	s.mu.Lock()
	for name, m := range s.jobs {
		if !there[name] {
			delete(s.jobs, name)
			continue
		}
		all = append(all, m.own)
	}
	s.mu.Unlock()
	return all.Gather()
}

// Handler serves the metrics to Prometheus.
func (s *Service) Handler(logger *slog.Logger) http.Handler {
	return promhttp.HandlerFor(s, promhttp.HandlerOpts{
		ErrorLog: scrapeLog{logger}, ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
	})
}

// jobStates shows the states of jobs.
type jobStates func() []JobState

var jobStateDesc = prometheus.NewDesc("syncd_job_state", "What a job of a service does; 1 for the state it is in, and there is no other: running, waiting, retrying, done, paused, stopped, ending, failed, invalid or removed.", []string{JobLabel, "state"}, nil)

// Describe implements prometheus.Collector.
func (jobStates) Describe(ch chan<- *prometheus.Desc) { ch <- jobStateDesc }

// Collect implements prometheus.Collector.
func (f jobStates) Collect(ch chan<- prometheus.Metric) {
	for _, j := range f() {
		ch <- prometheus.MustNewConstMetric(jobStateDesc, prometheus.GaugeValue, 1, j.Job, j.State)
	}
}
