package deploy_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
)

// noRegistry answers for every base image, so that the linter asks no registry.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return ref, "", []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/bin:/usr/bin:/bin"]}}`), nil
}

// lint returns what BuildKit's own rules (those of docker build --check) have to say.
func lint(t *testing.T, text string) (found []string) {
	t.Helper()
	source := llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", []byte(text))
	source.Definition = &llb.Definition{} // the linter copies it
	results, err := dockerfile2llb.DockerfileLint(t.Context(), []byte(text), dockerfile2llb.ConvertOpt{
		SourceMap: source, MetaResolver: noRegistry{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if results.Error != nil {
		found = append(found, results.Error.Message)
	}
	for _, w := range results.Warnings {
		found = append(found, w.RuleName+": "+w.Detail)
	}
	return found
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := read(t, "Dockerfile")
	for _, problem := range lint(t, text) {
		t.Error(problem)
	}
	stages := parse(t, text)
	final := stages[len(stages)-1]
	var user, entrypoint, command, health []string
	for _, c := range final.Commands {
		switch c := c.(type) {
		case *instructions.UserCommand:
			user = []string{c.User}
		case *instructions.EntrypointCommand:
			entrypoint = c.CmdLine
		case *instructions.CmdCommand:
			command = c.CmdLine
		case *instructions.HealthCheckCommand:
			health = c.Health.Test
		case *instructions.EnvCommand:
			for _, e := range c.Env {
				if !variables[e.Key] {
					t.Errorf("ENV %s is no variable of syncd's", e.Key)
				}
			}
		case *instructions.RunCommand:
			t.Errorf("the image has no shell to run %q", c.CmdLine)
		}
	}
	// A number, so that Kubernetes can tell that it is not root.
	if len(user) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user[0]) {
		t.Errorf("the user is %q", user)
	}
	program := "/usr/local/bin/syncd"
	if !slices.Equal(entrypoint, []string{program}) {
		t.Errorf("the entry point is %q", entrypoint)
	}
	checkArguments(t, "CMD", command)
	if len(health) < 3 || health[0] != "CMD" || health[1] != program {
		t.Fatalf("the health check is %q", health)
	}
	checkArguments(t, "HEALTHCHECK", health[2:])
}

func parse(t *testing.T, text string) []instructions.Stage {
	t.Helper()
	result, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	stages, _, err := instructions.Parse(result.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

func TestDockerfileIsChecked(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"FROM a as b\n", "FROM a\nENTRYPOINT syncd run\n", "FROM a\nMAINTAINER x\n", "FROM a\nENV MONGODB_PASSWORD=x\n"} {
		if len(lint(t, text)) == 0 {
			t.Errorf("the linter passes %q", text)
		}
	}
}

// The context that .dockerignore leaves must hold everything that the program is built from; the version that is stamped must
// reach it.
func TestDockerfileBuild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	copyContext(t, dir)
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		t.Error("the history is in the context")
	}
	var build string
	for _, c := range parse(t, read(t, "Dockerfile"))[0].Commands {
		if c, ok := c.(*instructions.RunCommand); ok && strings.Contains(c.CmdLine[0], "go build") {
			build = c.CmdLine[0]
		}
	}
	if build == "" {
		t.Fatal("no RUN builds the program")
	}
	out := t.TempDir()
	cmd := exec.Command("sh", "-euc", strings.ReplaceAll(build, "/out/", out+"/"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VERSION=1.2.3-test")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text, err := exec.Command(filepath.Join(out, "syncd"), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(text), "syncd 1.2.3-test ") {
		t.Errorf("version: %v, %s", err, text)
	}
}

// copyContext copies what docker build sends: everything but what .dockerignore names.
func copyContext(t *testing.T, to string) {
	t.Helper()
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(name)
		switch {
		case err != nil:
			return err
		case skip && entry.IsDir():
			return filepath.SkipDir
		case skip:
			return nil
		case entry.IsDir():
			return os.Mkdir(filepath.Join(to, name), 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The linker's flags are those of the Makefile, so that every build says its version in the same way.
func TestVersionIsStampedAlike(t *testing.T) {
	t.Parallel()
	const flag = "-X github.com/syncd-io/syncd/cli.version="
	for _, file := range []string{"Dockerfile", "release.sh", filepath.Join(root, "Makefile")} {
		if !strings.Contains(read(t, file), flag) {
			t.Errorf("%s does not set the version with %s", file, flag)
		}
	}
}
