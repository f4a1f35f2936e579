package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

// TestConnectAllGreen looks at the sandbox after a run, when every collection, topic and index is there.
func TestConnectAllGreen(t *testing.T) {
	s := indexed(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 100); err != nil {
		t.Fatal(err)
	}
	syncd(t, s.Environ(), "run", "-c", config).wants(t, 0, `^Complete: 100 events sent`)
	r := syncd(t, s.Environ(), "validate", "--connect", config)
	r.wants(t, 0, `^configs/sandbox\.yaml: valid$`,
		`^source: MongoDB at `+regexp.QuoteMeta(s.Mongo.Addr()),
		`^  ok       server  +MongoDB \d.*, standalone`,
		`^  ok       reads  +from primary, read concern: `,
		`^  ok       collection workItem  +about 40 documents$`,
		`^checker: Qdrant at `+regexp.QuoteMeta(s.Qdrant.Addr()),
		`^  ok       server  +Qdrant \d`,
		`^  ok       collection pms_collection  +about 100 points$`,
		`^  ok       looking up points  +possible$`,
		`^  ok       index on content_type  +keyword$`,
		`^  ok       content types  +"[a-z_]+" \(\d+\), `, `^  ok       payload keys  +.*content_type, .*mongo_id`,
		`^sink: Kafka at `+regexp.QuoteMeta(s.Kafka.Addr()),
		`^  ok       brokers  +1 broker$`,
		`^  ok       topic ProjectManagement\.workItem  +3 partitions, replication factor 1`,
		`^  ok       permission to write  +granted on 8 topics$`,
		`^  ok       largest event  +1000000 bytes; the topics accept 1048588$`,
		`^\d+ checks: \d+ ok$`)
	r.wantsNot(t, "hint:", "warning", "FAILED", "skipped")
	if n := len(records(t, s)); n != 100 {
		t.Errorf("looking has changed something: %d events", n)
	}
}

// TestConnectCreatesNothing looks before the first run: what is missing is said, and still missing afterwards.
func TestConnectCreatesNothing(t *testing.T) {
	s := start(t, sandbox.Config{})
	insert(t, database(t, s, "ProjectManagement"), "WorkItem", bson.D{{Key: "_id", Value: "a"}})
	for range 2 {
		r := syncd(t, s.Environ(), "validate", "--connect", config)
		r.wants(t, 0, `^  warning  collection workItem  +does not exist in database ProjectManagement: a run takes it for an empty one\n +hint: did you mean "WorkItem"\?$`,
			`^  warning  collection pms_collection  +does not exist: a run takes it for an empty index and sends every document\n +hint: `,
			`^  ok       topic ProjectManagement\.page  +does not exist yet; a run will create it with 3 partitions and replication factor 1$`,
			`^  skipped  permission to write  +no topic exists yet$`, `^\d+ checks: \d+ ok, 9 warnings, 2 skipped$`)

		r = syncd(t, s.Environ(), "validate", "--connect", "configs/base.yaml")
		r.wants(t, 1, `^  FAILED   topic ProjectManagement\.page  +does not exist, and collection page goes there\n +hint: create it, or set sink\.kafka\.create_topics`,
			`^\d+ checks: .* 8 failed`)
	}
	names, err := database(t, s, "ProjectManagement").ListCollectionNames(t.Context(), bson.D{})
	if err != nil || len(names) != 1 {
		t.Errorf("collections %v, error %v", names, err)
	}

	t.Run("a topic that can't be created", func(t *testing.T) {
		r := syncd(t, append(s.Environ(), "SYNCD_SINK__KAFKA__CREATE_TOPICS__REPLICATION_FACTOR=3"), "validate", "--connect", config)
		r.wants(t, 1, `^  FAILED   topic ProjectManagement\.page  +does not exist and can't be created: .*(?i)replication factor`)
	})
	t.Run("an index that must exist", func(t *testing.T) {
		r := syncd(t, append(s.Environ(), "SYNCD_CHECKER__QDRANT__ON_MISSING_COLLECTION=fail"), "validate", "--connect", config)
		r.wants(t, 1, `^  FAILED   connection  +asking Qdrant at `+regexp.QuoteMeta(s.Qdrant.Addr())+`: there is no collection "pms_collection"\n +hint: `)
	})
	t.Run("a full dry run", func(t *testing.T) {
		environ := append(s.Environ(), "KAFKA_BOOTSTRAP_SERVERS="+closedPort(t), "QDRANT_URL=http://"+closedPort(t),
			"SYNCD_RUN__MODE=full", "SYNCD_RUN__DRY_RUN=true")
		syncd(t, environ, "validate", "--connect", config).wants(t, 0,
			`^  skipped  connection  +a full run does not ask the index`, `^  skipped  connection  +a dry run sends nothing`)
	})
}

// TestConnectUnreachable checks that each server that is not there, or refuses the login, fails within the time given, by
// name, with the others looked at all the same, and without the secret.
func TestConnectUnreachable(t *testing.T) {
	s := start(t, sandbox.Config{})
	closed := closedPort(t)
	_, mongoPort, err := net.SplitHostPort(s.Mongo.Addr())
	if err != nil {
		t.Fatal(err)
	}
	stopped, err := kafkaserver.Start(kafkaserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := stopped.Close(); err != nil {
		t.Fatal(err)
	}
	guarded, err := kafkaserver.Start(kafkaserver.Config{User: "u", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := guarded.Close(); err != nil {
			t.Error(err)
		}
	})
	const hint = `\n +hint: `
	for name, c := range map[string]struct {
		environ []string
		want    string
	}{
		"mongo is down": {
			[]string{"MONGODB_URI=mongodb://user:hunter2@" + closed, "SYNCD_SOURCE__MONGO__CONNECT_TIMEOUT=1s"},
			`^source: MongoDB at ` + closed + `\n  FAILED   connection  +.*` + closed + `.*refused.*` + hint,
		},
		"mongo is down for longer than is waited": {
			[]string{"MONGODB_URI=mongodb://user:hunter2@" + closed, "SYNCD_SOURCE__MONGO__CONNECT_TIMEOUT=1m"},
			`^  FAILED   connection  +MongoDB at ` + closed + ` did not answer within 3s` + hint,
		},
		"mongo login fails": {
			[]string{"MONGODB_URI=mongodb://user:hunter2@127.0.0.1:" + mongoPort},
			`^  FAILED   connection  +connecting to MongoDB: authentication failed for user "user" at 127.0.0.1:` + mongoPort + `.*` + hint,
		},
		"kafka is stopped": {
			[]string{"KAFKA_BOOTSTRAP_SERVERS=" + stopped.Addr(), "SYNCD_SINK__KAFKA__CONNECT_TIMEOUT=1s"},
			`^sink: Kafka at ` + stopped.Addr() + `\n  FAILED   connection  +connecting to Kafka at ` + stopped.Addr() + `: unavailable for 1s: .*refused.*` + hint,
		},
		"kafka is stopped for longer than is waited": {
			[]string{"KAFKA_BOOTSTRAP_SERVERS=" + stopped.Addr(), "SYNCD_SINK__KAFKA__CONNECT_TIMEOUT=1m"},
			`^  FAILED   connection  +connecting to Kafka at ` + stopped.Addr() + `: unavailable for \d+(\.\d+)?s: .*refused.*` + hint,
		},
		"kafka login fails": {
			[]string{
				"KAFKA_BOOTSTRAP_SERVERS=" + guarded.Addr(), "SYNCD_SINK__KAFKA__SECURITY__SASL__MECHANISM=SCRAM-SHA-256",
				"SYNCD_SINK__KAFKA__SECURITY__SASL__USERNAME=u", "SYNCD_SINK__KAFKA__SECURITY__SASL__PASSWORD=hunter2",
			},
			`^  FAILED   connection  +authenticating at Kafka at ` + guarded.Addr() + ` by SCRAM-SHA-256 as "u".*` + hint,
		},
		"qdrant is down": {
			[]string{"QDRANT_URL=http://" + closed},
			`^  FAILED   connection  +could not connect to Qdrant at ` + closed + `.*` + hint + `.*a run would send every document \(run.on_check_unavailable: full\)$`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := syncd(t, append(s.Environ(), c.environ...), "validate", "--connect", "--connect-timeout", "3s", config)
			r.wants(t, 1, c.want, `, 1 failed`)
			r.wantsNot(t, "hunter2", "\nerror:")
			if d := time.Since(began); d > 10*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// TestConnectSmallTopic compares the sink's limit with the brokers', and looks as a login that may do everything.
func TestConnectSmallTopic(t *testing.T) {
	s := start(t, sandbox.Config{})
	small, err := kafkaserver.Start(kafkaserver.Config{User: "u", Password: "hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := small.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := small.Cluster().CreateTopic("ProjectManagement.page", 2, map[string]string{"max.message.bytes": "5000"}); err != nil {
		t.Fatal(err)
	}
	r := syncd(t, append(s.Environ(), "KAFKA_BOOTSTRAP_SERVERS="+small.Addr(), "SYNCD_RUN__COLLECTIONS=page",
		"SYNCD_SINK__KAFKA__SECURITY__SASL__MECHANISM=PLAIN", "SYNCD_SINK__KAFKA__SECURITY__SASL__USERNAME=u",
		"SYNCD_SINK__KAFKA__SECURITY__SASL__PASSWORD=hunter2"), "validate", "--connect", config)
	r.wants(t, 0, `^  warning  connection  +without TLS, logged in by PLAIN as "u": the password can be read on the network$`,
		`^  ok       topic ProjectManagement\.page  +2 partitions`,
		`^  warning  largest event  +max_message_bytes is 1000000, but topic ProjectManagement\.page accepts 5000 bytes`,
		`^ +hint: set sink\.kafka\.max_message_bytes: 5000, or `)
	r.wantsNot(t, "hunter2")
}

// TestConnectFilter has the server look at a filter.
func TestConnectFilter(t *testing.T) {
	s := start(t, sandbox.Config{})
	insert(t, database(t, s, "ProjectManagement"), "page", plainDocs(3)...)
	for filter, want := range map[string]string{
		`{title: x}`:                `^  ok       collection page  +about 3 documents, before the filter, which the server accepts$`,
		`{title: {$type: nothing}}`: `^  FAILED   collection page  +the server refuses the filter: .*\n +hint: correct mapping\.collections\.page\.filter$`,
	} {
		file := filepath.Join(t.TempDir(), "filter.yaml")
		base := filepath.Join(root, config)
		text := "extends: " + base + "\nmapping: {collections: {page: {content_type: page, filter: " + filter + "}}}\nrun: {collections: [page]}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := syncd(t, s.Environ(), "validate", "--connect", file)
		code := 0
		if strings.Contains(want, "FAILED") {
			code = 1
		}
		r.wants(t, code, want)
	}
}

// TestConnectInterrupted sends Ctrl-C while a server keeps silent.
func TestConnectInterrupted(t *testing.T) {
	s := start(t, sandbox.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Bool
	var silent sync.WaitGroup
	silent.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			accepted.Store(true)
		}
	})
	t.Cleanup(func() { _ = l.Close(); silent.Wait() })
	cmd, stdout, stderr := command(t.Context(), append(s.Environ(), "KAFKA_BOOTSTRAP_SERVERS="+l.Addr().String()), "validate", "--connect", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	interrupt(t, cmd, syscall.SIGINT, accepted.Load)
	sent := time.Now()
	_ = cmd.Wait()
	if d := time.Since(sent); d > 2*time.Second {
		t.Errorf("it ended %s after the signal", d)
	}
	r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	r.wants(t, 130, `^error: interrupted by SIGINT while looking at the servers$`)
}
