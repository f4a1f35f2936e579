// Command sandbox runs the servers that syncd talks to, on this machine and in one process.
//
//	sandbox up                       until Ctrl-C, with sample documents, on fixed ports
//	sandbox add workItem 3           inserts documents into one that is up; change, delete and lose make other differences
//	sandbox demo -syncd bin/syncd    shows two runs of syncd, and how it follows changes, checks what they did, and ends
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/change"
)

const documents = 1500

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return errors.New("say what to do; sandbox --help lists it")
	case args[0] == "help" || args[0] == "-h" || args[0] == "--help":
		fmt.Print(usage)
		return nil
	case change.Is(args[0]):
		return change.Command(ctx, args, os.Stdout)
	case args[0] != "up" && args[0] != "demo":
		return fmt.Errorf("unknown command %q; sandbox --help lists them", args[0])
	}
	f := flag.NewFlagSet(args[0], flag.ExitOnError)
	syncd := f.String("syncd", "bin/syncd", "the syncd program")
	config := f.String("config", "configs/sandbox.yaml", "the configuration of the runs")
	mongo := f.String("mongo", change.MongoAddr, "where the MongoDB server listens (up)")
	qdrant := f.String("qdrant", change.QdrantAddr, "where the Qdrant server listens (up)")
	kafka := f.String("kafka", change.KafkaAddr, "where the Kafka server listens (up)")
	embed := f.String("embed", change.EmbedAddr, "where the embedding service listens (up)")
	index := f.String("index-config", "configs/sandbox-index.yaml", "the configuration of the syncd that is the indexer")
	chunk := f.Int("chunk", 0, "characters of a chunk in the indexer; 0 is what its configuration says")
	if err := f.Parse(args[1:]); err != nil {
		return err
	}
	cfg := sandbox.Config{Streams: true, Indexer: sandbox.IndexerConfig{Syncd: *syncd, Config: *index, ChunkSize: *chunk}}
	if args[0] == "up" {
		cfg.MongoAddr, cfg.QdrantAddr, cfg.KafkaAddr, cfg.EmbedAddr = *mongo, *qdrant, *kafka, *embed
		return up(ctx, cfg, *syncd, *config)
	}
	return demo(ctx, cfg, *syncd, *config)
}

const usage = `Servers that syncd talks to, on this machine and in one process:

  sandbox up                       MongoDB, Qdrant, Kafka, an embedding service and an indexer with sample documents, until Ctrl-C
` + change.Usage + `  sandbox demo                     two runs of syncd and a follow, from the beginning to the end

sandbox COMMAND -h lists a command's flags.
`

func up(ctx context.Context, cfg sandbox.Config, syncd, config string) (err error) {
	s, err := sandbox.Start(ctx, cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w\nanother program listens there, perhaps another sandbox: end it, or choose ports that are free with\n  sandbox up -mongo 127.0.0.1:0 -qdrant 127.0.0.1:0 -kafka 127.0.0.1:0 -embed 127.0.0.1:0", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Load(ctx, 0, documents); err != nil {
		return err
	}
	printUp(os.Stdout, s, cfg, syncd, config)
	<-ctx.Done()
	return nil
}

// printUp says what is up, and which commands reach it.
func printUp(w io.Writer, s *sandbox.Sandbox, cfg sandbox.Config, syncd, config string) {
	var other strings.Builder
	if cfg.MongoAddr != change.MongoAddr || cfg.QdrantAddr != change.QdrantAddr || cfg.KafkaAddr != change.KafkaAddr || cfg.EmbedAddr != change.EmbedAddr {
		other.WriteString("\n  export")
		for _, pair := range s.Environ() {
			name, value, _ := strings.Cut(pair, "=")
			fmt.Fprintf(&other, " %s='%s'", name, value)
		}
	}
	fmt.Fprintf(w, `The sandbox is up, with %d documents in the database ProjectManagement:

  MongoDB   %s
  Qdrant    %s (gRPC)
  Kafka     %s
  Embedder  %s
  Indexer   %s run -c %s

In another terminal:
%s
  %-42s  # with --follow, changes are sent as they are made
  %-42s  # makes documents stale; add, delete and lose make other differences

Ctrl-C here stops it and forgets everything.
`, documents, s.Mongo.URI(), s.Qdrant.Addr(), s.Kafka.Addr(), s.Embed.URL(), syncd, cfg.Indexer.Config, other.String(), syncd+" run -c "+config, os.Args[0]+" change workItem 3")
}

// demo runs syncd twice and fails if it does not send exactly what the index lacks; then it follows.
func demo(ctx context.Context, cfg sandbox.Config, syncd, config string) (err error) {
	start := time.Now()
	s, err := sandbox.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	state, err := os.MkdirTemp("", "syncd-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state) //nolint:errcheck // what is left of it does no harm

	step := func(format string, args ...any) { fmt.Printf("\n>>> "+format+"\n\n", args...) }
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, syncd, args...)
		cmd.Env = append(append(foreign(os.Environ()), s.Environ()...), "XDG_STATE_HOME="+state)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd
	}
	backfill := func(name string, want int) error {
		step("%s: %s run -c %s", name, syncd, config)
		before, err := s.Sent(ctx)
		if err != nil {
			return err
		}
		if err := command("run", "-c", config).Run(); err != nil {
			return fmt.Errorf("running syncd: %w", err)
		}
		after, err := s.Sent(ctx)
		if err != nil {
			return err
		}
		if sent := after - before; sent != want {
			return fmt.Errorf("%s sent %d events, not %d", name, sent, want)
		}
		return s.AwaitIndexed(ctx)
	}

	step("The indexer, beside what follows: %s run -c %s", syncd, cfg.Indexer.Config)
	step("Loading %d documents into MongoDB", documents)
	if err := s.Load(ctx, 0, documents); err != nil {
		return err
	}
	if err := backfill("First run", documents); err != nil {
		return err
	}
	const added = 100
	step("Adding %d documents to MongoDB", added)
	if err := s.Load(ctx, documents, added); err != nil {
		return err
	}
	if err := backfill("Second run", added); err != nil {
		return err
	}
	step("Following changes: %s run --follow -c %s", syncd, config)
	took, err := follow(ctx, s, command("run", "--follow", "-c", config), step)
	if err != nil {
		return err
	}
	step("Done in %s: the first run sent %d events, the second %d; %d changes were in the index after %s",
		time.Since(start).Round(100*time.Millisecond), documents, added, changed+deleted, took.Round(10*time.Millisecond))
	return nil
}

// What the third act changes, in the collection workItem.
const changed, deleted = 50, 30

// follow changes and deletes documents while syncd follows, and returns how long it took until the index had all of it.
func follow(ctx context.Context, s *sandbox.Sandbox, cmd *exec.Cmd, step func(string, ...any)) (took time.Duration, err error) {
	follows := make(chan struct{})
	cmd.Stdout = io.MultiWriter(os.Stdout, &seen{text: "Following the changes", then: func() { close(follows) }})
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("running syncd: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-follows:
	case err := <-ended:
		return 0, fmt.Errorf("syncd ended before it followed: %w", err)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	step("Changing %d documents and deleting %d while it follows", changed, deleted)
	data := s.Data()
	before, err := data.Titles(ctx, "work_item")
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := data.Change(ctx, "workItem", changed); err != nil {
		return 0, err
	}
	if _, err := data.Delete(ctx, "workItem", deleted); err != nil {
		return 0, err
	}
	for {
		now, err := data.Titles(ctx, "work_item")
		if err != nil {
			return 0, err
		}
		gone, fresh := len(before)-len(now), 0
		for _, title := range now {
			if strings.HasPrefix(title, "Changed ") {
				fresh++
			}
		}
		if fresh == changed && gone == deleted {
			break
		}
		if time.Since(began) > time.Minute {
			return 0, fmt.Errorf("after a minute %d of %d changes and %d of %d deletes are in the index\n%s", fresh, changed, gone, deleted, s.Indexer.Log())
		}
		time.Sleep(5 * time.Millisecond)
	}
	took = time.Since(began)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	if err := <-ended; err != nil {
		return 0, fmt.Errorf("stopping syncd: %w", err)
	}
	return took, nil
}

// seen calls then when a text was written.
type seen struct {
	text   string
	then   func()
	before []byte
	done   bool
}

func (s *seen) Write(b []byte) (int, error) {
	if s.before = append(s.before, b...); !s.done && strings.Contains(string(s.before), s.text) {
		s.done = true
		s.then()
	}
	return len(b), nil
}

// foreign leaves out the variables that would point syncd elsewhere or change what it does.
func foreign(environ []string) []string {
	var out []string
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		own := false
		for _, prefix := range []string{"SYNCD_", "MONGODB_", "QDRANT_", "KAFKA_", "BACKFILL_", "INCREMENTAL_BACKFILL"} {
			own = own || strings.HasPrefix(name, prefix)
		}
		if !own {
			out = append(out, pair)
		}
	}
	return out
}
