package folder

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	file := func(collection, id string) string {
		return filepath.Join(dir, collection, url.PathEscape(id)+".json")
	}
	syncdtest.TestPlugin(t, Plugin())
	syncdtest.TestSource(t, syncdtest.SourceHarness{
		Open: func(t *testing.T, collection string, docs []syncdtest.Doc) syncd.Source {
			must(t, os.RemoveAll(filepath.Join(dir, collection)))
			must(t, os.Mkdir(filepath.Join(dir, collection), 0o700))
			for _, d := range docs {
				text, err := json.Marshal(d.Map())
				must(t, err)
				must(t, os.WriteFile(file(collection, d.ID), text, 0o600))
			}
			s, err := open(t.Context(), Config{Path: dir}, syncd.Env{})
			must(t, err)
			return s
		},
		Delete: func(t *testing.T, collection, id string) { must(t, os.Remove(file(collection, id))) },
		Drop:   func(t *testing.T, collection string) { must(t, os.RemoveAll(filepath.Join(dir, collection))) },
		Except: map[string]string{
			"difficult_ids":      "a file's name has at most 255 bytes",
			"find_difficult_ids": "a file's name has at most 255 bytes",
		},
	})
}

func TestUnreadableDocument(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "page"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "page", "a.json"), []byte("{"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "page", "b.json"), []byte(`{"n": 1.50}`), 0o600))
	s := &source{dir}
	split := syncd.Split{Collection: syncd.Collection{Name: "page"}}
	for b, err := range s.Read(t.Context(), syncd.ReadRequest{Split: split, BatchSize: 10, Fields: []string{"n"}}) {
		must(t, err)
		if len(b.Changes) != 2 || b.Changes[0].Err == nil || b.Changes[1].Err != nil || b.Changes[1].Fields[0].Text != "1.50" || b.Offset != "b" {
			t.Errorf("%+v", b)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
