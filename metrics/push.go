package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/syncd-io/syncd"
)

// Gateway is where metrics are pushed.
type Gateway struct {
	URL      string
	Job      string
	Instance string // "": the metrics are kept under the job alone
	Username string // "": the gateway asks for none
	Password string
	Header   http.Header
	Timeout  time.Duration
	// Transport carries the request; nil is net/http's default.
	Transport http.RoundTripper
}

// Push sends syncd's metrics to a Pushgateway, without those of the process. Metrics that are not known now, such as the time of
// the last success after a run that failed, stay there as they are. Its error holds no secret and has a hint.
func (m *Metrics) Push(ctx context.Context, g Gateway) error {
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	p := push.New(g.URL, g.Job).Gatherer(m.own).Header(g.Header).Client(&http.Client{
		Transport:     g.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // it would lose the body
	})
	if g.Instance != "" {
		p = p.Grouping("instance", g.Instance)
	}
	if g.Username != "" {
		p = p.BasicAuth(g.Username, g.Password)
	}
	err := p.AddContext(ctx)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s", g.Timeout)
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return syncd.Hint(fmt.Errorf("pushing metrics to %s: %w", g.URL, err), "see that observe.push.url is the Pushgateway's and that it can be reached from here; the run itself is not affected")
}
