package kafka

import (
	"context"
	"fmt"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/syncd-io/syncd"
)

var (
	_ syncd.Locator       = (*Config)(nil)
	_ syncd.Router        = (*Config)(nil)
	_ syncd.PlaceFolder   = (*Config)(nil)
	_ syncd.Deriver       = (*Config)(nil)
	_ syncd.Previewer     = (*Config)(nil)
	_ syncd.TargetChecker = (*Config)(nil)
)

// Location is the brokers to ask first.
func (c *Config) Location() string { return c.BootstrapServers }

// probe is the ability Probe. It looks at the brokers and at the topic of each target. A topic that is missing is not created: the brokers are asked
// whether they would.
func (s *Sink) probe(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	brokers, err := s.probeBrokers(ctx)
	findings := []syncd.Finding{brokers, s.probeConnection()}
	if err != nil {
		return findings
	}
	p := &topicsProbe{sink: s}
	p.route(targets)
	p.describe(ctx)
	p.permissions(ctx)
	p.limits(ctx)
	p.tryCreating(ctx)
	return append(append(findings, p.findings(ctx)...), p.permission(ctx), p.largest(ctx))
}

func (s *Sink) probeBrokers(ctx context.Context) (syncd.Finding, error) {
	f := syncd.Finding{Subject: "brokers", Status: syncd.StatusOK}
	var md *ck.Metadata
	err := s.ask(ctx, s.config.ConnectTimeout, func(ctx context.Context) (err error) {
		md, err = s.metadata(ctx, nil, false)
		return err
	})
	if err != nil {
		return failedFinding(ctx, f, err), err
	}
	f.Detail = count(len(md.Brokers), "broker", "brokers")
	return f, nil
}

// probeConnection judges how safe the connection is. It is what the configuration says, so there is nobody to ask.
func (s *Sink) probeConnection() syncd.Finding {
	f := syncd.Finding{Subject: "connection", Status: syncd.StatusOK}
	tls, sasl := s.config.Security.TLS, s.config.Security.SASL
	who := "without a login"
	switch {
	case sasl.Username != "":
		who = fmt.Sprintf("logged in by %s as %q", sasl.Mechanism, sasl.Username)
	case sasl.Mechanism != "":
		who = "logged in by " + sasl.Mechanism
	}
	switch {
	case tls.Enabled && tls.InsecureSkipVerify:
		f.Status = syncd.StatusWarning
		f.Detail = "TLS, but any certificate of any host is trusted, " + who
		f.Hint = "set sink.kafka.security.tls.ca_file to the certificates' authority in place of insecure_skip_verify"
	case tls.Enabled:
		f.Detail = "TLS, " + who
	case sasl.Mechanism == "PLAIN":
		f.Status = syncd.StatusWarning
		f.Detail = "without TLS, " + who + ": the password can be read on the network"
		f.Hint = "set sink.kafka.security.tls.enabled: true, at a port of the brokers that speaks TLS"
	default:
		f.Detail = "without TLS, " + who
	}
	return f
}

// failedFinding completes a finding with an error.
func failedFinding(ctx context.Context, f syncd.Finding, err error) syncd.Finding {
	f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
	if ctx.Err() != nil {
		f.Detail = "no answer in time"
	}
	return f
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
