package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const page = "../../docs/writing-a-plugin.md"

// blocks are the fenced blocks of the page whose first line begins with info.
func blocks(t *testing.T, info string) (out []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```"+info+"[^\n]*\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		out = append(out, m[1])
	}
	return out
}

// TestPageShowsThisCode: the Go code on the page is code of this module, word for word.
func TestPageShowsThisCode(t *testing.T) {
	files, err := filepath.Glob("*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code []string
	for _, f := range append(files, "main.go") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		code = append(code, string(text))
	}
	shown := blocks(t, "go")
	if len(shown) < 8 {
		t.Errorf("%s has only %d blocks of Go", page, len(shown))
	}
	for _, block := range shown {
		if !strings.Contains(strings.Join(code, "\x00"), block) {
			t.Errorf("%s shows code that this module does not have:\n%s", page, block)
		}
	}
}

// TestStartAModule does what the page says, outside this repository, with the plugins of this module.
func TestStartAModule(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "acme")
	for _, pkg := range []string{"folder", "hide", "idlist", "tally"} {
		if err := os.CopyFS(filepath.Join(dir, pkg), os.DirFS(pkg)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(blocks(t, "go main.go")[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "acme.yaml"), []byte(blocks(t, "yaml ignore acme.yaml")[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(blocks(t, "sh module")[0], "../syncd", root)
	cmd := exec.CommandContext(t.Context(), "bash", "-ec", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Counts changes by content type.") || !strings.Contains(string(out), "acme.yaml: valid") || !strings.Contains(string(out), "idlist") {
		t.Errorf("%v\n%s", err, out)
	}
}
