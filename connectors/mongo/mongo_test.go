package mongo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPluginDeclaration(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func config(uri string) *Config {
	cfg := Plugin().Config().(*Config)
	cfg.URI, cfg.Database = secret(uri), "db"
	return cfg
}

func openStub(t *testing.T, s *stub) *source {
	t.Helper()
	cfg := config("mongodb://" + s.addr() + "/")
	cfg.BatchSize = 7
	src, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return src.(*source)
}

func openAndClose(t *testing.T, s *stub) *source {
	t.Helper()
	src := openStub(t, s)
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func TestConformance(t *testing.T) {
	for name, setup := range map[string]func(*stub){
		"bounds obeyed":   func(*stub) {},
		"bounds ignored":  func(s *stub) { s.ignoreBounds = true },
		"bounds rejected": func(s *stub) { s.rejectBounds = true },
	} {
		t.Run(name, func(t *testing.T) {
			server := newStub(t)
			setup(server)
			syncdtest.TestSource(t, syncdtest.SourceHarness{
				Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
					all := make([]any, len(docs))
					for i, d := range docs {
						all[i] = d.Map()
					}
					server.set(t, collection, all...)
					return openStub(t, server)
				},
				Delete: func(t *testing.T, collection, id string) { server.remove(collection, value(t, id)) },
				Drop:   func(t *testing.T, collection string) { server.drop(collection) },
				Filter: func(field, text string) string { return fmt.Sprintf("{%q: %q}", field, text) },
			})
		})
	}
}

func value(t testing.TB, v any) bson.RawValue {
	t.Helper()
	typ, b, err := bson.MarshalValue(v)
	if err != nil {
		t.Fatal(err)
	}
	return bson.RawValue{Type: typ, Value: b}
}

// mixed has an id of every type that the driver can write and MongoDB accepts, and neighbours that compare closely.
func mixed() []any {
	oid, _ := bson.ObjectIDFromHex("507f1f77bcf86cd799439011")
	dec, _ := bson.ParseDecimal128("1.5")
	huge, _ := bson.ParseDecimal128("1E+6000")
	ids := []any{
		bson.MinKey{}, bson.MaxKey{}, int32(1), int64(1 << 60), 1.25, dec, huge, -1e300, int64(-5), "", "a", "a\x00b", "b",
		bson.D{{Key: "a", Value: 1}}, bson.D{{Key: "a", Value: "x"}}, bson.D{{Key: "a", Value: 1}, {Key: "b", Value: 1}}, bson.D{},
		bson.Binary{Subtype: 4, Data: make([]byte, 16)}, bson.Binary{Data: []byte{9}}, oid, true, false,
		bson.DateTime(-1), bson.DateTime(0), bson.Timestamp{T: 1}, bson.Symbol("c"), bson.JavaScript("x"),
		bson.CodeWithScope{Code: "x", Scope: bson.D{{Key: "a", Value: 1}}}, bson.DBPointer{DB: "d", Pointer: oid},
	}
	docs := make([]any, len(ids))
	for i, id := range ids {
		docs[i] = bson.D{{Key: "_id", Value: id}, {Key: "n", Value: i}}
	}
	return docs
}

func readKeys(ctx context.Context, s syncd.Source, req syncd.ReadRequest) ([]syncd.Key, error) {
	var out []syncd.Key
	req.Split.Collection.Name = "c"
	req.BatchSize = max(req.BatchSize, 4)
	for batch, err := range s.Read(ctx, req) {
		if err != nil {
			return out, err
		}
		for _, c := range batch.Changes {
			out = append(out, c.Key)
		}
	}
	return out, nil
}

func TestMixedIDsResumeEverywhere(t *testing.T) {
	for name, setup := range map[string]func(*stub){
		"obeyed":   func(*stub) {},
		"ignored":  func(s *stub) { s.ignoreBounds = true },
		"rejected": func(s *stub) { s.rejectBounds = true },
	} {
		t.Run(name, func(t *testing.T) {
			server := newStub(t)
			setup(server)
			server.set(t, "c", mixed()...)
			src := openAndClose(t, server)
			all, err := readKeys(t.Context(), src, syncd.ReadRequest{})
			if err != nil || len(all) != len(mixed()) {
				t.Fatalf("%d of %d documents, %v", len(all), len(mixed()), err)
			}
			found := 0
			for f, err := range src.Fetch(t.Context(), syncd.Collection{Name: "c"}, all) {
				if err != nil || f.Document == nil {
					t.Fatal(err)
				}
				found++
			}
			if found != len(all) {
				t.Errorf("Fetch found %d of %d", found, len(all))
			}
			for i, after := range all {
				rest, err := readKeys(t.Context(), src, syncd.ReadRequest{After: syncd.Offset(after)})
				if err != nil || !slices.Equal(rest, all[i+1:]) {
					t.Errorf("after %q: %q, %v; want %q", after, rest, err, all[i+1:])
				}
				for j := i; j < len(all); j++ {
					split := syncd.Split{Lower: after, Upper: all[j]}
					part, err := readKeys(t.Context(), src, syncd.ReadRequest{Split: split})
					if err != nil || !slices.Equal(part, all[i:j]) {
						t.Errorf("[%d, %d): %q, %v; want %q", i, j, part, err, all[i:j])
					}
				}
			}
			// Once more, with the document to continue behind deleted.
			for i, after := range all {
				id, err := parsed(after)
				if err != nil {
					t.Fatal(err)
				}
				server.set(t, "c", mixed()...)
				server.remove("c", id)
				rest, err := readKeys(t.Context(), src, syncd.ReadRequest{After: syncd.Offset(after)})
				if err != nil || !slices.Equal(rest, all[i+1:]) {
					t.Errorf("after the deleted %q: %q, %v; want %q", after, rest, err, all[i+1:])
				}
			}
		})
	}
}

// faults fails every second command of a name, n times, and counts.
type faults struct {
	name  string
	reply bson.D
	cut   bool
	left  atomic.Int32
	calls atomic.Int32
}

func (f *faults) intercept(name string, _ bson.Raw) (bson.D, bool) {
	if name != f.name || f.calls.Add(1)%2 == 1 || f.left.Add(-1) < 0 {
		return nil, false
	}
	return f.reply, f.cut
}

func TestReadSurvivesPassingFaults(t *testing.T) {
	var docs []any
	for i := range 60 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	for name, f := range map[string]*faults{
		"cursor not found": {name: "getMore", reply: failure(43, "CursorNotFound")},
		"killed":           {name: "getMore", reply: failure(237, "CursorKilled")},
		"stepped down":     {name: "getMore", reply: failure(189, "PrimarySteppedDown")},
		"cut":              {name: "getMore", cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newStub(t)
			server.set(t, "c", docs...)
			f.left.Store(2)
			server.intercept = f.intercept
			src := openAndClose(t, server)
			for _, documents := range []bool{false, true} {
				keys, err := readKeys(t.Context(), src, syncd.ReadRequest{Documents: documents})
				if err != nil {
					t.Fatal(err)
				}
				if len(keys) != len(docs) || len(slices.Compact(slices.Sorted(slices.Values(keys)))) != len(docs) {
					t.Errorf("%d keys of %d documents", len(keys), len(docs))
				}
			}
			if f.left.Load() > 0 {
				t.Error("no fault happened")
			}
		})
	}
}

func TestFetchSurvivesPassingFaults(t *testing.T) {
	t.Parallel()
	server := newStub(t)
	var docs []any
	for i := range 50 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	server.set(t, "c", docs...)
	src := openAndClose(t, server)
	keys, err := readKeys(t.Context(), src, syncd.ReadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	// The first find gives one document and a cursor that is lost; the second is left alone.
	finds := 0
	server.mu.Lock()
	server.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
		switch name {
		case "find":
			if finds++; finds == 1 {
				id, _ := parsed(keys[3])
				return cursorReply(99, "firstBatch", bson.A{bson.D{{Key: "_id", Value: id}}}), false
			}
		case "getMore":
			if cmd.Lookup("getMore").AsInt64() == 99 {
				return failure(43, "CursorNotFound"), false
			}
		}
		return nil, false
	}
	server.mu.Unlock()
	seen := map[int]int{}
	for f, err := range src.Fetch(t.Context(), syncd.Collection{Name: "c"}, keys) {
		if err != nil {
			t.Fatal(err)
		}
		seen[f.Index]++
	}
	for i := range keys {
		if seen[i] != 1 {
			t.Errorf("key %d was yielded %d times", i, seen[i])
		}
	}
	last := server.sent("find")
	in, _ := last[len(last)-1].Lookup("filter", "_id", "$in").Array().Values()
	if len(in) != len(keys)-1 {
		t.Errorf("the second question was for %d documents, want %d", len(in), len(keys)-1)
	}
}

func TestFetchChunksAndFilters(t *testing.T) {
	server := newStub(t)
	var docs []any
	for i := range 2100 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "even", Value: i%2 == 0}})
	}
	server.set(t, "c", docs...)
	src := openAndClose(t, server)
	keys, err := readKeys(t.Context(), src, syncd.ReadRequest{BatchSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	before := len(server.sent("find"))
	found := 0
	for f, err := range src.Fetch(t.Context(), syncd.Collection{Name: "c", Filter: `{"even": true}`}, append(keys, keys[0])) {
		if err != nil {
			t.Fatal(err)
		}
		if v, err := f.Document.Lookup("even"); err != nil || v.Text != "true" {
			t.Fatalf("a document that the filter excludes: %v, %v", v, err)
		}
		found++
	}
	if found != 1051 { // the first key is asked for twice
		t.Errorf("found %d", found)
	}
	if n := len(server.sent("find")) - before; n != 3 {
		t.Errorf("%d finds", n)
	}
}

func TestPersistentFaultsEnd(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}})
	src := openAndClose(t, server)
	var calls atomic.Int32
	server.mu.Lock()
	server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
		if name != "find" {
			return nil, false
		}
		calls.Add(1)
		return failure(2, "BadValue"), false
	}
	server.mu.Unlock()
	_, err := readKeys(t.Context(), src, syncd.ReadRequest{})
	// The second is without the hint, which might have been to blame.
	if err == nil || errors.Is(err, syncd.ErrUnavailable) || !strings.HasPrefix(err.Error(), "reading collection c: ") || calls.Load() != 2 {
		t.Errorf("after %d calls: %v", calls.Load(), err)
	}
}

func TestNotAuthorized(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}})
	forbid := func(names ...string) {
		server.mu.Lock()
		defer server.mu.Unlock()
		server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
			if slices.Contains(names, name) {
				return failure(codeUnauthorized, "Unauthorized"), false
			}
			return nil, false
		}
	}
	src := openAndClose(t, server)
	forbid("listCollections")
	if splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"}); err != nil || len(splits) != 1 {
		t.Errorf("who may not list may still read: %v", err)
	}
	server.mu.Lock()
	server.estimates = map[string]int64{"c": 1e6} // so that there are bounds to ask for
	server.mu.Unlock()
	forbid("find", "listCollections")
	_, splitErr := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
	_, readErr := readKeys(t.Context(), src, syncd.ReadRequest{})
	for _, err := range []error{splitErr, readErr} {
		if err == nil || !strings.Contains(err.Error(), "not authorized on database db") || !strings.Contains(syncd.HintOf(err), "login") {
			t.Errorf("%v; hint %q", err, syncd.HintOf(err))
		}
	}
}

// Some may list names and nothing else about collections.
func TestAuthorizedForNamesOnly(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: "a"}}, bson.D{{Key: "_id", Value: "b"}})
	server.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
		if only, _ := cmd.Lookup("nameOnly").BooleanOK(); name == "listCollections" && !only {
			return failure(codeUnauthorized, "Unauthorized"), false
		}
		return nil, false
	}
	src := openAndClose(t, server)
	splits, err := splitsOf(t.Context(), src, syncd.Collection{Name: "c"})
	if err != nil || len(splits) != 1 || splits[0].Upper != "" {
		t.Errorf("%+v, %v; want one split without an end, since the order of text is unknown", splits, err)
	}
	if _, err := splitsOf(t.Context(), src, syncd.Collection{Name: "no"}); !errors.Is(err, syncd.ErrCollectionNotFound) {
		t.Errorf("%v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	server := newStub(t)
	cfg := config("mongodb://mia:s3cr%40t@" + server.addr() + "/?authSource=admin")
	_, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{})
	if err == nil || !strings.Contains(err.Error(), `authentication failed for user "mia" at `+server.addr()) || errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(syncd.HintOf(err), "authSource") {
		t.Errorf("hint %q", syncd.HintOf(err))
	}
	noSecret(t, err, "s3cr%40t", "s3cr@t")
}

func noSecret(t *testing.T, err error, secrets ...string) {
	t.Helper()
	for err := range chain(err) {
		for _, s := range secrets {
			for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %q", err, err, err), syncd.HintOf(err)} {
				if strings.Contains(text, s) {
					t.Errorf("%q is in: %s", s, text)
				}
			}
		}
	}
}

func chain(err error) func(func(error) bool) {
	return func(yield func(error) bool) {
		for todo := []error{err}; len(todo) > 0; todo = todo[1:] {
			if todo[0] == nil {
				continue
			}
			if !yield(todo[0]) {
				return
			}
			switch e := todo[0].(type) { //nolint:errorlint // walks the chain itself
			case interface{ Unwrap() error }:
				todo = append(todo, e.Unwrap())
			case interface{ Unwrap() []error }:
				todo = append(todo, e.Unwrap()...)
			}
		}
	}
}

func TestUnreachable(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cfg := config("mongodb://mia:s3cret@" + addr + "/")
	cfg.ConnectTimeout = 200 * time.Millisecond
	_, err = Plugin().OpenSource(t.Context(), cfg, syncd.Env{})
	if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "no usable server at "+addr) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	if syncd.HintOf(err) == "" {
		t.Error("no hint")
	}
	noSecret(t, err, "s3cret")
}

// listen starts a server that does no more than serve with each connection, and keeps it open.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
			serve(c)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

func TestServersThatDoNotAnswer(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"silent":  func(net.Conn) {},
		"cutting": func(c net.Conn) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			addr := listen(t, serve)
			cfg := config("mongodb://" + addr + "/")
			cfg.ConnectTimeout = 200 * time.Millisecond
			_, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{})
			if !errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), addr) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestNoTLS(t *testing.T) {
	addr := listen(t, func(c net.Conn) {
		_, _ = c.Write([]byte("this is not a handshake record"))
	})
	cfg := config("mongodb://" + addr + "/?tls=true")
	cfg.ConnectTimeout = 200 * time.Millisecond
	_, err := Plugin().OpenSource(t.Context(), cfg, syncd.Env{})
	if err == nil || !strings.Contains(err.Error(), "securing the connection to "+addr) || !strings.Contains(syncd.HintOf(err), "tls=false") {
		t.Errorf("%v; hint %q", err, syncd.HintOf(err))
	}
}

func TestMissingCertificateFile(t *testing.T) {
	_, err := Plugin().OpenSource(t.Context(), config("mongodb://localhost/?tlsCAFile=/no/such/file.pem"), syncd.Env{})
	if err == nil || errors.Is(err, syncd.ErrUnavailable) || !strings.Contains(err.Error(), "/no/such/file.pem") {
		t.Errorf("%v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	addr := listen(t, func(net.Conn) {})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Plugin().OpenSource(ctx, config("mongodb://"+addr+"/"), syncd.Env{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestCountHint(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "_id", Value: 2}})
	server.intercept = func(name string, cmd bson.Raw) (bson.D, bool) {
		if _, err := cmd.LookupErr("hint"); name == "aggregate" && err == nil {
			return failure(2, "BadValue"), false // as for a view
		}
		return nil, false
	}
	src := openAndClose(t, server)
	for filter, want := range map[string]int64{"": 2, `{"_id": 1}`: 1} {
		if n, err := src.Count(t.Context(), syncd.Collection{Name: "c", Filter: filter}); err != nil || n != want {
			t.Errorf("filter %q: %d, %v", filter, n, err)
		}
	}
}

func TestIDsOnlyAsksForIDsOnly(t *testing.T) {
	server := newStub(t)
	server.set(t, "c", bson.D{{Key: "_id", Value: 1}})
	src := openAndClose(t, server)
	for _, c := range []struct {
		req  syncd.ReadRequest
		want string
	}{
		{syncd.ReadRequest{}, `{"_id":1}`},
		{syncd.ReadRequest{Fields: []string{"a.b", "updatedAt"}}, `{"_id":1,"a.b":1,"updatedAt":1}`},
		{syncd.ReadRequest{Fields: []string{"a"}, Documents: true}, ""},
	} {
		if _, err := readKeys(t.Context(), src, c.req); err != nil {
			t.Fatal(err)
		}
		finds := server.sent("find")
		got := ""
		if p, err := finds[len(finds)-1].LookupErr("projection"); err == nil {
			b, err := bson.MarshalExtJSON(p.Document(), false, false)
			if err != nil {
				t.Fatal(err)
			}
			got = string(b)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(diff)
		}
	}
}
