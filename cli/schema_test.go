package cli

import (
	"os"
	"regexp"
	"testing"
)

// TestReleaseIsTheChangelogs: the schema's $id names the release that the changelog has on top.
func TestReleaseIsTheChangelogs(t *testing.T) {
	text, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	newest := regexp.MustCompile(`(?m)^## \[([^\]]+)\] - (\d{4}-\d\d-\d\d|unreleased)$`).FindSubmatch(text)
	if newest == nil || string(newest[1]) != release {
		t.Errorf("the changelog's newest version is %q, and the release is %s", newest, release)
	}
}
