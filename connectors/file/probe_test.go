package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestProbe(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"page.ndjson": `{"_id": 1}` + "\n", "WorkItem.json": "", "epic.ndjson": "[\n", "cycle.ndjson": "{nonsense\n", "big.ndjson": `{"_id": 1}` + strings.Repeat("\n", 3000),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &source{cfg: Config{Path: dir, Format: formatAuto}, folder: dir}
	var targets []syncd.ProbeTarget
	for _, name := range []string{"page", "WorkItem", "workItem", "epic", "cycle", "big", "zebra"} {
		targets = append(targets, syncd.ProbeTarget{Target: syncd.Target{Collection: name}})
	}
	got := s.Probe(t.Context(), targets)
	for i := range got {
		got[i].Detail = strings.ReplaceAll(got[i].Detail, dir+string(filepath.Separator), "")
	}
	want := []syncd.Finding{
		{Subject: "folder", Status: syncd.StatusOK, Detail: "5 collections"},
		{Subject: "collection page", Status: syncd.StatusOK, Detail: "page.ndjson, 11 bytes"},
		{Subject: "collection WorkItem", Status: syncd.StatusOK, Detail: "WorkItem.json, 0 bytes, no document"},
		{Subject: "collection workItem", Status: syncd.StatusWarning, Detail: "has no file: a run takes it for an empty one", Hint: `did you mean "WorkItem"?`},
		{
			Subject: "collection epic", Status: syncd.StatusFailed, Detail: "epic.ndjson: the file is a JSON array, not one document per line",
			Hint: "export it without --jsonArray, or convert it: jq -c '.[]'",
		},
		{
			Subject: "collection cycle", Status: syncd.StatusWarning,
			Detail: "its first document can't be read: cycle.ndjson:1: not JSON: invalid character 'n' looking for beginning of object key string (column 2)",
			Hint:   "check that the file is what its extension says; a run counts and names documents like this one",
		},
		{Subject: "collection big", Status: syncd.StatusOK, Detail: "big.ndjson, 2.9 KiB"},
		{
			Subject: "collection zebra", Status: syncd.StatusWarning, Detail: "has no file: a run takes it for an empty one",
			Hint: "looked for zebra.ndjson, zebra.jsonl, zebra.json, zebra.bson",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got)\n%s", diff)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.Probe(ctx, targets[:1]); got[1].Status != syncd.StatusFailed {
		t.Errorf("%+v", got)
	}
}

func TestProberConformance(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "page.ndjson", []byte(`{"_id": 1}`))
	syncdtest.TestProber(t, openDir(t, dir).Abilities().Probe, []syncd.ProbeTarget{{Target: syncd.Target{Collection: "page"}}, {Target: syncd.Target{Collection: "epic"}}})
}

func TestProbeOfAFolderThatWentAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	got := (&source{cfg: Config{Path: dir, Format: formatAuto}, folder: dir}).Probe(t.Context(), nil)
	if len(got) != 1 || got[0].Status != syncd.StatusFailed || !strings.Contains(got[0].Detail, dir) {
		t.Errorf("%+v", got)
	}
}
