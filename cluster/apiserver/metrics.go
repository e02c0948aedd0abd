package apiserver

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ciaocloud/ciao/cluster/api"
)

// metrics serves what the controller counted, in the format of Prometheus, to operators.
func (s *Server) metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), counters{s.config.UseCases})
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := operator(r.Context()); err != nil {
			writeProblem(w, api.ProblemOf(err))
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// counters collects the controller's counters when asked.
type counters struct{ useCases UseCases }

var (
	leading    = prometheus.NewDesc("ciao_controller_leading", "1 if this controller leads.", nil, nil)
	frames     = prometheus.NewDesc("ciao_controller_frames_received_total", "SSNTP frames received, by operand.", []string{"operand"}, nil)
	sent       = prometheus.NewDesc("ciao_controller_frames_sent_total", "SSNTP frames sent, by operand.", []string{"operand"}, nil)
	sendErrors = prometheus.NewDesc("ciao_controller_send_errors_total", "Frames that could not be queued.", nil, nil)
	commits    = prometheus.NewDesc("ciao_controller_commits_total", "Transactions of the reconciler.", nil, nil)
	commitBusy = prometheus.NewDesc("ciao_controller_commit_seconds_total", "Time spent in the reconciler's transactions.", nil, nil)
	retries    = prometheus.NewDesc("ciao_controller_retries_total", "Commands sent again.", nil, nil)
	orphans    = prometheus.NewDesc("ciao_controller_orphans_total", "Instances that nodes had and should not have.", nil, nil)
	waiting    = prometheus.NewDesc("ciao_controller_waiting_instances", "Instances that are not settled.", nil, nil)
)

// Describe is part of prometheus.Collector.
func (c counters) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect is part of prometheus.Collector.
func (c counters) Collect(out chan<- prometheus.Metric) {
	now := c.useCases.Counters()
	gauge := func(desc *prometheus.Desc, value float64) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value)
	}
	counter := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, labels...)
	}
	lead := 0.0
	if now.Leading {
		lead = 1
	}
	gauge(leading, lead)
	gauge(waiting, float64(now.Waiting))
	for operand, n := range now.Frames {
		counter(frames, float64(n), operand)
	}
	for operand, n := range now.Sent {
		counter(sent, float64(n), operand)
	}
	counter(sendErrors, float64(now.SendErrors))
	counter(commits, float64(now.Commits))
	counter(commitBusy, now.CommitBusy)
	counter(retries, float64(now.Retries))
	counter(orphans, float64(now.Orphans))
}
