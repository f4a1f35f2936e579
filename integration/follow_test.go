package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/fastmongo"
)

// kills is how often a job that follows is killed: the first half while it backfills, the others while it follows or begins to.
const kills = 20

// writesEnv is for the number of documents, and of writes to them, of TestFollow.
const writesEnv = "SYNCD_TEST_WRITES"

func writes(t *testing.T) int {
	t.Helper()
	text := os.Getenv(writesEnv)
	if text == "" {
		return events(t) / 10
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1000 {
		t.Fatalf("%s must be a number, at least 1000: %q", writesEnv, text)
	}
	return n
}

// TestFollow writes to collections while syncd backfills them, follows them, and is killed 20 times. In the end whoever applies
// the events in the order of their partitions has what the database has.
func TestFollow(t *testing.T) {
	for name, server := range followedServers() {
		t.Run(name, func(t *testing.T) {
			t.Run("at least once", func(t *testing.T) {
				testFollow(t, server, func(*place) []string { return []string{createTopics} }, false)
			})
			t.Run("exactly once", func(t *testing.T) { testFollow(t, server, (*place).exactlyOnce, true) })
		})
	}
}

// filled is a place whose database holds a writer's documents, and the connection string that syncd gets.
type filled struct {
	*place
	w   *writer
	uri string
}

// followedServers are ways to come by a server whose changes can be followed. The sandbox's server, which is fast, is there for large
// numbers.
func followedServers() map[string]func(*testing.T) filled {
	if uri := os.Getenv(mongoEnv); uri != "" {
		return map[string]func(*testing.T) filled{"deployed": func(t *testing.T) filled { return fillTwo(t, uri) }}
	}
	servers := map[string]func(*testing.T) filled{"SecantusDB": filledSecantus}
	if os.Getenv(writesEnv) != "" {
		servers["fastmongo"] = func(t *testing.T) filled {
			s, err := fastmongo.Start(t.Context(), fastmongo.Config{ReplicaSet: "rs0", Oplog: fastmongo.Oplog{Noop: time.Second}})
			if err != nil {
				t.Fatal(err)
			}
			closeAfter(t, s.Close)
			return fillTwo(t, s.URI())
		}
	}
	return servers
}

// fillTwo fills two collections, which a server can read in parts where they are large.
func fillTwo(t *testing.T, uri string) filled {
	p := newPlace(t, uri, kafkaAddr(t))
	w := newWriter(p.database(t), writes(t), 2)
	w.fill(t)
	return filled{p, w, uri}
}

// filledSecantus spares SecantusDB what takes it long: it reads a whole collection for every find that has a hint, so that many small
// ones are read sooner than a few large ones, and the whole oplog to tell its beginning. So it forgets the entries that filling made,
// and syncd logs in as somebody who may not read the oplog.
func filledSecantus(t *testing.T) filled {
	const most = 10_000 // documents of a collection
	s := secantusWith(t, "--oplog-max-entries", "1000")
	p := newPlace(t, s.URI(), kafkaAddr(t))
	n := writes(t)
	w := newWriter(connect(t, s.URI()).Database(p.name), n, max(2, n/most))
	w.fill(t)
	for user, role := range map[string]bson.D{"root": {{Key: "role", Value: "root"}, {Key: "db", Value: "admin"}}, "reader": {{Key: "role", Value: "read"}, {Key: "db", Value: p.name}}} {
		create := bson.D{{Key: "createUser", Value: user}, {Key: "pwd", Value: "secret"}, {Key: "roles", Value: bson.A{role}}}
		if err := w.db.Client().Database("admin").RunCommand(t.Context(), create).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Close(), s.Restart(t.Context(), "--auth", "--noop-heartbeat-seconds", "1", "--oplog-max-entries", "10000000", "--oplog-retention-seconds", "86400")); err != nil {
		t.Fatal(err)
	}
	p.mongoURI = s.URIAs("root", "secret")
	w.db = p.database(t)
	return filled{p, w, s.URIAs("reader", "secret")}
}

func testFollow(t *testing.T, server func(*testing.T) filled, settings func(*place) []string, exactly bool) {
	began := time.Now()
	f := server(t)
	p, w := f.place, f.w
	t.Logf("%d documents in %d collections, filled after %s", w.documents(), len(w.collections), time.Since(began).Round(time.Millisecond))
	// What is waited for takes longer where there is more of it.
	long := patience + time.Duration(w.n)*10*time.Millisecond
	m := newModel(p)
	config := f.config(t, settings(p))

	began = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := make(chan error, 1)
	r := rand.New(rand.NewPCG(1, 2))
	var backfilling, starting, following int // lives that ended there
	for k := range kills {
		i := start(t, "run", "--follow", "-c", config)
		ended := func() bool {
			if !i.running() {
				t.Fatalf("life %d ended by itself:\n%s", k, i.wait(t).output)
			}
			return false
		}
		if k == 0 {
			// What is written from now on is behind the stream's beginning.
			within(t, long, "the backfill has begun", func() bool { return ended() || p.written(t) > 0 })
			go func() { written <- w.write(ctx) }()
		}
		// The writers are in the middle of something when it is killed.
		w.allow(w.n * (k + 2) / (kills + 1))
		wrote := func() bool { return w.wrote() >= w.n*(k+1)/(kills+1) }
		switch {
		case k < kills/2:
			part := int64(w.documents() * (k + 1) / (kills/2 + 1))
			within(t, long, "it is in the middle of the backfill", func() bool { return ended() || p.written(t) >= part || i.follows() })
		case k%2 == 0:
			within(t, long, "the writers went on", func() bool { return ended() || wrote() })
			time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
		default:
			within(t, long, "it follows", func() bool { return ended() || i.follows() && wrote() })
			time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
		}
		ended()
		at := &starting
		if i.follows() {
			at = &following
		} else if k < kills/2 {
			at = &backfilling
		}
		*at++
		i.kill(t)
		t.Logf("life %d was killed after %s: %d events and %d writes by then; it followed: %t", k, time.Since(began).Round(time.Millisecond), p.written(t), w.wrote(), i.follows())
	}
	w.allow(w.n)
	i := start(t, "run", "--follow", "-c", config)
	if err := <-written; err != nil {
		t.Fatalf("writing: %v", err)
	}
	wrote := time.Since(began)
	w.mark(t)
	within(t, long, "the last writes are followed", func() bool {
		if !i.running() {
			t.Fatalf("it ended by itself:\n%s", i.wait(t).output)
		}
		m.catchUp(t)
		return m.marks == len(w.collections)
	})
	caughtUp := time.Since(began)
	if err := i.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	i.wait(t).wants(t, 0, `^Stopped following: \d+ changes? read`)
	p.settle(t)
	m.catchUp(t)
	m.compare(t, w, exactly)
	t.Logf("%d documents, %d writes (%s) in %s, all followed after %s; killed %d times while it backfilled, %d while it followed and %d while it began to; %d events came again",
		w.documents(), w.wrote(), w.applied, wrote.Round(time.Second), caughtUp.Round(time.Second), backfilling, following, starting, m.repeats(w))
	if backfilling < kills/4 || following < kills/4 {
		t.Errorf("it was killed %d times while it backfilled, and %d times while it followed", backfilling, following)
	}
}

// config writes a configuration by which the backfill takes so long that it can be killed in its midst.
func (f filled) config(t *testing.T, settings []string) string {
	t.Helper()
	p := *f.place
	p.mongoURI = f.uri
	types := map[string]string{}
	for _, c := range f.w.collections {
		types[c] = c
	}
	file := p.config(t, types, settings...)
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, fmt.Appendf(b, "limits: {documents_per_second: %d}\n", f.w.documents()/20), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// follows reports whether a job has come to its streams.
func (i *invocation) follows() bool {
	return strings.Contains(i.output.String(), "Following the changes of")
}
