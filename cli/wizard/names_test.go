package wizard

import (
	"slices"
	"strings"
	"testing"
)

func TestSnakeCase(t *testing.T) {
	for name, want := range map[string]string{
		"page": "page", "workItem": "work_item", "WorkItem": "work_item", "work-item": "work_item", "work__item": "work_item",
		"HTTPServer": "http_server", "userID": "user_id", "userIDs": "user_ids", "URLs": "urls", "HTTPSet": "http_set", "v2Item": "v2_item", "Page2": "page2", "fs.files": "fs_files",
		"a/b c": "a_b_c", "_x_": "x", "ÜberSicht": "über_sicht", "日本": "日本", "...": "document",
	} {
		if got := snakeCase(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

func TestSingular(t *testing.T) {
	for name, want := range map[string]string{
		"users": "user", "work_items": "work_item", "categories": "category", "user_stories": "user_story", "boxes": "box",
		"addresses": "address", "batches": "batch", "branches": "branch", "searches": "search", "wishes": "wish", "cases": "case",
		"releases": "release", "logs": "log", "pages": "page", "reviews": "review", "interviews": "interview", "indexes": "index",
		// What is one already, and what is left in doubt.
		"page": "page", "status": "status", "user_status": "user_status", "analysis": "analysis", "address": "address",
		"news": "news", "series": "series", "movies": "movies", "caches": "caches", "sizes": "sizes", "statuses": "statuses",
		"canvas": "canvas", "analytics": "analytics", "heroes": "heroes", "gps": "gps", "s": "s", "": "",
	} {
		if got := singular(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

func TestProposedContentTypesDiffer(t *testing.T) {
	names := []string{"releaseNotes", "releaseNote", "ReleaseNote", "release-note", "feature", "features", "workItem", "work_item", "users"}
	var got []string
	for _, f := range proposeContentTypes(names) {
		line := f.Name + ":" + f.ContentType
		if f.Guessed {
			line += "?"
		}
		got = append(got, line)
	}
	// The described system's come first, so a collection "feature" beside its "features" gets another.
	want := "releaseNotes:release_notes releaseNote:release_note ReleaseNote:release_note_2 release-note:release_note_3 " +
		"feature:feature_2 features:feature workItem:work_item work_item:work_item_2 users:user?"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	slices.Sort(got)
	if len(slices.Compact(got)) != len(names) {
		t.Errorf("two are the same: %v", got)
	}
}
