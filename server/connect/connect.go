// Package connect is Kafka Connect's REST API over a host of jobs, for the clients that people have: a connector is a job, a task is a
// collection of it or what it follows, offsets are the checkpoints that it keeps, and a connector's configuration is what the job's
// file sets, flat (see config.Forms).
//
// Where to look: connect.go finds the route of a request and writes its answer; connectors.go and lifecycle.go show and drive jobs;
// write.go adds, changes and deletes their files; offsets.go has the checkpoints; plugins.go what can be configured; levels.go the
// levels of the log.
//
// Invariants:
//   - codes, names of fields and texts are those of Kafka Connect 4.3.1, but for what testdata/differences.txt lists;
//   - no answer holds a secret;
//   - who only asks waits for no job, and nothing is written unless the service is writable.
package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job/host"
)

const (
	// like is the version of Kafka Connect that this API is like: clients choose by it what they ask.
	like = "4.3.1"

	maxBody       = 1 << 20
	answerTimeout = 30 * time.Second
	stopPatience  = 10 * time.Second // for a job that is to be stopped to have stopped
)

// Options are what the API is about.
type Options struct {
	Host     *host.Host
	Registry *syncd.Registry
	Environ  []string                      // that configurations are read with
	StateDir func(c *config.Config) string // where a job keeps how far it came
	Levels   *Levels                       // of the log
	Writable bool                          // connectors may be added, changed and deleted
	Version  string                        // of syncd
	Page     string                        // path of the page that a browser is sent to; empty where there is none
	By       func(r *http.Request) string  // who asks; nil is the address
	// CanOperate reports whether who asks may drive jobs; nil lets everybody.
	CanOperate func(r *http.Request) bool
	Logger     *slog.Logger
}

// API answers requests. It is an http.Handler.
type API struct {
	Options
	forms   func() *config.Forms
	plugins func() []plugin
	routes  []route
	flats   flats
	writing sync.Mutex // one change of a file at a time
}

// New returns the API.
func New(o Options) *API {
	a := &API{Options: o}
	a.forms = sync.OnceValue(func() *config.Forms { return config.FormsOf(o.Registry) })
	a.plugins = sync.OnceValue(a.findPlugins)
	a.routes = a.table()
	return a
}

// route is a path, in which * is any name, and what it does by method.
type route struct {
	path    string
	methods map[string]func(*request) (answer, error)
}

func (a *API) table() []route {
	type m = map[string]func(*request) (answer, error)
	return []route{
		{"", m{"GET": a.root}},
		{"health", m{"GET": a.health}},
		{"connectors", m{"GET": a.list, "POST": a.create}},
		{"connectors/*", m{"GET": a.connector, "DELETE": a.remove}},
		{"connectors/*/config", m{"GET": a.config, "PUT": a.putConfig, "PATCH": a.patchConfig}},
		{"connectors/*/status", m{"GET": a.status}},
		{"connectors/*/tasks", m{"GET": a.tasks}},
		{"connectors/*/tasks/*/status", m{"GET": a.taskStatus}},
		{"connectors/*/tasks/*/restart", m{"POST": a.restartTask}},
		{"connectors/*/topics", m{"GET": a.topics}},
		{"connectors/*/topics/reset", m{"PUT": a.resetTopics}},
		{"connectors/*/pause", m{"PUT": a.pause}},
		{"connectors/*/resume", m{"PUT": a.resume}},
		{"connectors/*/stop", m{"PUT": a.stop}},
		{"connectors/*/restart", m{"POST": a.restart}},
		{"connectors/*/offsets", m{"GET": a.offsets, "PATCH": a.alterOffsets, "DELETE": a.resetOffsets}},
		{"connector-plugins", m{"GET": a.listPlugins}},
		{"connector-plugins/*/config", m{"GET": a.pluginConfig}},
		{"connector-plugins/*/config/validate", m{"PUT": a.validate}},
		{"admin/loggers", m{"GET": a.loggers}},
		{"admin/loggers/*", m{"GET": a.logger, "PUT": a.setLogger}},
	}
}

// request is a request and the names in its path.
type request struct {
	*http.Request
	names []string
	query url.Values
	body  []byte
}

// job is the connector that a request is about.
func (q *request) job() string { return q.names[0] }

// flag is a switch of the query, in any case.
func (q *request) flag(name string) bool { return strings.EqualFold(q.query.Get(name), "true") }

// worker is the address at which the request came.
func (q *request) worker() string {
	if addr, ok := q.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return addr.String()
	}
	return q.Host
}

// answer is what a request gets; a nil body is none.
type answer struct {
	code     int // 0 is 200
	body     any
	location string
}

// failure is an error with its code.
type failure struct {
	code    int
	message string
}

func (f *failure) Error() string { return f.message }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Sprintf(format, args...)}
}

// errorBody is what every error says.
type errorBody struct {
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

// ServeHTTP answers a request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // where it can't be set, the writing fails as well
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if a.Page != "" && r.URL.Path == "/" && r.Method == http.MethodGet && wantsPage(r) {
		http.Redirect(w, r, a.Page, http.StatusFound)
		return
	}
	names, route := a.find(r.URL)
	switch {
	case route == nil:
		refuse(w, r, http.StatusNotFound)
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", route.allow())
		w.Header().Set("Content-Type", "application/json")
	case route.handler(r.Method) == nil:
		w.Header().Set("Allow", route.allow())
		refuse(w, r, http.StatusMethodNotAllowed)
	case !accepts(r):
		refuse(w, r, http.StatusNotAcceptable)
	case !sendsJSON(r):
		refuse(w, r, http.StatusUnsupportedMediaType)
	case !a.Host.Ready():
		a.write(w, r, answer{}, fail(http.StatusServiceUnavailable, "the files of the jobs are being read"))
	default:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			err = fail(http.StatusBadRequest, "the request could not be read: %v", err)
			if _, large := errors.AsType[*http.MaxBytesError](err); large || len(body) >= maxBody {
				err = fail(http.StatusRequestEntityTooLarge, "the request is larger than %d bytes", maxBody)
			}
			a.write(w, r, answer{}, err)
			return
		}
		ans, err := route.handler(r.Method)(&request{r, names, r.URL.Query(), body})
		a.write(w, r, ans, err)
	}
}

// find returns the route of a path, and the names in it.
func (a *API) find(u *url.URL) ([]string, *route) {
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "/"), "/"), "/")
	for i := range a.routes {
		want := strings.Split(a.routes[i].path, "/")
		if len(want) != len(parts) {
			continue
		}
		var names []string
		fits := true
		for k, part := range parts {
			name, err := url.PathUnescape(part)
			fits = fits && err == nil && (want[k] == part || want[k] == "*" && name != "")
			if want[k] == "*" {
				names = append(names, name)
			}
		}
		if fits {
			return names, &a.routes[i]
		}
	}
	return nil, nil
}

func (r *route) handler(method string) func(*request) (answer, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return r.methods[method]
}

func (r *route) allow() string {
	allowed := []string{http.MethodOptions}
	for method := range r.methods {
		if allowed = append(allowed, method); method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return strings.Join(allowed, ",")
}

// accepts reports whether the client takes JSON.
func accepts(r *http.Request) bool {
	lines := r.Header.Values("Accept")
	if len(lines) == 0 {
		return true
	}
	for part := range strings.SplitSeq(strings.Join(lines, ","), ",") {
		kind, _, _ := mime.ParseMediaType(part)
		if kind == "*/*" || kind == "application/*" || kind == "application/json" || strings.TrimSpace(part) == "" && len(lines) == 1 && lines[0] == "" {
			return true
		}
	}
	return false
}

// wantsPage reports whether a browser asks.
func wantsPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// sendsJSON reports whether what the client sends is JSON, or nothing.
func sendsJSON(r *http.Request) bool {
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return true
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/json"
}

// refuse answers what no route takes, as Connect's router does.
func refuse(w http.ResponseWriter, r *http.Request, code int) {
	w.Header()["Content-Type"] = nil // and none is guessed
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(errorBody{code, "HTTP " + strconv.Itoa(code) + " " + http.StatusText(code)})
	}
}

// write writes an answer, or an error in its place.
func (a *API) write(w http.ResponseWriter, r *http.Request, ans answer, err error) {
	if err != nil {
		f, known := errors.AsType[*failure](err)
		if !known {
			f = &failure{http.StatusInternalServerError, said(err)}
			a.Logger.Warn("a request failed", "method", r.Method, "path", text.Line(r.URL.Path), "error", err.Error())
		}
		ans = answer{code: f.code, body: errorBody{f.code, f.message}}
	}
	if ans.location != "" {
		w.Header().Set("Location", ans.location)
	}
	code := ans.code
	if code == 0 {
		code = http.StatusOK
	}
	if ans.body == nil {
		w.Header()["Content-Type"] = nil
		w.WriteHeader(code)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(ans.body) // whoever asked may have gone
	}
}

// said is an error and what to do about it.
func said(err error) string {
	message := err.Error()
	if hint := syncd.HintOf(err); hint != "" {
		message += "; " + hint
	}
	return message
}

// by is who asks, for the log.
func (a *API) by(q *request) string {
	if a.By != nil {
		return a.By(q.Request)
	}
	return q.RemoteAddr
}

// decode reads a body that must be one value of JSON, with no other fields than v has.
func decode(body []byte, v any) error {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fail(http.StatusBadRequest, "the request can't be read: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fail(http.StatusBadRequest, "the request can't be read: there is something behind its end")
	}
	return nil
}

// root tells the version.
func (a *API) root(*request) (answer, error) {
	version := like
	if a.Version != "" {
		version += "-syncd-" + a.Version
	}
	return answer{body: struct {
		Version string `json:"version"`
		Commit  string `json:"commit"`
		Cluster string `json:"kafka_cluster_id"`
	}{version, a.Version, "syncd"}}, nil
}

// health tells whether the jobs' folders can be read; that a job fails is told by its status.
func (a *API) health(*request) (answer, error) {
	type health struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	if problem := a.Host.Problem(); problem != "" {
		return answer{http.StatusInternalServerError, health{"unhealthy", "The jobs' files can't be read: " + problem}, ""}, nil
	}
	return answer{body: health{"healthy", "Worker has completed startup and is ready to handle requests."}}, nil
}
