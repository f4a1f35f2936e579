package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/syncd-io/syncd/integration/kafka"
)

// TestClusterBesideAnotherSink: a sink that is no Kafka, and a Kafka for the cluster alone. No state is on the disk.
func TestClusterBesideAnotherSink(t *testing.T) {
	const n = 5000
	p, _ := manyPages(t, kafkaAddr(t), n)
	dir := t.TempDir()
	var files []string
	f := &fleet{p: p, reports: map[*invocation]string{}}
	for k := range 3 {
		f.config = filepath.Join(dir, fmt.Sprintf("shared-%d.yaml", k))
		text := fmt.Sprintf(`name: shared
source: {mongo: {uri: %q, database: %q, splits: 12}}
checker: {qdrant: {url: %q, collection: %q}}
sink: {file: {path: %q, format: envelope}}
mapping: {collections: {page: page}}
run: {state_dir: %q, wait_timeout: 0, batch_size: 100, workers: 2}
cluster: {group: %s, state_topic: %s.cluster.state, partitions: 6, connection: {kafka: {bootstrap_servers: %q}}}
limits: {documents_per_second: 1000}
`, p.mongoURI, p.name, p.qdrantURL, p.name, "events.ndjson", p.state, p.name, p.name, p.kafka)
		if err := os.WriteFile(f.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(f.join(t).cmd.Dir, "events.ndjson")) // each has a folder of its own
	}
	defer f.say(t)
	whole := f.ends(t)
	if c := whole.Totals; c.Documents != n || c.Acked != n {
		t.Errorf("the report says %d documents, %d events confirmed", c.Documents, c.Acked)
	}
	seen, wrote := map[string]int{}, 0
	for _, file := range files {
		in, err := os.Open(file)
		if os.IsNotExist(err) {
			continue // of a process that had no part
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(in)
		lines.Buffer(nil, 1<<20)
		before := len(seen)
		for lines.Scan() {
			var e struct {
				Key string `json:"key"`
			}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Fatal(err)
			}
			seen[e.Key]++
		}
		if len(seen) > before {
			wrote++
		}
		_ = in.Close()
	}
	repeats := 0
	for _, times := range seen {
		repeats += times - 1
	}
	if len(seen) != n || repeats > 0 {
		t.Errorf("the files hold %d of %d documents, %d events twice", len(seen), n, repeats)
	}
	left, err := filepath.Glob(filepath.Join(p.state, "*", "*.db"))
	if err != nil || len(left) > 0 {
		t.Errorf("state is on the disk: %v %v", left, err)
	}
	t.Logf("%d of 3 processes wrote", wrote)
}

// TestClusterBroken breaks what a cluster needs.
func TestClusterBroken(t *testing.T) {
	const n = 20_000
	settings := []string{createTopics}
	check := func(t *testing.T, p *place, whole func() (documents, acked int64), most int, wantsAll func() int) {
		t.Helper()
		if d, a := whole(); d != n || a != n {
			t.Errorf("the report says %d documents, %d events confirmed", d, a)
		}
		if repeats := wantsAll(); repeats > most {
			t.Errorf("%d events are there twice, more than %d", repeats, most)
		}
	}
	t.Run("all are killed and started again", func(t *testing.T) {
		p, docs := manyPages(t, kafkaAddr(t), n)
		f := newFleet(t, p, n/5, 6, settings)
		defer f.say(t)
		for range 3 {
			f.join(t)
		}
		p.await(t, f.members[0], n/4)
		for _, i := range f.members {
			i.kill(t)
		}
		f.members = nil
		for range 3 {
			f.join(t)
		}
		check(t, p, func() (int64, int64) { c := f.ends(t).Totals; return c.Documents, c.Acked }, 3*underWay, func() int { return p.wantsAll(t, docs) })
	})
	t.Run("one is interrupted, and there are more processes than lanes", func(t *testing.T) {
		p, docs := manyPages(t, kafkaAddr(t), n)
		f := newFleet(t, p, n/5, 1, settings)
		defer f.say(t)
		for range 3 {
			f.join(t)
		}
		p.await(t, f.members[0], n/4)
		f.members[0].signal(t, syscall.SIGINT)
		if r := f.members[0].wait(t); r.code != 130 {
			t.Errorf("it ended with %d", r.code)
		}
		f.members = f.members[1:]
		check(t, p, func() (int64, int64) { c := f.ends(t).Totals; return c.Documents, c.Acked }, 0, func() int { return p.wantsAll(t, docs) })
	})
	t.Run("the broker starts anew", func(t *testing.T) {
		b := ownBroker(t)
		p, docs := manyPages(t, b.Addr(kafka.Plain), n)
		f := newFleet(t, p, n/5, 6, settings)
		defer f.say(t)
		for range 2 {
			f.join(t)
		}
		p.await(t, f.members[0], n/4)
		if err := b.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := b.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		check(t, p, func() (int64, int64) { c := f.ends(t).Totals; return c.Documents, c.Acked }, 4*underWay, func() int { return p.wantsAll(t, docs) })
	})
	t.Run("one has another mapping", func(t *testing.T) {
		p, docs := manyPages(t, kafkaAddr(t), n)
		f := newFleet(t, p, n/5, 6, settings)
		defer f.say(t)
		f.join(t)
		p.await(t, f.members[0], n/10)
		other := newFleet(t, p, n/5, 6, settings, "mapping: {collections: {page: article}}")
		invoke(t, "run", "-c", other.config).wants(t, 3, `^error: the cluster works by another configuration than this process has`)
		f.join(t)
		check(t, p, func() (int64, int64) { c := f.ends(t).Totals; return c.Documents, c.Acked }, 3*underWay, func() int { return p.wantsAll(t, docs) })
	})
	for name, settings := range map[string]func(*place) []string{
		"its topic is deleted": func(*place) []string { return settings }, "its topic is deleted, exactly once": (*place).exactlyOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of its time it waits
			p, docs := manyPages(t, kafkaAddr(t), n)
			config := func(rate int, more ...string) *fleet {
				lines := append(settings(p), "connect_timeout: 5s")
				return newFleet(t, p, rate, 6, append(lines, more...))
			}
			f := config(n/5, "delivery_timeout: 30s")
			f.join(t)
			p.await(t, f.members[0], n/4)
			if _, err := p.admin.DeleteTopics(t.Context(), p.name+".cluster.state"); err != nil {
				t.Fatal(err)
			}
			within(t, time.Minute, "the process ends", func() bool { return !f.members[0].running() })
			f.members[0].wait(t).wants(t, 1, `^error: .*taking part in the Kafka group`, `^hint: the topic "`+p.name+`\.cluster\.state" is not the one .*Start all processes again`)
			f = config(0) // and nothing is lost
			f.join(t)
			f.ends(t)
			p.wantsAll(t, docs)
		})
	}
	t.Run("another one has another name", func(t *testing.T) {
		p, docs := manyPages(t, kafkaAddr(t), n)
		f := newFleet(t, p, n/15, 6, settings, "name: first")
		defer f.say(t)
		f.join(t)
		p.await(t, f.members[0], n/10)
		other := newFleet(t, p, 0, 6, settings, "name: second")
		r := invoke(t, "run", "-c", other.config)
		r.wants(t, 0, `WARN msg="another cluster does the same work.*cluster=`+p.name+`\.second other=`+p.name+`\.first`)
		f.ends(t)
		p.wantsAll(t, docs)
	})
	t.Run("a wrong password", func(t *testing.T) {
		b := broker(t)
		p, _ := manyPages(t, kafkaAddr(t), n)
		f := newFleet(t, p, n/5, 6, settings)
		config := filepath.Join(t.TempDir(), "shared.yaml")
		text := fmt.Sprintf("extends: %s\ncluster: {connection: {kafka: {bootstrap_servers: %q, security: {sasl: {mechanism: PLAIN, username: app, password: wrong}}}}}\n", f.config, b.Addr(kafka.SASL))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := invoke(t, "run", "-c", config)
		t.Logf("it ended with %d:\n%s", r.code, r.output)
		if r.code == 0 || p.written(t) > 0 || strings.Contains(r.output, "unknown-field") {
			t.Errorf("it ended with %d, and %d events are written", r.code, p.written(t))
		}
	})
}
