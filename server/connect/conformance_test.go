package connect_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// call is what a worker of Kafka Connect 4.3.1 was asked, with a connector FileStreamSource, and what it answered.
type call struct {
	Pause   int               `json:"pause"` // until what was asked for has happened
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Body    json.RawMessage   `json:"body"`
	Raw     *string           `json:"raw"` // a body that is no JSON
	Type    string            `json:"type"`
	Headers map[string]string `json:"headers"`
	Want    struct {
		Status   int             `json:"status"`
		Type     string          `json:"type"`
		Location string          `json:"location"`
		Allow    string          `json:"allow"`
		JSON     json.RawMessage `json:"json"`
		Begins   string          `json:"begins"` // of a long body
		Text     string          `json:"text"`
	} `json:"want"`
}

// toHere has the requests' names be those of the plugins in memory; toThere has the answers' be Connect's again.
var (
	toHere = strings.NewReplacer(
		"org.apache.kafka.connect.file.FileStreamSourceConnector", "FileStreamSourceConnector",
		`"file":`, `"source.fileStream.file":`, `"topic":`, `"sink.fileStream.topic":`, `"batch.size":`, `"run.batch_size":`,
		`{"filename":"in.txt"}`, `{"stream":"memory"}`, `{"position":0}`, `{"after":"#0"}`,
	)
	toThere = strings.NewReplacer(
		"org.apache.kafka.connect.file.FileStreamSourceConnector", "FileStreamSource", "org.apache.kafka.connect.file.FileStreamSinkConnector", "FileStreamSink",
		"source.fileStream.file", "file", "sink.fileStream.topic", "topic", "run.batch_size", "batch.size", "sink.fileStream", "FileStreamSink",
		`"fileStream"`, `"FileStreamSource"`,
		`{"stream":"memory"}`, `{"filename":"in.txt"}`, `{"after":"#0"}`, `{"position":0}`, `{"after":"#2"}`, `{"position":8}`,
		"org.apache.kafka.connect.file", "job.f1", "org.apache.kafka.connect", "job.none",
	)
	paths = strings.NewReplacer("org.apache.kafka.connect.file", "job.f1", "org.apache.kafka.connect", "job.none")
)

// besides are settings that a job needs beside those of a FileStreamSource.
var besides = map[string]string{"mapping.collections.lines": "line", "run.mode": "full", "run.follow": "true"}

// ours is the body of a request for the plugins in memory.
func ours(t *testing.T, c call) string {
	if c.Raw != nil {
		return *c.Raw
	}
	if c.Body == nil {
		return ""
	}
	var b bytes.Buffer
	if err := json.Compact(&b, c.Body); err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(toHere.Replace(b.String())), &body); err != nil {
		t.Fatal(err)
	}
	settings, inside := body["config"].(map[string]any)
	if !inside {
		settings = body
	}
	if settings["connector.class"] != nil {
		for k, v := range besides {
			settings[k] = v
		}
		if settings["sink.fileStream.topic"] == nil {
			settings["sink.fileStream"] = ""
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var versions = regexp.MustCompile(`^(1|0\.0\.0|\d+\.\d+\.\d+(-syncd-.*)?)$`)

// alike is a body without what differs from server to server.
func alike(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			_, beside := besides[k]
			switch text, _ := x.(string); {
			case beside, strings.HasPrefix(k, "task."), k == "FileStreamSink":
				continue
			case k == "worker_id", k == "commit", k == "kafka_cluster_id", k == "version" && versions.MatchString(text):
				out[k] = "some"
				continue
			}
			out[k] = alike(x)
		}
		return out
	case []any:
		out := []any{}
		for _, x := range v {
			if m, ok := x.(map[string]any); ok && isFurther(m) {
				continue
			}
			out = append(out, alike(x))
		}
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		return out
	}
	return v
}

// isFurther reports whether an entry of a list is one of which the plugins have another number: a task behind the first, a position of a
// split beside the stream's.
func isFurther(m map[string]any) bool {
	if id, ok := m["id"].(map[string]any); ok {
		m = id
	}
	number := m["task"]
	if number == nil {
		number = m["id"]
	}
	if n, ok := number.(float64); ok {
		return n > 0
	}
	partition, _ := m["partition"].(map[string]any)
	return partition["split"] != nil
}

// first is what an answer is made of: the fields of a list's first entry, else its own.
func first(text string) string {
	dec := json.NewDecoder(strings.NewReader(text))
	if open, err := dec.Token(); err == nil && open == json.Delim('[') {
		var entry map[string]any
		if dec.Decode(&entry) == nil {
			return fmt.Sprint(slices.Sorted(maps.Keys(entry)))
		}
	}
	var fields []string
	for _, m := range regexp.MustCompile(`"(name|error_count|groups|configs|definition|level|last_modified)":`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(fields, m[1]) {
			fields = append(fields, m[1])
		}
	}
	slices.Sort(fields)
	return fmt.Sprint(fields)
}

// differs names the parts of an answer that are not the worker's.
func differs(t *testing.T, c call, got response) (parts []string) {
	note := func(part string, want, got any) {
		if fmt.Sprint(want) != fmt.Sprint(got) {
			parts = append(parts, part)
			t.Logf("%s %s: the %s of the worker is\n%v\nand here\n%v", c.Method, c.Path, part, want, got)
		}
	}
	note("status", c.Want.Status, got.code)
	note("type", c.Want.Type, got.header.Get("Content-Type"))
	location := regexp.MustCompile(`^http://[^/]*`)
	note("location", location.ReplaceAllString(c.Want.Location, ""), location.ReplaceAllString(got.header.Get("Location"), ""))
	if c.Want.Allow != "" {
		note("allow", slices.Sorted(strings.SplitSeq(c.Want.Allow, ",")), slices.Sorted(strings.SplitSeq(got.header.Get("Allow"), ",")))
	}
	switch {
	case c.Want.Begins != "":
		note("body", first(c.Want.Begins), first(got.text))
	case c.Want.JSON != nil:
		var theirs, here any
		var compact bytes.Buffer
		if err := json.Compact(&compact, c.Want.JSON); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(toThere.Replace(compact.String())), &theirs); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(toThere.Replace(got.text)), &here); err != nil {
			here = got.text
		}
		wanted, _ := json.Marshal(alike(theirs))
		given, _ := json.Marshal(alike(here))
		note("body", string(wanted), string(given))
	default:
		note("body", c.Want.Text, got.text)
	}
	return parts
}

var update = flag.Bool("update", false, "print the calls whose answers differ")

// TestAnswersAreThoseOfAWorker asks what a worker was asked, in the same order. testdata/differences.txt lists every answer that differs,
// in which parts, and why; a call that is listed and does not differ fails as well.
func TestAnswersAreThoseOfAWorker(t *testing.T) {
	listed := map[int][]string{}
	text, err := os.ReadFile("testdata/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		fields := strings.SplitN(strings.TrimSpace(line), " ", 3)
		number, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) < 3 {
			t.Fatalf("testdata/differences.txt: a line has a number, parts and a reason: %q", line)
		}
		listed[number] = strings.Split(fields[1], ",")
	}
	f, err := os.Open("testdata/worker.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := open(t, true, nil)
	number, calls := 0, 0
	for s := bufio.NewScanner(f); s.Scan(); {
		number++
		var c call
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		if c.Pause > 0 {
			w.settled()
			continue
		}
		calls++
		headers := []string{"Accept", "application/json"}
		if c.Type != "" {
			headers = append(headers, "Content-Type", c.Type)
		}
		for k, v := range c.Headers {
			headers = append(headers, k, v)
		}
		got := w.do(c.Method, paths.Replace(c.Path), ours(t, c), headers...)
		parts := differs(t, c, got)
		if *update && len(parts) > 0 {
			fmt.Println(number, strings.Join(parts, ","), c.Method, c.Path, got.text)
		}
		if !slices.Equal(parts, listed[number]) {
			t.Errorf("line %d: %s %s differs in %v, and listed are %v", number, c.Method, c.Path, parts, listed[number])
		}
		delete(listed, number)
	}
	if len(listed) > 0 || calls < 100 {
		t.Errorf("%d calls were made, and these are listed that are none: %v", calls, listed)
	}
}
