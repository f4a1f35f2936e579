package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
	"github.com/syncd-io/syncd/sandbox/kafkaserver"
)

const config = "configs/sandbox.yaml"

// TestRunThreeTimes is the described scenario: everything, nothing, nothing; then 100 more documents.
func TestRunThreeTimes(t *testing.T) {
	s := indexed(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 1500); err != nil {
		t.Fatal(err)
	}
	r := syncd(t, s.Environ(), "run", "-c", config, "--detail", "full")
	r.wants(t, 0, `^Qdrant is empty: running a full backfill$`, `^Collection: workItem$`,
		`^  Documents in MongoDB +600 *$`, `^  Missing, to be sent +600 *$`, `^  Processed +600 *$`, `^  Skipped +0 *$`, `^  Errors +0 *$`,
		`^Total +1500 +0 +1500 +1500 +1500 +100% `, `^Qdrant points: 0 -> 1500 \(\+1500\)$`, `^Complete: 1500 events sent, all confirmed$`,
		`^Total time: .* for 1500 documents \(\d+ documents/s\)$`)
	if n := len(records(t, s)); n != 1500 {
		t.Fatalf("%d events", n)
	}
	for range 2 {
		r = syncd(t, s.Environ(), "run", config)
		r.wants(t, 0, `^Qdrant currently has 1500 points$`, `^Running incremental backfill`,
			`^Total +1500 +1500 +0 +0 +0 +100% `, `^Qdrant points: 1500 -> 1500 \(\+0\)$`)
	}
	if err := s.Load(t.Context(), 1500, 100); err != nil {
		t.Fatal(err)
	}
	r = syncd(t, s.Environ(), "run", "-c", config, "--detail", "full")
	r.wants(t, 0, `^  Documents in MongoDB +640 *$`, `^  Existing points found +600 *$`, `^  Missing, to be sent +40 *$`,
		`^  Processed +40 *$`, `^  Skipped +600 *$`, `^Total +1600 +1500 +100 +100 +100 +100% `, `^Qdrant points: 1500 -> 1600 \(\+100\)$`)
	events := sent(t, s)
	if len(events) != 1600 {
		t.Errorf("%d different events", len(events))
	}
	for key, n := range events {
		if n != 1 {
			t.Errorf("%s was sent %d times", key, n)
		}
	}
}

func TestDryRun(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 100); err != nil {
		t.Fatal(err)
	}
	// Kafka need not even be there.
	r := syncd(t, append(s.Environ(), "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"), "run", "-c", config, "--dry-run")
	r.wants(t, 0, `^Dry run: nothing will be sent$`, `^  Would be sent +40 *$`, `a run would send 100 events$`)
	if n := strings.Count(r.stdout, "  would send "); n != 24 {
		t.Errorf("%d examples: %s", n, r)
	}
	for line := range strings.SplitSeq(r.stdout, "\n") {
		id, rest, ok := strings.Cut(strings.TrimPrefix(line, "  would send "), ": seed ")
		if !ok {
			continue
		}
		seed, point, _ := strings.Cut(rest, ", point id ")
		if !strings.HasPrefix(seed, id+"/") || uuid.NewSHA1(uuid.NameSpaceURL, []byte(seed)).String() != point {
			t.Errorf("example %q", line)
		}
	}
	if n := len(records(t, s)); n != 0 {
		t.Errorf("%d events were sent", n)
	}
}

// TestNinthCollection adds a collection by adding a line.
func TestNinthCollection(t *testing.T) {
	nine := "mapping: {collections: {releaseNote: release_note}}\n" +
		"source: {kafka: {properties: {topic.metadata.refresh.interval.ms: \"250\"}}}\n" // topics are found as soon as they are made
	index := filepath.Join(t.TempDir(), "index.yaml")
	if err := os.WriteFile(index, []byte("extends: "+filepath.Join(root, "configs/sandbox-index.yaml")+"\n"+nine), 0o600); err != nil {
		t.Fatal(err)
	}
	s := indexed(t, sandbox.Config{Indexer: sandbox.IndexerConfig{Config: index}})
	insert(t, database(t, s, "ProjectManagement"), "releaseNote", bson.D{{Key: "_id", Value: "v1.2"}, {Key: "title", Value: "First"}})
	base, err := os.ReadFile(filepath.Join(root, "configs/base.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const last = "    userStory: user_story\n"
	text := strings.Replace(string(base), last, last+"    releaseNote: release_note\n", 1)
	file := filepath.Join(t.TempDir(), "nine.yaml")
	text = strings.Replace(text, "  kafka:\n", "  kafka:\n    create_topics: {partitions: 1, replication_factor: 1}\n", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	syncd(t, s.Environ(), "run", "-c", file, "--wait-timeout", "10s").wants(t, 0, `^releaseNote +release_note +1 `, `^Qdrant points: 0 -> 1 `)
	recs := records(t, s)
	if len(recs) != 1 || recs[0].Topic != "ProjectManagement.releaseNote" || recs[0].Header("syncd-content-type") != "release_note" {
		t.Fatalf("%+v", recs)
	}
	if want := uuid.NewSHA1(uuid.NameSpaceURL, []byte("v1.2/release_note/0")).String(); recs[0].Header("syncd-point-id") != want {
		t.Errorf("point id %s, want %s", recs[0].Header("syncd-point-id"), want)
	}
}

// TestIDTypes sends documents whose ids are of every type that the embedded server stores, mixed in one collection, and
// compares keys, events and point ids.
func TestIDTypes(t *testing.T) {
	s := indexed(t, sandbox.Config{})
	id := uuid.MustParse("a1b2c3d4-e5f6-7890-abcd-ef1234567890")
	oid, _ := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	want := map[string]any{
		"507f1f77bcf86cd799439011":             oid,
		"text":                                 "text",
		"":                                     "",
		"naïve 日本":                             "naïve 日本",
		"42":                                   int32(42),
		"-9223372036854775808":                 int64(-1 << 63),
		"1.5":                                  1.5,
		"1e+21":                                1e21,
		"a1b2c3d4-e5f6-7890-abcd-ef1234567890": bson.Binary{Subtype: 4, Data: id[:]},
		"3q2+7w==":                             bson.Binary{Subtype: 0, Data: []byte{0xde, 0xad, 0xbe, 0xef}},
		"2024-05-06T07:08:09.010Z":             bson.NewDateTimeFromTime(time.Date(2024, 5, 6, 7, 8, 9, 10e6, time.UTC)),
		"true":                                 true,
		`{"a":{"$numberInt":"1"},"b":"x"}`:     bson.D{{Key: "a", Value: int32(1)}, {Key: "b", Value: "x"}},
		`{"$timestamp":{"t":5,"i":6}}`:         bson.Timestamp{T: 5, I: 6},
	}
	db := database(t, s, "ProjectManagement")
	for _, v := range want {
		insert(t, db, "page", bson.D{{Key: "_id", Value: v}, {Key: "title", Value: "t"}})
	}
	syncd(t, s.Environ(), "run", "-c", config, "--collections", "page", "--batch-size", "3", "--detail", "full").wants(t, 0, `^  Errors +0 *$`)
	got := map[string]bool{}
	for _, r := range records(t, s) {
		key := string(r.Key)
		got[key] = true
		var event struct {
			DocumentKey  struct{ ID string } `json:"-"`
			Key          map[string]any      `json:"documentKey"`
			FullDocument map[string]any
		}
		if err := json.Unmarshal(r.Value, &event); err != nil {
			t.Fatalf("%s: %v", r.Value, err)
		}
		if event.Key["_id"] != key || event.FullDocument["_id"] != key {
			t.Errorf("the event of %q: %s", key, r.Value)
		}
		if p := uuid.NewSHA1(uuid.NameSpaceURL, []byte(key+"/page/0")).String(); r.Header("syncd-point-id") != p {
			t.Errorf("the point id of %q is %s, want %s", key, r.Header("syncd-point-id"), p)
		}
	}
	wanted := map[string]bool{}
	for k := range want {
		wanted[k] = true
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("keys (-want +got)\n%s", diff)
	}
	// The points have the ids that anybody computes, and a second run finds all of them.
	if err := s.AwaitIndexed(t.Context()); err != nil {
		t.Fatal(err)
	}
	held := points(t, qdrantOf(t, s))
	for key := range want {
		if id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(key+"/page/0")).String(); held[id].GetPayload()["mongo_id"].GetStringValue() != key {
			t.Errorf("the point of %q is %v", key, held[id])
		}
	}
	syncd(t, s.Environ(), "run", "-c", config, "--collections", "page").wants(t, 0, fmt.Sprintf(`^Total +%d +%d +0 +0`, len(want), len(want)))
}

func TestBadDocumentsAreNamedAndTheRestGoesOn(t *testing.T) {
	s := indexed(t, sandbox.Config{})
	db := database(t, s, "ProjectManagement")
	insert(t, db, "page", plainDocs(50)...)
	insert(t, db, "page",
		bson.D{{Key: "_id", Value: "huge"}, {Key: "title", Value: strings.Repeat("incompressible?", 200_000)}},
		bson.D{{Key: "_id", Value: nil}, {Key: "title", Value: "no id"}})
	// That one is too large is known before anything is sent, and what becomes of it.
	syncd(t, s.Environ(), "explain", "-c", config, "page", "huge").wants(t, 4, `^verdict +missing: `,
		`^sending +must fail: the event, 30\d+ bytes with its headers, does not fit into max_message_bytes, 1000000: too large$`,
		`^ +the document is counted as one that could not be sent; errors.dead_letter would keep it$`)
	syncd(t, append(s.Environ(), "SYNCD_ERRORS__OVERSIZE=reference_only"), "explain", "-c", config, "page", "huge").wants(t, 4, `^ +it is sent without its document`)
	insert(t, db, "project", bson.D{{Key: "_id", Value: "huge"}, {Key: "title", Value: strings.Repeat("incompressible?", 200_000)}})
	syncd(t, s.Environ(), "plan", "-c", config, "--collections", "project").wants(t, 0,
		`^The sink would not take 1 of 1 event that were encoded to learn their size, for example:$`, `^  project huge: the event, 30\d+ bytes`)
	dead := filepath.Join(t.TempDir(), "dead.ndjson")
	r := syncd(t, append(s.Environ(), "SYNCD_ERRORS__DEAD_LETTER__FILE__PATH="+dead), "run", "-c", config, "--collections", "page,epic", "--detail", "full")
	r.wants(t, 5, `^  page huge: write: .*large`, `^  page \(no id\): read: the first document: _id is null$`, `^  Errors +2 *$`, `^  Processed +50 *$`,
		`^error: 2 documents could not be sent \(2 in the dead letters\); all others were handled$`,
		`^hint: mend what the dead letters say, in .*dead.ndjson: "syncd deadletters list -c .*" shows them`, `no such collection.*collection=epic`)
	if n := len(sent(t, s)); n != 50 {
		t.Errorf("%d events", n)
	}
	// Only ids were read, and nobody could find this one by its id.
	if b, err := os.ReadFile(dead); err != nil || !strings.Contains(string(b), `{"_id":null,"title":"no id"}`) {
		t.Errorf("%.300s, %v", b, err)
	}
}

// closedPort is an address where nothing listens. Where the system has many loopback addresses it is one at which no other test has its
// servers: a port of the usual one could be given to one of them.
func closedPort(t *testing.T) string {
	t.Helper()
	at := "127.0.0.1:0"
	if runtime.GOOS == "linux" {
		at = "127.127.0.1:0"
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestUnreachable checks that each server that is not there, or refuses the login, is named in bounded time, without the
// secret, and that nothing was sent.
func TestUnreachable(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 30); err != nil {
		t.Fatal(err)
	}
	guarded, err := kafkaserver.Start(kafkaserver.Config{User: "u", Password: "right"})
	if err != nil {
		t.Fatal(err)
	}
	defer guarded.Close()
	closed := closedPort(t)
	quick := []string{
		"SYNCD_SOURCE__MONGO__CONNECT_TIMEOUT=2s", "SYNCD_SINK__KAFKA__CONNECT_TIMEOUT=2s", "SYNCD_CHECKER__QDRANT__CONNECT_TIMEOUT=2s",
	}
	_, mongoPort, _ := net.SplitHostPort(s.Mongo.Addr())
	for name, c := range map[string]struct {
		environ []string
		want    []string
	}{
		"mongo is down":     {[]string{"MONGODB_URI=mongodb://user:hunter2@" + closed}, []string{`^error: .*` + closed, `^hint: `}},
		"mongo login fails": {[]string{"MONGODB_URI=mongodb://user:hunter2@127.0.0.1:" + mongoPort}, []string{`^error: .*(?i)authenticat`, `^hint: `}},
		"kafka is down":     {[]string{"KAFKA_BOOTSTRAP_SERVERS=" + closed}, []string{`^error: .*` + closed, `^hint: `}},
		"kafka login fails": {
			[]string{
				"KAFKA_BOOTSTRAP_SERVERS=" + guarded.Addr(), "SYNCD_SINK__KAFKA__SECURITY__SASL__MECHANISM=PLAIN",
				"SYNCD_SINK__KAFKA__SECURITY__SASL__USERNAME=u", "SYNCD_SINK__KAFKA__SECURITY__SASL__PASSWORD=hunter2",
			},
			[]string{`^error: .*(?i)authenticat`, `^hint: `},
		},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			r := syncd(t, append(append(s.Environ(), quick...), c.environ...), "run", "-c", config)
			r.wants(t, 1, c.want...)
			r.wantsNot(t, "hunter2")
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
	if n := len(records(t, s)); n != 0 {
		t.Errorf("%d events were sent", n)
	}

	t.Run("qdrant is down", func(t *testing.T) {
		environ := append(append(s.Environ(), quick...), "QDRANT_URL=http://"+closed)
		r := syncd(t, append(environ, "SYNCD_RUN__ON_CHECK_UNAVAILABLE=fail"), "run", "-c", config)
		r.wants(t, 1, `^error: .*Qdrant.*`+closed)
		if n := len(records(t, s)); n != 0 {
			t.Errorf("%d events were sent", n)
		}
		r = syncd(t, append(environ, "SYNCD_SINK__KAFKA__HEADERS=all"), "run", "-c", config)
		r.wants(t, 0, `could not connect to Qdrant \(.*\): falling back to full backfill`, `run.on_check_unavailable: full`)
		recs := records(t, s)
		if len(recs) != 30 || recs[0].Header("syncd-reason") != "full" {
			t.Errorf("%d events, headers %v", len(recs), recs[0].Headers)
		}
	})
}

func TestMissingTopicIsNamed(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 30); err != nil {
		t.Fatal(err)
	}
	r := syncd(t, s.Environ(), "run", "-c", "configs/base.yaml")
	r.wants(t, 1, `^error: .*ProjectManagement\.page`, `ProjectManagement\.workItem`, `^hint: .*create_topics`)
	if n := len(records(t, s)); n != 0 {
		t.Errorf("%d events were sent", n)
	}
}

// TestInterrupt stops a run in the middle, by each signal: what is under way is finished, the numbers say the truth, and
// the next run sends the rest. kill -9 loses nothing either.
func TestInterrupt(t *testing.T) {
	for _, c := range []struct {
		sig  syscall.Signal
		code int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}, {syscall.SIGKILL, -1}} {
		t.Run(c.sig.String(), func(t *testing.T) {
			s := indexed(t, sandbox.Config{})
			insert(t, database(t, s, "ProjectManagement"), "page", plainDocs(2000)...)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd, stdout, stderr := command(ctx, s.Environ(), "run", "-c", config, "--collections", "page",
				"--batch-size", "20", "--sleep", "50ms")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			interrupt(t, cmd, c.sig, func() bool { return len(records(t, s)) > 100 })
			_ = cmd.Wait()
			r := result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
			first := sent(t, s)
			if len(first) == 2000 {
				t.Fatal("the run was not interrupted")
			}
			if c.code > 0 {
				r.wants(t, c.code, `interrupted: finishing what is under way`, `^error: interrupted by SIG`,
					fmt.Sprintf(`^NOT complete: %d events confirmed; run it again`, len(first)))
			}
			if err := s.AwaitIndexed(t.Context()); err != nil {
				t.Fatal(err)
			}
			syncd(t, s.Environ(), "run", "-c", config, "--collections", "page").wants(t, 0, `^Complete: `)
			all := sent(t, s)
			if len(all) != 2000 {
				t.Errorf("after the second run %d documents were sent", len(all))
			}
			for key, n := range all {
				if n > 1 {
					t.Errorf("%s was sent %d times", key, n)
				}
			}
		})
	}
}

// TestFullMode checks that a full run needs no Qdrant.
func TestFullMode(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 100); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--no-incremental"}, {"--mode", "full"}} {
		r := syncd(t, append(s.Environ(), "QDRANT_URL=http://"+closedPort(t)), append([]string{"run", "-c", config}, args...)...)
		r.wants(t, 0, `^Running full backfill`, `^Complete: 100 events sent, all confirmed`)
	}
	for key, n := range sent(t, s) {
		if n != 2 {
			t.Errorf("%s was sent %d times", key, n)
		}
	}
}

// TestAWrongDatabaseLeavesNoTopics: they are made for collections that are there.
func TestAWrongDatabaseLeavesNoTopics(t *testing.T) {
	s := start(t, sandbox.Config{})
	insert(t, database(t, s, "ProjectManagement"), "page", plainDocs(3)...)
	r := syncd(t, append(s.Environ(), "MONGODB_DATABASE=Nowhere"), "run", "-c", config)
	r.wants(t, 4, `^error: the source has none of the collections$`)
	r.wantsNot(t, "created Kafka topic")
	r = syncd(t, s.Environ(), "run", "-c", config)
	r.wants(t, 0, `created Kafka topic.*ProjectManagement\.page`, `^Complete: 3 events sent, all confirmed$`)
	if n := strings.Count(r.stderr, "created Kafka topic"); n != 1 {
		t.Errorf("%d topics: %s", n, r)
	}
}
