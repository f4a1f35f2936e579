package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/pipeline"
)

// update rewrites what the tests compare with: go test ./report -update
var update = flag.Bool("update", false, "rewrite the files that tests compare with")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (- wanted, + got):\n%s", path, diff)
	}
}

var began = time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC)

func rule(name, contentType string) *mapping.Rule {
	return &mapping.Rule{Database: "PM", Collection: syncd.Collection{Name: name}, ContentType: contentType}
}

// collectionReport is one that was read to its end, of which some documents are missing, and of these some fail.
func collectionReport(name, contentType string, present, missing, failed int64, took time.Duration) pipeline.CollectionReport {
	return pipeline.CollectionReport{
		Rule: rule(name, contentType), Found: true, Complete: true, Splits: 2, Before: present + missing, After: -1, Duration: took,
		Counts: pipeline.Counts{
			Scanned: present + missing, Present: present, Missing: missing, Emitted: missing, Acked: missing - failed, FailedWrite: failed,
			DeadLettered: failed,
		},
	}
}

func runOf(took time.Duration, collections ...pipeline.CollectionReport) pipeline.Report {
	p := pipeline.Report{
		RunID: "0b0e7e2e-6f3a-4a55-9c55-6f1d2f9f4c11", Started: began, Scanning: took, Duration: took + 1500*time.Millisecond, Collections: collections,
		Index: pipeline.IndexReport{Known: true, CaughtUp: true, Waited: time.Second},
	}
	for i := range collections {
		p.Total.Add(collections[i].Counts)
	}
	p.Bytes = 1840 * p.Total.Emitted
	p.Index.Before.Points, p.Index.After.Points = p.Total.Present, p.Total.Present+p.Total.Acked
	p.Times = [pipeline.StageCount]time.Duration{0, took * 9 / 10, took * 14 / 10, took / 5, took * 2}
	return p
}

// described fills in what the caller knows.
func described(r *Report) *Report {
	r.Mode, r.Version, r.Go = "incremental", "v1.4.0", "go1.26.0"
	r.Config = Config{File: "configs/prod.yaml", Fingerprint: "1f6d2c90ab4e", Mapping: "5c0de1ab77f20b94"}
	r.Plugins = []Plugin{
		{Kind: "source", Name: "mongo", Label: "MongoDB", Location: "mongodb://db-1:27017"},
		{Kind: "checker", Name: "qdrant", Label: "Qdrant", Location: "qdrant:6334, pms_collection"},
		{Kind: "sink", Name: "kafka", Label: "Kafka", Location: "kafka-1:9092,kafka-2:9092"},
	}
	return r
}

// nasty is an id as somebody might have chosen it.
const nasty = `</svg><script>alert("x")</script>`

// sample is a whole report of a run of 75 seconds.
func sample() *Report {
	p := runOf(75*time.Second,
		collectionReport("workItem", "work_item", 1_204_310, 8_412, 0, 71*time.Second),
		collectionReport("page", "page", 388_200, 1_950, 3, 40*time.Second),
		collectionReport("userStory", "user_story", 90_000, 0, 0, 12*time.Second),
		collectionReport(nasty, "feature", 10, 990, 1, 3*time.Second),
		pipeline.CollectionReport{Rule: rule("epic", "epic"), Complete: true, Before: 0, After: -1},
	)
	p.Collections[0].Stale, p.Collections[0].Present = 500, p.Collections[0].Present-500
	p.Collections[0].Emitted += 500
	p.Collections[0].Acked += 500
	p.Total = pipeline.Counts{}
	for i := range p.Collections {
		p.Total.Add(p.Collections[i].Counts)
	}
	p.Orphans = []pipeline.OrphanReport{
		{ContentType: "work_item", Points: 1_300_000, Documents: 1_204_400, Orphans: 90, Examples: []pipeline.Orphan{{ID: "507f1f77bcf86cd799439011"}}},
		{ContentType: "page", Points: 388_200, Documents: 388_200},
	}
	r := described(New(p))
	rec := NewRecorder()
	for range 3 {
		rec.Retried("checker qdrant")("UNAVAILABLE")
	}
	rec.Retried("source mongo")("NotWritablePrimary")
	for i, size := range []int{1_048_999, 3_000_012, 2_000_000} {
		rec.reasons.add("page", pipeline.Failure{ID: fmt.Sprintf("507f1f77bcf86cd79943901%d", i), Stage: "write", Reason: fmt.Sprintf("event of %d bytes: too large", size)})
	}
	rec.reasons.add(nasty, pipeline.Failure{ID: nasty, Stage: "write", Reason: "refused: " + nasty})
	rec.every = 500 * time.Millisecond
	for i := range 153 {
		at := float64(i+1) / 2
		share := min(1, at/75)
		ramp := share + 0.03*math.Sin(at/3)*share*(1-share)
		s := Sample{At: at, Phase: "reading", Documents: int64(float64(p.Total.Scanned) * ramp), Sent: int64(float64(p.Total.Emitted) * share * share)}
		if share == 1 {
			s.Documents, s.Phase = p.Total.Scanned, "waiting for the index"
		}
		s.Acked, s.Bytes = s.Sent, s.Sent*1840
		rec.samples = append(rec.samples, s)
	}
	rec.Fill(r)
	r.End(5, "4 documents could not be sent (4 in the dead letters); all others were handled", "")
	return r
}

func TestGoldenJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	want := sample()
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b)
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
}

func TestGoldenText(t *testing.T) {
	var b bytes.Buffer
	sample().Text(&b)
	golden(t, "report.txt", b.Bytes())
}

func TestGoldenHTML(t *testing.T) {
	b, err := HTML(sample())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.html", b)
}

// TestPageEscapes: what documents, collections and errors are called can't become a part of the page, and nothing is loaded
// from elsewhere.
func TestPageEscapes(t *testing.T) {
	r := sample()
	for _, s := range []*string{&r.Verdict, &r.Error, &r.Hint, &r.Config.File, &r.RunID, &r.Version, &r.Plugins[0].Label, &r.Plugins[0].Kind, &r.Stages[0].Name, &r.Retries[0].Reason, &r.Orphans[0].ContentType} {
		*s = nasty + `" onload="x" '`
	}
	for _, runs := range [][]*Report{{r}, {sample(), r}} {
		b, err := HTML(runs...)
		if err != nil {
			t.Fatal(err)
		}
		page := string(b)
		for _, bad := range []string{"<script", `" onload`, "ZgotmplZ", "http://", "https://", "url(", "@import", " src=", "NaN", "Inf"} {
			if strings.Contains(page, bad) {
				t.Errorf("the page has %q", bad)
			}
		}
		if !strings.Contains(page, "&lt;script&gt;") || !strings.Contains(page, "default-src &#39;none&#39;") && !strings.Contains(page, "default-src 'none'") {
			t.Error("the name is not there, or the policy")
		}
	}
}

func TestVerdicts(t *testing.T) {
	whole := func() pipeline.Report {
		return runOf(time.Second, collectionReport("page", "page", 1500, 100, 0, time.Second))
	}
	cut := whole()
	cut.Collections[0].Complete, cut.Collections[0].Before = false, 4000
	unknown := cut
	unknown.Collections = []pipeline.CollectionReport{cut.Collections[0]}
	unknown.Collections[0].Before = -1
	dry := whole()
	dry.DryRun, dry.Total.Emitted, dry.Total.Acked, dry.Total.WouldSend = true, 0, 0, 100
	for _, c := range []struct {
		run      pipeline.Report
		exit     int
		arrivals *pipeline.Arrivals
		want     string
		outcome  Outcome
	}{
		{whole(), 0, nil, "Complete: 1,600 documents checked, 100 sent, all confirmed", Complete},
		{dry, 0, nil, "Dry run: 1,600 documents checked, nothing sent; a run would send 100 events", Complete},
		{runOf(time.Second, collectionReport("page", "page", 1500, 100, 2, time.Second)), 5, nil, "Finished, but 2 documents could not be sent: 1,600 documents checked, 100 sent, 98 confirmed, 2 refused", Failures},
		{cut, 130, nil, "Interrupted: 1,600 of 4,000 documents checked, 100 sent, all confirmed; run it again to do the rest", Interrupted},
		{unknown, 143, nil, "Interrupted: 1,600 documents checked, 100 sent, all confirmed; run it again to do the rest", Interrupted},
		{whole(), 4, &pipeline.Arrivals{Sent: 100, Arrived: 97, Known: true}, "Sent, but not all arrived: 1,600 documents checked, 100 sent, all confirmed, 97 in the index", NotArrived},
		{cut, 4, nil, "Stopped by a guard: 1,600 of 4,000 documents checked, 100 sent, all confirmed", Stopped},
		{cut, 1, nil, "Failed: 1,600 of 4,000 documents checked, 100 sent, all confirmed", Failed},
		{pipeline.Report{}, 1, nil, "Failed before anything was read", Failed},
		{pipeline.Report{}, 4, nil, "Stopped by a guard before anything was read", Stopped},
	} {
		r := New(c.run)
		if c.arrivals != nil {
			r.AddArrivals(*c.arrivals)
		}
		r.End(c.exit, "", "")
		if r.Verdict != c.want || r.Outcome != c.outcome {
			t.Errorf("exit code %d: %s, %q, not %q", c.exit, r.Outcome, r.Verdict, c.want)
		}
	}
}

func TestCoverage(t *testing.T) {
	share := func(x float64) *float64 { return &x }
	for name, c := range map[string]struct {
		change func(*pipeline.CollectionReport)
		want   *float64
	}{
		"all there or sent":   {func(*pipeline.CollectionReport) {}, share(1)},
		"one refused":         {func(c *pipeline.CollectionReport) { c.Acked--; c.FailedWrite++ }, share(0.99)},
		"one deleted":         {func(c *pipeline.CollectionReport) { c.Emitted--; c.Acked--; c.Gone++ }, share(1)},
		"one indexed since":   {func(c *pipeline.CollectionReport) { c.Emitted--; c.Acked--; c.Overtaken++ }, share(1)},
		"one too new":         {func(c *pipeline.CollectionReport) { c.Present--; c.Young++ }, share(0.99)},
		"half of it read":     {func(c *pipeline.CollectionReport) { c.Complete = false; c.Before = 200 }, share(0.5)},
		"nobody knows":        {func(c *pipeline.CollectionReport) { c.Complete = false; c.Before = -1 }, nil},
		"empty":               {func(c *pipeline.CollectionReport) { c.Counts = pipeline.Counts{} }, nil},
		"grew while scanning": {func(c *pipeline.CollectionReport) { c.Before = 90 }, share(1)},
	} {
		c1 := collectionReport("page", "page", 90, 10, 0, time.Second)
		c.change(&c1)
		if diff := cmp.Diff(c.want, New(runOf(time.Second, c1)).Collections[0].Coverage); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for x, want := range map[float64]string{0: "0%", 0.0001: "<0.1%", 0.5: "50%", 0.9999: "99.9%", 0.99999999: "99.9%", 1: "100%", 0.993: "99.3%"} {
		if got := Percent(x); got != want {
			t.Errorf("%v: %s, not %s", x, got, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ text, want string }{
		"none":    {``, "not the report of a run"},
		"plan":    {`{"plan": 1}`, "not the report of a run"},
		"text":    {`hello`, "not the report of a run"},
		"list":    {`[]`, "not the report of a run"},
		"newer":   {`{"syncd_report": 2, "totals": 5}`, "the report has format 2, and this program reads formats up to 1"},
		"damaged": {`{"syncd_report": 1, "totals": {"missing": "many"}}`, "the report is damaged: totals.missing can't be a string"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || syncd.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a file that is not there was read")
	}
	// A field that a later version of this format adds does no harm, and one that an earlier one did not have is zero.
	path := filepath.Join(dir, "other")
	if err := os.WriteFile(path, []byte(`{"syncd_report": 1, "run_id": "a", "moon": "full"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil || got[0].RunID != "a" {
		t.Fatal(got, err)
	}
	got[0].Text(&bytes.Buffer{})
	if _, err := HTML(got...); err != nil {
		t.Error(err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "r.json"), filepath.Join(dir, "link")
	mode := func() os.FileMode {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	if err := sample().Write(path); err != nil || mode() != 0o600 {
		t.Fatal(err, mode())
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("r.json", link); err != nil {
		t.Fatal(err)
	}
	if err := sample().Write(link); err != nil || mode() != 0o644 {
		t.Fatal(err, mode())
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if err := sample().Write(os.DevNull); err != nil {
		t.Error(err)
	}
	if err := sample().Write(filepath.Join(dir, "no", "r.json")); err == nil {
		t.Error("there is no such folder")
	}
	if err := Writable(filepath.Join(dir, "no", "r.json")); err == nil {
		t.Error("there is no such folder")
	}
	if err := Writable(dir); err == nil {
		t.Error("it is a folder")
	}
	if err := Writable(path); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) > 0 {
		t.Error(left)
	}
}

func TestCompare(t *testing.T) {
	older, newer := sample(), described(New(runOf(40*time.Second,
		collectionReport("workItem", "work_item", 1_213_222, 100, 0, 30*time.Second),
		collectionReport("page", "page", 390_147, 60, 5, 20*time.Second),
		collectionReport("cycle", "cycle", 10, 0, 0, time.Second),
	)))
	newer.Started = older.Started.Add(24 * time.Hour)
	newer.Errors = []Error{{Stage: "write", Reason: "the topic does not exist", Count: 5}}
	newer.End(5, "5 documents could not be sent", "")
	c := Compare(older, newer)
	var b bytes.Buffer
	c.Text(&b)
	golden(t, "compare.txt", b.Bytes())
	b.Reset()
	History(&b, []*Report{older, newer})
	golden(t, "history.txt", b.Bytes())
	same := Compare(older, older)
	if len(same.NewErrors)+len(same.GoneErrors) > 0 || !same.SameConfig || same.Totals.Older.Documents != same.Totals.Newer.Documents {
		t.Error("a run differs from itself")
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

// TestDocumentation: docs/reports.md has every field of the file, as the declarations describe it.
func TestDocumentation(t *testing.T) {
	const path, begin, end = "../docs/reports.md", "<!-- fields -->\n", "<!-- end of fields -->"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the marks are not there")
	}
	want := "\n| field | meaning |\n|---|---|\n" + fields(t, reflect.TypeFor[Report](), "") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("go test ./report -update writes it:\n%s", diff)
	}
}

// fields are the rows of a type's fields, and of what is in them.
func fields(t *testing.T, typ reflect.Type, prefix string) string {
	var b strings.Builder
	for f := range typ.Fields() {
		if f.Anonymous {
			fmt.Fprintf(&b, "| `%s…` | The fields of `totals`, for this collection. |\n", prefix)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || f.Tag.Get("doc") == "" || !regexp.MustCompile(`^[a-z_]+$`).MatchString(name) {
			t.Errorf("%s.%s is not documented", typ, f.Name)
		}
		inner, path := f.Type, prefix+name
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Slice {
				path += "[]"
			}
			inner = inner.Elem()
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", path, f.Tag.Get("doc"))
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
			b.WriteString(fields(t, inner, path+"."))
		}
	}
	return b.String()
}
