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
	"github.com/syncd-io/syncd/arrival"
	"github.com/syncd-io/syncd/audit"
	"github.com/syncd-io/syncd/engine"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/tally"
	"github.com/syncd-io/syncd/verdict"
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
func collectionReport(name, contentType string, present, missing, failed int64, took time.Duration) engine.CollectionReport {
	return engine.CollectionReport{
		Rule: rule(name, contentType), Found: true, Complete: true, Splits: 2, Before: present + missing, After: -1, Duration: took,
		Counts: tally.Counts{
			Scanned: present + missing, Present: present, Missing: missing, Emitted: missing, Acked: missing - failed, FailedWrite: failed,
			DeadLettered: failed,
		},
	}
}

func runOf(took time.Duration, collections ...engine.CollectionReport) job.Report {
	p := job.Report{
		RunID: "0b0e7e2e-6f3a-4a55-9c55-6f1d2f9f4c11", Started: began, Scanning: took, Duration: took + 1500*time.Millisecond,
		Report: engine.Report{Collections: collections},
		Index:  job.IndexReport{Known: true, CaughtUp: true, Waited: time.Second},
	}
	for i := range collections {
		p.Total.Add(collections[i].Counts)
	}
	p.Bytes = 1840 * p.Total.Emitted
	p.Index.Before.Points, p.Index.After.Points = p.Total.Present, p.Total.Present+p.Total.Acked
	p.Times = [engine.StageCount]time.Duration{0, took * 9 / 10, took * 14 / 10, took / 5, took * 2}
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
		engine.CollectionReport{Rule: rule("epic", "epic"), Complete: true, Before: 0, After: -1},
	)
	p.Collections[0].Stale, p.Collections[0].Present = 500, p.Collections[0].Present-500
	p.Collections[0].Emitted += 500
	p.Collections[0].Acked += 500
	p.Total = tally.Counts{}
	for i := range p.Collections {
		p.Total.Add(p.Collections[i].Counts)
	}
	p.Orphans = []audit.OrphanReport{
		{ContentType: "work_item", Points: 1_300_000, Documents: 1_204_400, Orphans: 90, Owned: true, Others: 2_100, Examples: []verdict.Item{{ID: "507f1f77bcf86cd799439011"}}},
		{ContentType: "page", Points: 388_200, Documents: 388_200},
	}
	r := described(New(p))
	rec := NewRecorder()
	for range 3 {
		rec.Retried("checker qdrant")("UNAVAILABLE")
	}
	rec.Retried("source mongo")("NotWritablePrimary")
	for _, size := range []int{500, 250, 265} {
		rec.Adapted("checker qdrant")("ids per request", size, 1000)
	}
	for i, size := range []int{1_048_999, 3_000_012, 2_000_000} {
		rec.reasons.add("page", tally.Failure{ID: fmt.Sprintf("507f1f77bcf86cd79943901%d", i), Stage: "write", Reason: fmt.Sprintf("event of %d bytes: too large", size)})
	}
	rec.reasons.add(nasty, tally.Failure{ID: nasty, Stage: "write", Reason: "refused: " + nasty})
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
	r.End(tally.Failures, 5, "4 documents could not be sent (4 in the dead letters); all others were handled", "")
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
	whole := func() job.Report {
		return runOf(time.Second, collectionReport("page", "page", 1500, 100, 0, time.Second))
	}
	cut := whole()
	cut.Collections[0].Complete, cut.Collections[0].Before = false, 4000
	unknown := cut
	unknown.Collections = []engine.CollectionReport{cut.Collections[0]}
	unknown.Collections[0].Before = -1
	twice := whole()
	twice.Total.Collisions = 14
	worse := runOf(time.Second, collectionReport("page", "page", 1500, 100, 2, time.Second))
	worse.Total.Collisions = 1
	dry := whole()
	dry.DryRun, dry.Total.Emitted, dry.Total.Acked, dry.Total.WouldSend = true, 0, 0, 100
	for _, c := range []struct {
		run      job.Report
		outcome  tally.Outcome
		arrivals *arrival.Arrivals
		want     string
	}{
		{whole(), tally.Complete, nil, "Complete: 1,600 documents checked, 100 sent, all confirmed"},
		{dry, tally.Complete, nil, "Dry run: 1,600 documents checked, nothing sent; a run would send 100 events"},
		{runOf(time.Second, collectionReport("page", "page", 1500, 100, 2, time.Second)), tally.Failures, nil, "Finished, but 2 documents could not be sent: 1,600 documents checked, 98 sent and confirmed, 2 refused"},
		{twice, tally.Failures, nil, "Finished, but 14 documents have the point id of another document: 1,600 documents checked, 100 sent, all confirmed"},
		{worse, tally.Failures, nil, "Finished, but 2 documents could not be sent, and 1 document has the point id of another document: 1,600 documents checked, 98 sent and confirmed, 2 refused"},
		{cut, tally.Interrupted, nil, "Interrupted: 1,600 of 4,000 documents checked, 100 sent, all confirmed; run it again to do the rest"},
		{unknown, tally.Interrupted, nil, "Interrupted: 1,600 documents checked, 100 sent, all confirmed; run it again to do the rest"},
		{whole(), tally.NotArrived, &arrival.Arrivals{Sent: 100, Arrived: 97, Known: true}, "Sent, but not all arrived: 1,600 documents checked, 100 sent, all confirmed, 97 in the index"},
		{cut, tally.Stopped, nil, "Stopped by a guard: 1,600 of 4,000 documents checked, 100 sent, all confirmed"},
		{cut, tally.Failed, nil, "Failed: 1,600 of 4,000 documents checked, 100 sent, all confirmed"},
		{job.Report{}, tally.Failed, nil, "Failed before anything was read"},
		{job.Report{}, tally.Stopped, nil, "Stopped by a guard before anything was read"},
	} {
		c.run.Arrivals = c.arrivals
		r := New(c.run)
		r.End(c.outcome, 7, "why", "what to do")
		if r.Verdict != c.want || r.Outcome != c.outcome || r.Exit != 7 || r.Error != "why" || r.Hint != "what to do" {
			t.Errorf("%s: %+v, not %q", c.outcome, r, c.want)
		}
	}
}

// TestDeletes: a delete that failed is a failed document of the run, and stands where the orphans are told of.
func TestDeletes(t *testing.T) {
	deletes := func(name, contentType string, n tally.Counts) engine.CollectionReport {
		n.Scanned, n.Orphan = 100, 100-n.Unindexed
		return engine.CollectionReport{Rule: rule(name, contentType), Counts: n}
	}
	p := runOf(time.Second, collectionReport("page", "page", 1500, 0, 0, time.Second), collectionReport("task", "task", 10, 0, 0, time.Second))
	p.Deletes = []engine.CollectionReport{
		deletes("page", "page", tally.Counts{Unindexed: 10, Emitted: 88, Acked: 85, FailedWrite: 3, FailedEncode: 2, DeadLettered: 4}),
		deletes("oldPage", "page", tally.Counts{Emitted: 100, Acked: 99, FailedWrite: 1}),
	}
	for _, d := range p.Deletes {
		p.Deleted.Add(d.Counts)
	}
	p.Orphans = []audit.OrphanReport{{ContentType: "task"}, {ContentType: "page", Points: 2000, Documents: 1700, Orphans: 200, Deleted: 184}}
	r := New(p)
	r.End(tally.Failures, 5, "", "")
	if diff := cmp.Diff([]Orphans{{ContentType: "task"}, {
		ContentType: "page", Points: 2000, Documents: 1700, Orphans: 200, Deleted: 184, Unindexed: 10, Failed: 6, DeadLettered: 4,
	}}, r.Orphans); diff != "" {
		t.Error(diff)
	}
	got := []int64{r.Totals.Failed, r.Totals.FailedRead, r.Totals.FailedEncode, r.Totals.FailedWrite, r.Totals.DeadLettered, r.Totals.Sent, r.Totals.Documents}
	if diff := cmp.Diff([]int64{6, 0, 2, 4, 4, 0, 1510}, got); diff != "" {
		t.Error(diff)
	}
	if want := "Finished, but 6 documents could not be sent: 1,510 documents checked, 184 deletes confirmed, 6 failed"; r.Verdict != want {
		t.Errorf("%q, not %q", r.Verdict, want)
	}
	r.Totals.Sent, r.Totals.Acked, r.Totals.Unconfirmed, r.Collections[0].FailedWrite = 20, 12, 5, 3
	r.End(tally.Failures, 5, "", "")
	if want := "20 sent, 12 confirmed, 5 perhaps arrived, 3 refused, 184 deletes confirmed, 6 deletes failed"; !strings.HasSuffix(r.Verdict, want) {
		t.Errorf("%q, not %q", r.Verdict, want)
	}
	var b bytes.Buffer
	r.Text(&b)
	for _, want := range []string{
		"1,510 read = 1,510 checked + 0 failed", "200 of 1,700 indexed documents of page are gone; 184 deletes sent; 10 left alone; 6 could not be deleted",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, &b)
		}
	}
}

func TestCoverage(t *testing.T) {
	share := func(x float64) *float64 { return &x }
	for name, c := range map[string]struct {
		change func(*engine.CollectionReport)
		want   *float64
	}{
		"all there or sent":   {func(*engine.CollectionReport) {}, share(1)},
		"one refused":         {func(c *engine.CollectionReport) { c.Acked--; c.FailedWrite++ }, share(0.99)},
		"one deleted":         {func(c *engine.CollectionReport) { c.Emitted--; c.Acked--; c.Gone++ }, share(1)},
		"one indexed since":   {func(c *engine.CollectionReport) { c.Emitted--; c.Acked--; c.Overtaken++ }, share(1)},
		"one too new":         {func(c *engine.CollectionReport) { c.Present--; c.Young++ }, share(0.99)},
		"half of it read":     {func(c *engine.CollectionReport) { c.Complete = false; c.Before = 200 }, share(0.5)},
		"nobody knows":        {func(c *engine.CollectionReport) { c.Complete = false; c.Before = -1 }, nil},
		"empty":               {func(c *engine.CollectionReport) { c.Counts = tally.Counts{} }, nil},
		"grew while scanning": {func(c *engine.CollectionReport) { c.Before = 90 }, share(1)},
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
	newer.End(tally.Failures, 5, "5 documents could not be sent", "")
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
