package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
)

// notRun are the commands of the pages that no test of this package runs, each with its reason.
var notRun = []struct{ page, command, reason string }{
	{"README.md", "make demo", "it builds the program again and runs what e2e tests"},
	{"README.md", "make test", "it is what runs this test"},
	{"docs/getting-started.md", "make sandbox", "it runs until Ctrl-C; the test starts the same servers"},
	{"docs/getting-started.md", "export ", "they are the reader's servers; the test's are set already"},
	{"docs/tutorial.md", "make build bin/sandbox", "the programs are built by the tests"},
	{"docs/tutorial.md", "bin/sandbox up", "it runs until Ctrl-C; the test starts the same servers"},
	{"docs/configuration.md", "$ syncd validate --format text configs/", "it shows a mistake that configs/ does not have; TestValidate of package cli prints it"},
	{"docs/configuration.md", "$ syncd validate --connect configs/prod.yaml", "its output is of servers with faults; connect_test.go has them"},
	{"docs/following.md", "syncd run --follow", "it runs until it is told to stop; followfile_test.go and package faults run it"},
	{"docs/migration.md", "python3 ", "the ids are golden data of package mapping, and Python need not be there"},
	{"docs/monitoring.md", "syncd run -c configs/prod.yaml --every", "it runs until it is told to stop; the tests of package cli serve the metrics"},
	{"docs/monitoring.md", "curl ", "it asks the command before it"},
	{"docs/direct.md", "export ", "they are the reader's servers"},
	{"docs/direct.md", "syncd ", "they need an embedding server; direct_test.go runs them with one of its own"},
	{"docs/indexing.md", "curl ", "the sandbox's Qdrant has no REST API; alias_test.go does the same by gRPC"},
	{"docs/indexing.md", "syncd plan", "it needs an embedding configuration and its servers; model_test.go runs it with some of its own"},
	{"docs/indexing.md", "syncd search", "it needs an embedding server; direct_test.go runs it with one of its own"},
	{"docs/postgresql.md", "export ", "they are the reader's servers"},
	{"docs/postgresql.md", "syncd ", "they need PostgreSQL and an embedding server; the tests of integration run them with some of their own"},
	{"docs/operations.md", "syncd run -c few.yaml", "the file is the reader's"},
	{"docs/operations.md", "syncd run -c prod.yaml --no-incremental --collections 'page*,!pageDraft'", "the sandbox has no pageDraft"},
	{"docs/operations.md", "syncd plan -c prod.yaml --collections releaseNote", "the collection is the one that the reader adds"},
	{"docs/operations.md", "syncd run -c prod.yaml --collections releaseNote", "the same"},
	{"docs/service.md", "syncd serve", "it runs until it is told to stop; service_test.go runs it"},
	{"docs/service.md", "syncd ", "they are of a service with the reader's jobs; service_test.go and package cli run them"},
	{"docs/service.md", "curl ", "they are of a service with the reader's jobs; server/connect and server/api make the same requests"},
	{"docs/service.md", "-d ", "it goes on with the line before"},
	{"docs/cluster.md", "syncd run -c configs/cluster.yaml", "it needs servers with TLS; integration/cluster_test.go and package job run several processes"},
	{"docs/deployment.md", "docker ", "no container engine; package deploy checks the files and the arguments"},
	{"docs/deployment.md", "kubectl ", "no cluster; package deploy checks the files and the arguments"},
	{"docs/deployment.md", "sudo ", "it changes the machine; make release-check installs into folders, package deploy checks the units"},
	{"docs/deployment.md", "openssl ", "the reader's certificate"},
	{"docs/deployment.md", "htpasswd ", "the reader's password"},
	{"docs/deployment.md", "export ", "the reader's service"},
	{"docs/deployment.md", "cp ", "the reader's secrets"},
	{"docs/deployment.md", "syncd ", "package deploy checks the arguments of each"},
	{"docs/deployment.md", "make release", "minutes; make release-check is run before a release"},
}

var commandLine = regexp.MustCompile(`^(?:\$ )?(?:bin/|\./)?(?:syncd|sandbox|make|export|curl|docker|kubectl|sudo|systemctl|git|go|jq|cp|openssl|htpasswd|python3|if|[A-Z_]+=\S*) `)

// TestEveryCommandIsRunOrSaysWhy looks for commands in all pages: what no test runs is in the list above.
func TestEveryCommandIsRunOrSaysWhy(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	used := make([]bool, len(notRun))
	commands := 0
	for _, file := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commandsOf(string(text)) {
			commands++
			if c.run || slices.Contains(triedPages, page) && !listed(page, c.text, used) {
				continue
			}
			if !listed(page, c.text, used) {
				t.Errorf("%s:%d: no test runs %q: fence it as sh run, or say in notRun why it can't be", page, c.number, c.text)
			}
		}
	}
	for i, n := range notRun {
		if !used[i] {
			t.Errorf("%s has no command %q that is not run: take it out of the list", n.page, n.command)
		}
	}
	if commands < 100 {
		t.Errorf("only %d commands were found", commands)
	}
}

func listed(page, command string, used []bool) bool {
	for i, n := range notRun {
		if n.page == page && strings.HasPrefix(command, n.command) {
			used[i] = true
			return true
		}
	}
	return false
}

type foundCommand struct {
	numbered
	run bool
}

// commandsOf are the lines of shell blocks and the indented lines that are commands.
func commandsOf(page string) (out []foundCommand) {
	fence := ""
	for i, line := range strings.Split(page, "\n") {
		trimmed := strings.TrimSpace(line)
		language, info, _ := strings.Cut(strings.TrimPrefix(fence, "```"), " ")
		switch {
		case fence != "" && strings.HasPrefix(line, "```"):
			fence = ""
		case fence != "":
			if (language == "sh" || language == "console") && trimmed != "" && !strings.HasPrefix(trimmed, "#") {
				out = append(out, foundCommand{numbered{i + 1, trimmed}, info == "run" || info == "module"})
			}
		case strings.HasPrefix(line, "```"):
			fence = line
		case strings.HasPrefix(line, "    ") && commandLine.MatchString(trimmed):
			out = append(out, foundCommand{numbered{i + 1, trimmed}, false})
		}
	}
	return out
}

// triedPages are those whose commands are for the reader's own servers and documents. They are all run, in their order, against a
// sandbox, and must be understood there: what they print, and whether they find something, differs.
var triedPages = []string{"docs/operations.md", "docs/migration.md"}

func TestCommandsForTheReadersServers(t *testing.T) {
	s := indexed(t, sandbox.Config{Streams: true})
	if err := s.Load(t.Context(), 0, 200); err != nil {
		t.Fatal(err)
	}
	db := database(t, s, "ProjectManagement")
	insert(t, db, "page", bson.D{{Key: "_id", Value: "7"}, {Key: "title", Value: "t"}})
	for _, page := range triedPages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			r := newReader(t, s)
			for _, name := range []string{"prod.yaml", "mine.yaml"} {
				text := "extends: configs/sandbox.yaml\nmapping: {owner: {exclusive: true}}\nerrors: {dead_letter: {file: {path: dead.ndjson, format: envelope}}}\n"
				if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(filepath.Join(root, page))
			if err != nil {
				t.Fatal(err)
			}
			r.run(t, page, "syncd run -c prod.yaml --collections cycle") // the reader's last one
			ran := 0
			for _, c := range commandsOf(string(text)) {
				if c.run || listed(page, c.text, make([]bool, len(notRun))) {
					continue
				}
				ran++
				cmd := exec.CommandContext(t.Context(), "bash", "-c", c.text)
				cmd.Dir, cmd.Env = r.dir, r.environ
				out, err := cmd.CombinedOutput()
				if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				// 4 is a difference or a guard, and 1 that there is nothing of that name.
				if code := cmd.ProcessState.ExitCode(); code != 0 && code != 4 && !(code == 1 && strings.Contains(c.text, "deadletters")) {
					t.Errorf("%s:%d: %s: exit code %d\n%s", page, c.number, c.text, code, out)
				}
			}
			if ran < 3 {
				t.Errorf("only %d commands were run", ran)
			}
		})
	}
}
