package qdrant

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func TestConfig(t *testing.T) {
	for text, want := range map[string]string{
		"{url: 'ftp://x'}": "must begin with http://", "{url: 'http://x', tls: {ca_file: a}}": "has no effect, since TLS is off",
		"{url: 'https://x', tls: {cert_file: a}}": "needs key_file", "{payload: {title: content}}": "one payload key",
		"{updated_at: title}": "one payload key", "{fields: [mongo_id]}": "is the payload key of id", "{retry: {initial: 1h}}": "at least initial",
		"{url: 'https://x', tls: {insecure_skip_verify: true, ca_file: a}}": "so ca_file has no effect", "{api_key: \"a\\n\"}": "characters that a request can't carry",
		"{url: 'https://x', tls: {enabled: false}}": "contradicts url",
		"{collection: a, alias: a}":                 "alias is the collection itself", "{alias: \"a\\n\"}": "alias",
		"{create: {distance: far}}": "distance", "{ordering: none}": "ordering", "{payload: {id: ''}}": "id",
	} {
		conf := defaults()
		if diags := spec.Decode(syncdtest.Node(t, text), &conf, "sink", "qdrant"); !strings.Contains(fmt.Sprint(diags), want) {
			t.Errorf("%s: %v, want %q", text, diags, want)
		}
	}
	conf := defaults()
	if diags := spec.Decode(syncdtest.Node(t, "{url: 'https://x', fields: [status]}"), &conf); len(diags) > 0 {
		t.Error(diags)
	}
}
