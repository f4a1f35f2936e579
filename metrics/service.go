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

	mu   sync.Mutex
	jobs map[string]*Metrics
}

// NewService returns the metrics of a service of that version of syncd. states tells how its jobs stand.
func NewService(version string, states func() []JobState) *Service {
	s := &Service{version: version, process: prometheus.NewRegistry(), jobs: map[string]*Metrics{}}
	s.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), jobStates(states))
	return s
}

// Job returns the metrics of a job, which outlive its runs.
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

// Forget drops the metrics of a job that is no more.
func (s *Service) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.jobs, name)
}

// Gather implements prometheus.Gatherer.
func (s *Service) Gather() ([]*dto.MetricFamily, error) {
	all := prometheus.Gatherers{s.process}
	s.mu.Lock()
	for _, m := range s.jobs {
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

var jobStateDesc = prometheus.NewDesc("syncd_job_state", "What a job does: 1 for its state, by job and state.", []string{JobLabel, "state"}, nil)

// Describe implements prometheus.Collector.
func (jobStates) Describe(ch chan<- *prometheus.Desc) { ch <- jobStateDesc }

// Collect implements prometheus.Collector.
func (f jobStates) Collect(ch chan<- prometheus.Metric) {
	for _, j := range f() {
		ch <- prometheus.MustNewConstMetric(jobStateDesc, prometheus.GaugeValue, 1, j.Job, j.State)
	}
}
