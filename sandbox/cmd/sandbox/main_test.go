package main

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/change"
)

// TestUpSaysHowItIsReached: with other ports than the usual ones the commands are of no use without them.
func TestUpSaysHowItIsReached(t *testing.T) {
	cfg := sandbox.Config{MongoAddr: "127.0.0.1:0", QdrantAddr: "127.0.0.1:0", KafkaAddr: "127.0.0.1:0", EmbedAddr: "127.0.0.1:0", Streams: true}
	s, err := sandbox.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	printUp(&out, s, cfg, "bin/syncd", "c.yaml")
	for _, want := range []string{
		"export MONGODB_URI='" + s.Mongo.URI() + "'", "QDRANT_URL='http://" + s.Qdrant.Addr() + "'", "KAFKA_BOOTSTRAP_SERVERS='" + s.Kafka.Addr() + "'",
		"EMBEDDING_URL='" + s.Embed.URL() + "'",
		"bin/syncd run -c c.yaml", "change workItem 3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	out.Reset()
	printUp(&out, s, sandbox.Config{MongoAddr: change.MongoAddr, QdrantAddr: change.QdrantAddr, KafkaAddr: change.KafkaAddr, EmbedAddr: change.EmbedAddr}, "bin/syncd", "c.yaml")
	if strings.Contains(out.String(), "export") {
		t.Errorf("the usual ports need no variables:\n%s", out.String())
	}
}

func TestATakenPortHasAHint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, flag := range []string{"-mongo", "-qdrant", "-kafka", "-embed"} {
		args := []string{"up", "-mongo", "127.0.0.1:0", "-qdrant", "127.0.0.1:0", "-kafka", "127.0.0.1:0", "-embed", "127.0.0.1:0", flag, l.Addr().String()}
		err := run(t.Context(), args)
		if err == nil || !strings.Contains(err.Error(), "sandbox up -mongo 127.0.0.1:0") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestWrongCommandsAreExplained(t *testing.T) {
	for want, args := range map[string][]string{
		"sandbox --help lists":       nil,
		"unknown command \"down\"":   {"down"},
		"which collection?":          {"add"},
		"is not a number":            {"change", "workItem", "many"},
		"there are: page, workItem,": {"delete", "works"},
		"is the sandbox up?":         {"change", "-mongo", "mongodb://127.0.0.1:1", "workItem"},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
