package api

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd/report"
)

// route is one entry of the interface: what is asked, and what is answered.
type route struct {
	method, path string // the path is behind the prefix
	about        string
	query        []parameter
	takes        any // of the type of the request's body; nil takes none
	gives        any // of the type of the answer; nil gives nothing
	status       int // where all is well
	refuses      []int
	media        string // of the answer; empty is JSON
	handler      http.HandlerFunc
}

// parameter is one of a request's query.
type parameter struct {
	name, about string
	needed      bool
	of          any
}

// table lists all routes. Every route may answer 503 as well: while the service starts, and while it ends.
func (a *API) table() []route {
	return []route{
		{method: "GET", path: "openapi.json", about: "This document.", gives: map[string]any{}, status: 200, handler: a.document},
		{method: "GET", path: "jobs", about: "How all jobs stand.", gives: Jobs{}, status: 200, handler: a.wanted(200, a.listJobs)},
		{method: "GET", path: "jobs/{name}", about: "How a job stands, with its last runs.", gives: Detail{}, status: 200, refuses: []int{404}, handler: a.wanted(200, a.showJob)},
		{
			method: "GET", path: "jobs/{name}/runs", about: "What became of a job's runs.", gives: Runs{}, status: 200, refuses: []int{400, 404},
			query: []parameter{{name: "limit", about: "How many at most, up to 1000; 50 if it is left out.", of: 0}}, handler: a.wanted(200, a.listRuns),
		},
		{
			method: "GET", path: "jobs/{name}/config", about: "A job's configuration as it takes effect, and where each setting was set.",
			gives: Config{}, status: 200, refuses: []int{404, 409}, handler: a.wanted(200, a.showConfig),
		},
		{
			method: "GET", path: "jobs/{name}/explain", about: "Follow one document: its seed, its point id, what the index holds, and why it would be sent or not.",
			query: []parameter{
				{name: "collection", about: "The document's collection.", needed: true, of: ""}, {name: "id", about: "The document's id.", needed: true, of: ""},
			},
			gives: report.Explanation{}, status: 200, refuses: []int{400, 404, 409, 429, 500}, handler: a.wanted(200, a.explain),
		},
		{
			method: "GET", path: "jobs/{name}/deadletters", about: "The documents that could not be sent, by the last dead letter of each.",
			query: []parameter{
				{name: "limit", about: "How many at most, up to 1000; 50 if it is left out.", of: 0},
				{name: "id", about: "Only the letter of this document, or at this place, with what there is of the document.", of: ""},
				{name: "collection", about: "Only those of this collection.", of: ""}, {name: "reason", about: "Only those whose reason holds this text.", of: ""},
			},
			gives: DeadLetters{}, status: 200, refuses: []int{400, 404, 409, 429, 500}, handler: a.wanted(200, a.listDeadLetters),
		},
		{
			method: "POST", path: "jobs/{name}/deadletters/retry",
			about: "Have the documents of dead letters sent again, as they are in the source now and as far as the index still lacks them.",
			takes: RetryRequest{}, gives: Retried{}, status: 202, refuses: []int{400, 404, 409, 413, 415, 429, 500}, handler: a.wanted(202, a.retryDeadLetters),
		},
		{method: "POST", path: "jobs/{name}/pause", about: "Have a job pause: it goes on where it was when it is resumed.", gives: Job{}, status: 202, refuses: []int{404}, handler: a.wanted(202, a.pause)},
		{method: "POST", path: "jobs/{name}/stop", about: "Have a job stop: meanwhile its state may be changed.", gives: Job{}, status: 202, refuses: []int{404}, handler: a.wanted(202, a.stop)},
		{method: "POST", path: "jobs/{name}/resume", about: "Have a job run that was paused or stopped, or that failed.", gives: Job{}, status: 202, refuses: []int{404}, handler: a.wanted(202, a.resume)},
		{method: "POST", path: "jobs/{name}/restart", about: "End the run under way and begin another, which resumes it.", gives: Job{}, status: 202, refuses: []int{404}, handler: a.wanted(202, a.restart)},
		{
			method: "POST", path: "jobs/{name}/runs", about: "Start a run of a job that waits, or have one that follows look at all documents again.",
			takes: RunRequest{}, gives: Job{}, status: 202, refuses: []int{400, 404, 409, 413, 415}, handler: a.wanted(202, a.startRun),
		},
		{
			method: "POST", path: "jobs/{name}/plan", about: "Find out what a run would send, beside the job's run. It sends nothing.",
			takes: PlanRequest{}, gives: Work{}, status: 202, refuses: []int{400, 404, 409, 413, 415, 429}, handler: a.wanted(202, a.startPlan),
		},
		{
			method: "POST", path: "jobs/{name}/verify", about: "Find out whether the index equals the source by every rule, beside the job's run. It sends nothing.",
			takes: VerifyRequest{}, gives: Work{}, status: 202, refuses: []int{400, 404, 409, 413, 415, 429}, handler: a.wanted(202, a.startVerify),
		},
		{method: "GET", path: "plans", about: "The plans that are kept, the newest first.", gives: Works{}, status: 200, handler: a.wanted(200, a.listWorks(kindPlan))},
		{method: "GET", path: "plans/{id}", about: "How far a plan is, and what it found.", gives: Work{}, status: 200, refuses: []int{404}, handler: a.wanted(200, a.showWork(kindPlan))},
		{method: "DELETE", path: "plans/{id}", about: "End a plan and forget it.", status: 204, refuses: []int{404}, handler: a.wanted(204, a.dropWork(kindPlan))},
		{method: "GET", path: "verifies", about: "The verifications that are kept, the newest first.", gives: Works{}, status: 200, handler: a.wanted(200, a.listWorks(kindVerify))},
		{method: "GET", path: "verifies/{id}", about: "How far a verification is, and what it found.", gives: Work{}, status: 200, refuses: []int{404}, handler: a.wanted(200, a.showWork(kindVerify))},
		{method: "DELETE", path: "verifies/{id}", about: "End a verification and forget it.", status: 204, refuses: []int{404}, handler: a.wanted(204, a.dropWork(kindVerify))},
		{
			method: "GET", path: "events", media: "text/event-stream", status: 200, refuses: []int{500}, handler: a.events,
			about: "Server-sent events: job (a Job) for every job at first, and then for each that has changed, every second while something is under way; " +
				"work (a Work) for plans and verifications likewise; job-removed and work-removed (a Removed) for what is gone.",
		},
	}
}

// handler is the table as a mux.
func (a *API) handler() *http.ServeMux {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, r := range a.routes {
		mux.Handle(r.method+" "+prefix+r.path, r.handler)
		methods[r.path] = append(methods[r.path], r.method)
	}
	for path, allowed := range methods {
		if slices.Contains(allowed, "GET") {
			allowed = append(allowed, "HEAD")
		}
		slices.Sort(allowed)
		list := strings.Join(allowed, ", ")
		mux.HandleFunc(prefix+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", list)
			a.fail(w, r, &Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Text: "this can't be done here", Hint: "what can be is " + list})
		})
	}
	mux.HandleFunc(prefix, func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, &Error{Status: http.StatusNotFound, Code: "not_found", Text: "there is nothing here", Hint: "GET " + prefix + "openapi.json says what there is"})
	})
	return mux
}

// document describes the interface.
func (a *API) document(w http.ResponseWriter, _ *http.Request) {
	a.answer(w, http.StatusOK, a.openAPI())
}

// openAPI is the table as an OpenAPI document.
func (a *API) openAPI() map[string]any {
	known := schemas{}
	problem, refusal := known.of(Error{}), known.of(Refusal{})
	known.of(Removed{})
	paths := map[string]map[string]any{}
	for _, r := range a.routes {
		path := prefix + r.path
		if paths[path] == nil {
			paths[path] = map[string]any{}
		}
		operation := map[string]any{"summary": r.about, "operationId": operationID(r)}
		var parameters []any
		for _, name := range slices.Sorted(maps.Keys(pathParameters(r.path))) {
			parameters = append(parameters, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
		for _, q := range r.query {
			parameters = append(parameters, map[string]any{"name": q.name, "in": "query", "required": q.needed, "description": q.about, "schema": known.of(q.of)})
		}
		if parameters != nil {
			operation["parameters"] = parameters
		}
		if r.takes != nil {
			operation["requestBody"] = map[string]any{"required": false, "content": content("application/json", known.of(r.takes))}
		}
		answers := map[string]any{}
		good := map[string]any{"description": "It worked."}
		switch {
		case r.media != "":
			good["content"] = content(r.media, map[string]any{"type": "string"})
		case r.gives != nil:
			good["content"] = content("application/json", known.of(r.gives))
		}
		answers[status(r.status)] = good
		for _, s := range append(slices.Clone(r.refuses), http.StatusServiceUnavailable) {
			answers[status(s)] = map[string]any{"description": http.StatusText(s) + ".", "content": content("application/json", problem)}
		}
		for _, s := range []int{http.StatusUnauthorized, http.StatusForbidden} {
			answers[status(s)] = map[string]any{"description": http.StatusText(s) + ".", "content": content("application/json", refusal)}
		}
		operation["responses"] = answers
		paths[path][strings.ToLower(r.method)] = operation
	}
	version := a.o.Version
	if version == "" {
		version = "unknown"
	}
	return map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "syncd", "version": version, "license": map[string]any{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "The jobs of a syncd service: how they stand, what is wanted of them, and comparisons that send nothing.",
		},
		"paths": paths, "components": map[string]any{
			"schemas": known,
			"securitySchemes": map[string]any{
				"password": map[string]any{"type": "http", "scheme": "basic"}, "token": map[string]any{"type": "http", "scheme": "bearer"},
				"certificate": map[string]any{"type": "mutualTLS"},
			},
		},
		// Without users, which only a loopback address allows, nobody has to say who they are.
		"security": []any{map[string]any{"password": []any{}}, map[string]any{"token": []any{}}, map[string]any{"certificate": []any{}}, map[string]any{}},
	}
}

func content(media string, schema any) map[string]any {
	return map[string]any{media: map[string]any{"schema": schema}}
}

func status(code int) string { return strconv.Itoa(code) }

// operationID is the method and the path as a name.
func operationID(r route) string {
	var name strings.Builder
	name.WriteString(strings.ToLower(r.method))
	for _, part := range strings.FieldsFunc(r.path, func(c rune) bool { return c == '/' || c == '{' || c == '}' || c == '.' }) {
		name.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return name.String()
}

// pathParameters are the names in braces.
func pathParameters(path string) map[string]bool {
	names := map[string]bool{}
	for _, part := range strings.Split(path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names[strings.TrimSuffix(name, "}")] = true
		}
	}
	return names
}
