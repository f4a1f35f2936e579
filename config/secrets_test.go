package config_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// TestExcerptsHideSecrets writes a secret at every place where one can stand, with a mistake beside it, and looks for it in
// everything that is shown.
func TestExcerptsHideSecrets(t *testing.T) {
	const secret = "hunter2"
	for name, text := range map[string]string{
		"plain":        "source: {mongo: {uri: hunter2, databse: db}}\n",
		"quoted":       "source: {mongo: {uri: 'it''s hunter2', databse: db}}\n",
		"escaped":      `source: {mongo: {uri: "\"hunter2", databse: db}}` + "\n",
		"list":         "source: {mongo: {uri: [hunter2, a], databse: db}}\n",
		"block":        "source: {mongo: {uri: {a: hunter2}, databse: db}}\n",
		"fallback":     "source: {mongo: {uri: '${NOT_SET:-hunter2}', databse: db}}\n",
		"literal":      "source:\n  mongo:\n    uri: |\n      a\n      hunter2\n    databse: db\n",
		"folded":       "source:\n  mongo:\n    uri: a\n      hunter2\n    databse: db\n",
		"two lines":    "source:\n  mongo:\n    uri: \"a\n      hunter2\"\n    databse: db\n",
		"misspelt":     "checker: {qdrant: {pasword: hunter2}}\n",
		"unknown":      "checker: {qdrantt: {api_key: hunter2, x: y}}\n",
		"address":      "checker: {qdrant: {url: 'https://u:hunter2@h', x: 1}}\n",
		"in a comment": "run: {batchsize: 1} # mongodb://u:hunter2@h\n",
		"as a section": "source: mongodb://u:hunter2@h\n",
		"as a number":  "run: {batch_size: mongodb://u:hunter2@h}\n",
		"as a word":    "run: {mode: mongodb://u:hunter2@h/?x}\n",
		"broken":       "source: {mongo: {uri: hunter2, database: \"x}}\n",
		"broken below": "source:\n  mongo:\n    password: |\n      hunter2\n     x: y: z\n",
		"broken on it": "source:\n  mongo:\n    password: >\n      a: hunter2: {\n",
		"alias":        "run: {batch_size: &x hunter2}\nsource: {mongo: {uri: *x, database: db}}\n",
		"tracked":      "source: {mongo: {uri: \"mongodb://u:hunter2@h\", database: db}}\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"c.yaml": text})
			writeIndex(t, dir, "c.yaml")
			_, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)})
			if len(diags) == 0 {
				t.Fatal("nothing is reported")
			}
			var b strings.Builder
			for _, f := range spec.Formats() {
				if err := diags.Write(&b, f); err != nil {
					t.Fatal(err)
				}
			}
			shown := b.String()
			if strings.Contains(shown, secret) {
				t.Errorf("the secret shows:\n%s", shown)
			}
			if !strings.Contains(shown, "|") {
				t.Errorf("no line is shown:\n%s", shown)
			}
		})
	}
}

func TestPlainSecrets(t *testing.T) {
	rest := "checker: {qdrant: {url: h}}\nsink: {kafka: {topic: t}}\nmapping: {collections: {page: page}}\n"
	for uri, want := range map[string]bool{
		`"mongodb://u:p@h"`:                              true,
		`"mongodb://u:${P:-p}@h"`:                        true,
		`"${URI:-mongodb://u:p@h}"`:                      true,
		`"mongodb://h/?tlsCertificateKeyFilePassword=x"`: true,
		`"mongodb://u:${P}@h"`:                           false,
		`"${URI}"`:                                       false,
		`"mongodb://h"`:                                  false,
		`"mongodb://u@h"`:                                false,
	} {
		text := "source: {mongo: {uri: " + uri + ", database: db}}\n" + rest
		for _, tracked := range []bool{true, false} {
			dir := write(t, map[string]string{"c.yaml": text})
			writeIndex(t, dir, map[bool]string{true: "c.yaml", false: "d.yaml"}[tracked])
			_, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t), Environ: []string{"URI=x", "P=x"}})
			if got := len(diags) == 1 && diags[0].Code == spec.CodePlainSecret && !diags.HasErrors(); got != (want && tracked) {
				t.Errorf("%s, tracked %t: %v", uri, tracked, diags)
			}
		}
	}
}

// TestTrackedByGit asks about repositories that git itself made, in each version of its index.
func TestTrackedByGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	text := strings.Replace(minimal, "mongodb://h", "mongodb://u:p@h", 1)
	for _, version := range []string{"2", "3", "4"} {
		dir := t.TempDir()
		git := func(args ...string) {
			cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...)
			cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("git %v: %v\n%s", args, err, out)
			}
		}
		for _, name := range []string{"a.yaml", "conf/prod.yaml", "conf/prodigy.yaml", "conf/later.yaml", "conf/zz/deep.yaml", "ignored.yaml"} {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		git("init", "-q")
		git("config", "index.version", version)
		git("add", "a.yaml", "conf/prod.yaml", "conf/prodigy.yaml", "conf/zz/deep.yaml")
		git("add", "-N", "conf/later.yaml") // makes an extended entry
		git("update-index", "--index-version", version)
		for name, want := range map[string]bool{
			"a.yaml": true, "conf/prod.yaml": true, "conf/prodigy.yaml": true, "conf/later.yaml": true, "conf/zz/deep.yaml": true, "ignored.yaml": false,
		} {
			_, diags := config.Load(config.Input{Path: filepath.Join(dir, name), Registry: registry(t)})
			if got := len(diags) == 1 && diags[0].Code == spec.CodePlainSecret; got != want {
				t.Errorf("index version %s, %s: %v", version, name, diags)
			}
		}
		// What is no index that is understood only keeps the warning away.
		for _, index := range []string{"", "DIRC", "DIRC\x00\x00\x00\x05\x00\x00\x00\x01", "DIRC\x00\x00\x00\x04\x00\x00\x00\x09" + strings.Repeat("\xff", 70), "DIRC\x00\x00\x00\x02\xff\xff\xff\xff"} {
			if err := os.WriteFile(filepath.Join(dir, ".git", "index"), []byte(index), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, diags := config.Load(config.Input{Path: filepath.Join(dir, "a.yaml"), Registry: registry(t)}); len(diags) > 0 {
				t.Errorf("index %q: %v", index, diags)
			}
		}
	}
}

// TestWorktree finds the index of a worktree, whose .git is a file.
func TestWorktree(t *testing.T) {
	dir := write(t, map[string]string{"c.yaml": strings.Replace(minimal, "mongodb://h", "mongodb://u:p@h", 1)})
	writeIndex(t, dir, "c.yaml")
	if err := os.Rename(filepath.Join(dir, ".git"), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".git"), []byte("gitdir: elsewhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, diags := config.Load(config.Input{Path: filepath.Join(dir, "c.yaml"), Registry: registry(t)}); len(diags) != 1 {
		t.Errorf("%v", diags)
	}
}
