package qdrant

import (
	"strings"
	"testing"

	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestConfigTakes(t *testing.T) {
	for _, text := range []string{
		``,
		`url: http://localhost:6333`,
		`{url: https://x:6334, tls: {ca_file: a.pem, cert_file: b.pem, key_file: c.pem, server_name: x}}`,
		`{url: "grpc://x", tls: {enabled: true, insecure_skip_verify: true}}`,
		`{url: "https://x", tls: {enabled: true}}`,
		`{url: "x:6334", tls: {enabled: false}}`,
		`{host: x, port: 6334}`,
		`{port: 7000}`,
		`{url: "", host: x}`,
		`{read_consistency: majority}`,
		`{read_consistency: 2}`,
		`{read_consistency: "2"}`,
		`{read_consistency: }`,
		`{api_key: abc, pool_size: 0, retry: {max_elapsed: 0}}`,
		`{on_missing_collection: fail, batch_size: 50000, concurrency: 64, timeout: 1}`,
	} {
		conf := defaults()
		if diags := spec.Decode(syncdtest.Node(t, text), &conf, "checker", "qdrant"); len(diags) > 0 {
			t.Errorf("%s:\n%v", text, diags)
		}
	}
}

// TestConfigWarnsOfTheRESTPort: as http://host:6333 it is what everybody has; where only the gRPC port can stand it is a
// mistake, though one that is mended.
func TestConfigWarnsOfTheRESTPort(t *testing.T) {
	for text, column := range map[string]int{
		`{host: x, port: 6333}`:   17,
		`{port: 6333}`:            8,
		`{url: "grpc://x:6333"}`:  7,
		`{url: "x:6333"}`:         7,
		`{url: "http://x:6333"}`:  0,
		`{url: "https://x:6333"}`: 0,
		`{url: "grpc://x:6334"}`:  0,
	} {
		c := defaults()
		diags := spec.Decode(syncdtest.Node(t, text), &c, "checker", "qdrant")
		switch {
		case column == 0 && len(diags) > 0:
			t.Errorf("%s: %v", text, diags)
		case column > 0 && (len(diags) != 1 || diags[0].Severity != spec.Warning || diags[0].Pos.Column != column ||
			!strings.Contains(diags[0].Message, "the gRPC port 6334 is used")):
			t.Errorf("%s: %v", text, diags)
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`url: "ftp://x"`:                                                    `f:1:6: error: checker.qdrant.url must begin with http://`,
		`{host: "http://x"}`:                                                `f:1:8: error: checker.qdrant.host must be a host name; write the URL into url`,
		`{url: x, host: y}`:                                                 `f:1:16: error: checker.qdrant.host and url exclude each other; remove one of them`,
		`{url: x, port: 6334}`:                                              `f:1:16: error: checker.qdrant.port has no effect beside url`,
		`{url: "http://x", tls: {enabled: true}}`:                           `f:1:34: error: checker.qdrant.tls.enabled: true contradicts url`,
		`{url: "https://x", tls: {enabled: false}}`:                         `f:1:35: error: checker.qdrant.tls.enabled: false contradicts url`,
		`{url: x, tls: {ca_file: a}}`:                                       `f:1:25: error: checker.qdrant.tls.ca_file has no effect, since TLS is off`,
		`{url: x, tls: {insecure_skip_verify: true}}`:                       `checker.qdrant.tls.insecure_skip_verify has no effect`,
		`{url: "https://x", tls: {cert_file: a}}`:                           `f:1:37: error: checker.qdrant.tls.cert_file needs key_file`,
		`{url: "https://x", tls: {key_file: a}}`:                            `f:1:36: error: checker.qdrant.tls.key_file needs cert_file`,
		`{url: "https://x", tls: {ca_file: a, insecure_skip_verify: true}}`: `so ca_file has no effect`,
		`collection: ""`:                                                    `checker.qdrant.collection must not be empty`,
		`batch_size: 0`:                                                     `checker.qdrant.batch_size must be at least 1`,
		`batch_size: 50001`:                                                 `checker.qdrant.batch_size must be at most 50000`,
		`concurrency: 65`:                                                   `checker.qdrant.concurrency must be at most 64`,
		`pool_size: -1`:                                                     `checker.qdrant.pool_size must be at least 0`,
		`port: 65536`:                                                       `checker.qdrant.port must be at most 65535`,
		`timeout: 0`:                                                        `checker.qdrant.timeout must be at least 1ms`,
		`timeout: soon`:                                                     `checker.qdrant.timeout must be a time span`,
		`read_consistency: most`:                                            `f:1:19: error: checker.qdrant.read_consistency must be majority, quorum, all or a number`,
		`read_consistency: 0`:                                               `checker.qdrant.read_consistency must be majority`,
		`read_consistency: [1]`:                                             `checker.qdrant.read_consistency must be a word or a whole number`,
		`on_missing_collection: warn`:                                       `must be one of: empty, fail`,
		`retry: {initial: 10s}`:                                             `checker.qdrant.retry.max must be at least initial, which is 10s`,
		`batchsize: 3`:                                                      `did you mean "batch_size"?`,
		`api_key: "s3cret\n"`:                                               `f:1:10: error: checker.qdrant.api_key holds characters that a request can't carry`,
		`url: "https://x?key=s3cret"`:                                       `checker.qdrant.url must not hold ? or #`,
	} {
		conf := defaults()
		diags := spec.Decode(syncdtest.Node(t, text), &conf, "checker", "qdrant")
		if len(diags) != 1 || !strings.Contains(diags.Error(), want) {
			t.Errorf("%s:\n%v\nwant %s", text, diags, want)
		}
		if strings.Contains(diags.Error(), "s3cret") {
			t.Errorf("%s: a secret shows: %v", text, diags)
		}
	}
}

func TestConfigDocs(t *testing.T) {
	conf := defaults()
	for _, of := range []any{&conf, &conf.TLS, &conf.Retry} {
		for _, f := range spec.Fields(of) {
			if !strings.HasSuffix(f.Doc, ".") {
				t.Errorf("%s: %q is not a sentence", f.Name, f.Doc)
			}
		}
	}
}
