package file

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(path string, change func(*Config)) Config {
	c := *Plugin().Config().(*Config)
	c.Path = path
	if change != nil {
		change(&c)
	}
	return c
}

func start(t testing.TB, c Config) *Sink {
	t.Helper()
	s, err := open(t.Context(), c, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // tests that care close it themselves
	return s.(*Sink)
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func values(texts ...string) []codec.Event {
	out := make([]codec.Event, len(texts))
	for i, v := range texts {
		out[i] = codec.Event{Key: []byte(v), Value: []byte(v)}
	}
	return out
}

// put writes events as Write does those of changes.
func put(ctx context.Context, s *Sink, events []codec.Event) error {
	return s.write(ctx, &batch{Batch: codec.Batch{Events: events}})
}

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

// forms are forms of events that a sink is tested with.
var forms = map[string]codec.Config{
	"plain":       {},
	"tombstones":  {Profile: codec.Plain, DeleteFormat: codec.DeleteTombstone},
	"mongo_kafka": {Profile: codec.MongoKafka, Wire: codec.WireConnectJSONSchema},
	"bson":        {Profile: codec.MongoKafka, Wire: codec.WireBSON, DeleteFormat: codec.DeleteTombstone},
}

func TestConformance(t *testing.T) {
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			path := ""
			syncdtest.TestSink(t, syncdtest.SinkHarness{
				Event: form,
				Open: func(t *testing.T) syncd.Sink {
					path = filepath.Join(t.TempDir(), "events.ndjson")
					c := config(path, func(c *Config) { c.Format, c.Event = formatEnvelope, form })
					s, err := open(t.Context(), c, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
					if err != nil {
						t.Fatal(err)
					}
					return s
				},
				Read: func(t *testing.T) []syncdtest.Received {
					var out []syncdtest.Received
					for line := range strings.Lines(content(t, path)) {
						out = append(out, decode(t, path, line))
					}
					return out
				},
			})
		})
	}
}

// decode reads an envelope as a stranger would, from its description.
func decode(t *testing.T, path, line string) syncdtest.Received {
	t.Helper()
	var e struct {
		Key     *string
		KeyB    *string `json:"key_base64"`
		Headers []struct {
			Name, Value string
			NameB       *string `json:"name_base64"`
			ValueB      *string `json:"value_base64"`
		}
		Value  json.RawMessage
		ValueB *string `json:"value_base64"`
	}
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	raw := func(s *string) []byte {
		b, err := base64.StdEncoding.DecodeString(*s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := syncdtest.Received{Target: path}
	switch {
	case e.KeyB != nil:
		r.Key = raw(e.KeyB)
	case e.Key != nil:
		r.Key = []byte(*e.Key)
	}
	switch {
	case e.ValueB != nil:
		r.Value = raw(e.ValueB)
	case string(e.Value) != "null":
		r.Value = e.Value
	}
	for _, h := range e.Headers {
		if h.NameB != nil {
			h.Name = string(raw(h.NameB))
		}
		if h.ValueB != nil {
			h.Value = string(raw(h.ValueB))
		}
		r.Headers = append(r.Headers, codec.Header{Name: h.Name, Value: h.Value})
	}
	return r
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte("key"), []byte(`{"a": 1}`), "name", "value")
	f.Add([]byte("\xff"), []byte("null"), "\x00\x1f\"\\", "\u2028é\xff")
	f.Add([]byte{}, []byte{}, "", "")
	f.Add([]byte("a\nb"), []byte(" {\"a\":\n1} "), "é", "\r\n")
	f.Fuzz(func(t *testing.T, key, value []byte, name, header string) {
		in := codec.Event{Key: key, Value: value, Headers: []codec.Header{{Name: name, Value: header}}}
		line := appendEnvelope(nil, &in)
		if n := bytes.Count(line, []byte("\n")); n != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("not a line: %q", line)
		}
		got := decode(t, "", string(line))
		if diff := cmp.Diff(syncdtest.Received{Key: key, Value: value, Headers: in.Headers}, got); diff != "" {
			t.Errorf("%q (-in +out):\n%s", line, diff)
		}
	})
}

func TestValueLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := start(t, config(path, nil))
	in := append(values(`{"a":1}`, "", "{\n}", `{"b":2}`), codec.Event{Key: []byte("gone")})
	in[1].Value = []byte{}
	err := put(t.Context(), s, in)
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !cmp.Equal(failed.Failed(), []int{1, 2}) || errors.Is(err, syncd.ErrUnavailable) || !errors.Is(failed.Of(1), syncd.ErrNotEncodable) || !errors.Is(failed.Of(2), syncd.ErrNotEncodable) {
		t.Errorf("error %v", err)
	}
	if got := content(t, path); got != "{\"a\":1}\n{\"b\":2}\nnull\n" {
		t.Errorf("content %q", got)
	}
}

// TestChanges writes what a run gives a sink: refused changes are named by their own indices, and the others are told their size.
func TestChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := start(t, config(path, func(c *Config) { c.Event.Profile, c.Event.Wire = codec.MongoKafka, codec.WireBSON }))
	target := syncd.Target{Database: "db", Collection: "page"}
	var in []syncd.Change
	for _, text := range []string{"good", "a line\nbreak", "as good"} {
		raw, err := bson.Marshal(bson.D{{Key: "_id", Value: text}})
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, syncd.Change{Target: &target, ID: text, Document: bsondoc.NewDocument(raw)})
	}
	in = slices.Insert(in, 0, syncd.Change{Target: &target, ID: "none"})
	err := s.Write(t.Context(), in)
	failed, ok := errors.AsType[*syncd.BatchError](err)
	if !ok || !slices.Equal(failed.Failed(), []int{0, 2}) || !errors.Is(failed.Of(2), errLineBreak) {
		t.Fatalf("error %v", err)
	}
	if !errors.Is(failed.Of(0), syncd.ErrNotEncodable) || !errors.Is(failed.Of(2), syncd.ErrNotEncodable) {
		t.Errorf("errors %v, %v", failed.Of(0), failed.Of(2))
	}
	lines := len(content(t, path))
	for i, c := range in {
		if i%2 == 0 && c.Bytes != 0 || i%2 == 1 && (c.Bytes < 20 || int(c.Bytes) > lines) {
			t.Errorf("change %d: %d bytes", i, c.Bytes)
		}
		if c.Placement.Known {
			t.Errorf("change %d: %+v", i, c.Placement)
		}
	}
}

// TestRunID: the id of the run that prepared the sink stands in the headers.
func TestRunID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := start(t, config(path, func(c *Config) { c.Format = formatEnvelope }))
	if err := s.Abilities().Prepare(t.Context(), syncd.Run{ID: "run-1"}); err != nil {
		t.Fatal(err)
	}
	target := syncd.Target{Database: "db", Collection: "page"}
	if err := s.Write(t.Context(), []syncd.Change{{Target: &target, ID: "1", Operation: syncd.Delete}}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, path); !strings.Contains(got, `{"name":"syncd-run-id","value":"run-1"}`) {
		t.Errorf("content %s", got)
	}
}

// TestDerive: a file of dead letters beside this one has events of the same form, and is else a file of its own.
func TestDerive(t *testing.T) {
	c := config("events.ndjson", func(c *Config) {
		c.Format, c.Mode, c.Sync = formatEnvelope, modeTruncate, "close"
		c.Event.DeleteFormat = codec.DeleteTombstone
	})
	want := defaults()
	want.Event = c.Event
	if diff := cmp.Diff(&want, c.Derive()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPreview is what a plan shows of a change, of which nothing is written.
func TestPreview(t *testing.T) {
	c := config("none", func(c *Config) { c.Event.DeleteFormat = codec.DeleteTombstone })
	target := syncd.Target{Database: "db", Collection: "page"}
	key, value, err := c.Preview(&syncd.Change{Target: &target, ID: "1", Reference: true})
	if err != nil || string(key) != "1" || string(value) != `{"operationType":"insert","ns":{"db":"db","coll":"page"},"documentKey":{"_id":"1"}}` {
		t.Errorf("%s %s, %v", key, value, err)
	}
	if key, value, err = c.Preview(&syncd.Change{Target: &target, ID: "1", Operation: syncd.Delete}); err != nil || string(key) != "1" || value != nil {
		t.Errorf("%s %s, %v", key, value, err)
	}
	if _, _, err = c.Preview(&syncd.Change{Target: &target, ID: "1"}); !errors.Is(err, syncd.ErrNotEncodable) {
		t.Errorf("error %v", err)
	}
}

func TestEnvelopeGolden(t *testing.T) {
	e := codec.Event{
		Target: syncd.Target{Database: "pm", Collection: "workItem", ContentType: "work_item", Topic: "own"},
		ID:     "1", Key: []byte("1"), Value: []byte(`{"a": "<b>"}`), Headers: []codec.Header{{Name: "syncd-reason", Value: "missing"}},
	}
	const want = `{"database":"pm","collection":"workItem","content_type":"work_item","topic":"own","id":"1",` +
		`"point_id":"00000000-0000-0000-0000-000000000000","key":"1","headers":[{"name":"syncd-reason","value":"missing"}],"value":{"a": "<b>"}}` + "\n"
	if diff := cmp.Diff(want, string(appendEnvelope(nil, &e))); diff != "" {
		t.Error(diff)
	}
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode, before, after string
		absent, refused     bool
	}{
		{mode: modeAppend, absent: true, after: "new\n"},
		{mode: modeAppend, before: "old\n", after: "old\nnew\n"},
		{mode: modeAppend, before: "old\nhal", after: "old\nhal\nnew\n"},
		{mode: modeTruncate, absent: true, after: "new\n"},
		{mode: modeTruncate, before: "old\n", after: "new\n"},
		{mode: modeCreate, absent: true, after: "new\n"},
		{mode: modeCreate, before: "old\n", after: "old\n", refused: true},
	} {
		t.Run(fmt.Sprintf("%s/%q", c.mode, c.before), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "out")
			if !c.absent {
				if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			conf := config(path, func(conf *Config) { conf.Mode = c.mode })
			s, err := open(t.Context(), conf, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
			if c.refused {
				if !errors.Is(err, fs.ErrExist) || syncd.HintOf(err) == "" {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// A dry run opens and closes.
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) != c.absent {
				t.Errorf("opening has created the file: %v", err)
			}
			if !c.absent && content(t, path) != c.before {
				t.Errorf("opening has changed the file: %q", content(t, path))
			}
			for range 2 {
				if err := s.Abilities().Prepare(t.Context(), syncd.Run{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := put(t.Context(), s.(*Sink), values("new")); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := content(t, path); got != c.after {
				t.Errorf("content %q, want %q", got, c.after)
			}
		})
	}
}

func TestBadPaths(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "none", "out"), filepath.Join(dir, "file", "out")} {
		_, err := open(t.Context(), config(path, nil), syncd.Env{Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", path, err)
		}
	}
}

func TestCanceled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	s := start(t, config(path, nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := put(ctx, s, values("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// disk is a file on a disk that can be full or failing.
type disk struct {
	output
	room     int   // bytes that fit; -1 means any number
	full     error // of a write that does not; nil is ENOSPC
	syncErr  error
	truncErr error
	syncs    int
}

func (d *disk) Write(b []byte) (int, error) {
	if d.room < 0 || len(b) <= d.room {
		return d.output.Write(b)
	}
	n, err := d.output.Write(b[:d.room])
	full := d.full
	if full == nil {
		full = syscall.ENOSPC
	}
	return n, errors.Join(err, &fs.PathError{Op: "write", Path: "the/path", Err: full})
}

func (d *disk) Sync() error {
	d.syncs++
	return errors.Join(d.syncErr, d.output.Sync())
}

func (d *disk) Truncate(n int64) error {
	if d.truncErr != nil {
		return d.truncErr
	}
	return d.output.Truncate(n)
}

func onDisk(t *testing.T, change func(*Config)) (*Sink, *disk, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	s := start(t, config(path, change))
	if err := put(t.Context(), s, values("first")); err != nil {
		t.Fatal(err)
	}
	d := &disk{output: s.out, room: -1}
	s.out = d
	return s, d, path
}

// However a disk is full, or a file at its limit, the error says what to do.
func TestFullDiskHint(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		s, d, _ := onDisk(t, nil)
		d.room, d.full = 0, full
		if err := put(t.Context(), s, values("second")); !errors.Is(err, full) || !strings.Contains(syncd.HintOf(err), "make room") {
			t.Errorf("%v, hint %q", err, syncd.HintOf(err))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFullDiskLeavesNoHalfLine(t *testing.T) {
	s, d, path := onDisk(t, nil)
	d.room = 10
	if err := put(t.Context(), s, values("second", "third")); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the/path") {
		t.Errorf("error %v", err)
	}
	if got := content(t, path); got != "first\n" {
		t.Errorf("content %q", got)
	}
	d.room = -1
	if err := put(t.Context(), s, values("fourth")); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := content(t, path); got != "first\nfourth\n" {
		t.Errorf("content %q", got)
	}
}

func TestWhatCanNotBeTakenBackBreaksTheSink(t *testing.T) {
	s, d, path := onDisk(t, nil)
	d.room, d.truncErr = 3, errors.New("no truncating")
	if err := put(t.Context(), s, values("second")); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "incomplete") {
		t.Errorf("error %v", err)
	}
	d.room = -1
	if err := put(t.Context(), s, values("third")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if got := content(t, path); got != "first\nsec" {
		t.Errorf("content %q", got)
	}
}

func TestOtherWritersLinesAreKept(t *testing.T) {
	s, d, path := onDisk(t, nil)
	other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteString("other\n"); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	d.room = 3
	if err := put(t.Context(), s, values("second")); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v", err)
	}
	if got := content(t, path); got != "first\nother\nsec" {
		t.Errorf("content %q", got)
	}
}

func TestSync(t *testing.T) {
	s, d, _ := onDisk(t, nil)
	if err := put(t.Context(), s, values("second")); err != nil || d.syncs != 1 {
		t.Errorf("%d syncs after a write: %v", d.syncs, err)
	}
	d.syncErr = syscall.EIO
	for range 2 { // an fsync that succeeds later proves nothing
		if err := put(t.Context(), s, values("third")); !errors.Is(err, syscall.EIO) {
			t.Errorf("error %v", err)
		}
		d.syncErr = nil
	}

	s, d, _ = onDisk(t, func(c *Config) { c.Sync = "close" })
	if err := put(t.Context(), s, values("second")); err != nil || d.syncs != 0 {
		t.Errorf("%d syncs after a write: %v", d.syncs, err)
	}
	if err := s.Close(); err != nil || d.syncs != 1 {
		t.Errorf("%d syncs after closing: %v", d.syncs, err)
	}
}

// TestStdout writes to the process's standard output, which stays open.
func TestStdout(t *testing.T) {
	before := os.Stdout
	defer func() { os.Stdout = before }()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = w
	s := start(t, config("-", nil))
	if err := errors.Join(put(t.Context(), s, values("one", "two")), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("still open"); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(r); err != nil || got.String() != "one\ntwo\nstill open" {
		t.Errorf("read %q, %v", got.String(), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, format := range []string{"value", "envelope"} {
		b.Run(format, func(b *testing.B) {
			s := start(b, config(filepath.Join(b.TempDir(), "out"), func(c *Config) { c.Format = format }))
			in := values(make([]string, 1000)...)
			for i := range in {
				in[i].Value = []byte(`{"text":"` + strings.Repeat("x", 700) + `"}`)
				in[i].Headers = []codec.Header{{Name: "syncd-reason", Value: "missing"}}
			}
			b.ReportAllocs()
			batch := &batch{Batch: codec.Batch{Events: in}}
			for b.Loop() {
				if err := s.write(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N*len(in))/float64(time.Microsecond), "µs/event")
		})
	}
}
