package deploy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every syncd command in docs/deployment.md must be one that the program accepts, and every file must exist.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text := read(t, filepath.Join(root, "docs", "deployment.md"))
	// After the program's name, or the image's, or the service's.
	command := regexp.MustCompile("(?m)(?:(?:^|[ `])syncd|syncd:0\\.1\\.0|/usr/local/bin/syncd backfill) ((?:run|validate|verify|health|serve|status|pause|resume)\\b[^`|\\n]*)")
	found := 0
	for _, m := range command.FindAllStringSubmatch(text, -1) {
		found++
		checkArguments(t, "docs/deployment.md", strings.Fields(strings.ReplaceAll(m[1], `"`, "")))
	}
	for _, m := range regexp.MustCompile("run --rm backfill (-[^`]*)`").FindAllStringSubmatch(text, -1) {
		found++
		checkArguments(t, "docs/deployment.md", append([]string{"run", "-c", "x"}, strings.Fields(m[1])...))
	}
	if found < 10 {
		t.Errorf("only %d commands were found", found)
	}
	for _, m := range regexp.MustCompile(`[^/\w]((?:deploy|configs|systemd)/[a-zA-Z./-]*\w)`).FindAllStringSubmatch(text, -1) {
		file, name := m[1], m[1]
		if strings.HasPrefix(file, "systemd/") {
			name = "deploy/" + file
		}
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("docs/deployment.md names %s: %v", file, err)
		}
	}
}
