package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox"
)

// TestInitLooksAtTheDatabase writes a configuration for a database and runs it.
func TestInitLooksAtTheDatabase(t *testing.T) {
	s := start(t, sandbox.Config{})
	if err := s.Load(t.Context(), 0, 100); err != nil {
		t.Fatal(err)
	}
	db := database(t, s, "ProjectManagement")
	for _, name := range []string{"releaseNotes", "releaseNote", "HTTPLogs", "userStatus", "news", "fs.files"} {
		insert(t, db, name, bson.D{{Key: "_id", Value: 1}, {Key: "title", Value: "t"}})
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "mine.yaml")
	r := syncd(t, s.Environ(), "init", file, "--mongo", "env:MONGODB_URI", "--database", "ProjectManagement")
	r.wants(t, 0, `, with 14 collections of ProjectManagement\. Next:$`, `^  export MONGODB_URI=… `, `^  syncd validate `)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, p := range []string{
		`    uri: "\$\{MONGODB_URI\}"$`,
		`    database: ProjectManagement$`,
		`    workItem: work_item +# 40 documents$`,
		`    features: feature +# \d+ documents$`,
		`    releaseNote: release_note +# 1 document$`,
		`    releaseNotes: release_notes +# 1 document$`, // its singular is taken
		`    HTTPLogs: http_log +# 1 document; a plural made singular: is that what the index calls it\?$`,
		`    userStatus: user_status +# 1 document$`,
		`    news: news +# 1 document$`,
		`    fs\.files: fs_file +# 1 document; a plural `,
	} {
		if !regexp.MustCompile(`(?m)^` + p).MatchString(text) {
			t.Errorf("nothing matches %q in\n%s", p, text)
		}
	}
	if strings.Contains(text, s.Mongo.Addr()) {
		t.Errorf("the connection string is in the file:\n%s", text)
	}
	syncd(t, s.Environ(), "validate", file).wants(t, 0)
	syncd(t, s.Environ(), "run", file, "--dry-run").wants(t, 0, `a run would send 106 events$`)

	// It is not written again.
	syncd(t, s.Environ(), "init", file, "--mongo", "env:MONGODB_URI", "--database", "ProjectManagement").wants(t, 1, `exists already`)

	// From standard input, for another variable's name, and what can go wrong.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, stdout, stderr := command(ctx, nil, "init", "-", "--mongo", "-", "--database", "ProjectManagement")
	cmd.Stdin = strings.NewReader(s.Mongo.URI() + "\n")
	if err := cmd.Run(); err != nil || stdout.String() != text || stderr.Len() > 0 {
		t.Errorf("%v, %s\n%s", err, stdout, stderr)
	}
	syncd(t, []string{"OTHER=" + s.Mongo.URI()}, "init", "-", "--mongo", "env:OTHER", "--database", "ProjectManagement").
		wants(t, 0, `^    uri: "\$\{OTHER\}"$`)
	for _, bad := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--mongo", "env:NOT_SET", "--database", "x"}, 2, `the environment variable NOT_SET is not set`},
		{[]string{"--mongo", "env:MONGODB_URI"}, 2, `which database\?`},
		{[]string{"--mongo", "env:MONGODB_URI", "--database", "nothing"}, 1, `the database nothing holds no collections`},
		{[]string{"--mongo", "h:1", "--database", "x"}, 2, `flag --mongo: error: source.mongo.uri is not a MongoDB connection string`},
		{[]string{"--mongo", "env:MONGODB_URI", "--database", "a/b"}, 2, `flag --database: error: source.mongo.database can't hold`},
		{[]string{"--mongo", "-", "--database", "x"}, 2, `standard input is empty`},
	} {
		other := filepath.Join(dir, "other.yaml")
		syncd(t, s.Environ(), append([]string{"init", other}, bad.args...)...).wants(t, bad.code, bad.want)
		if _, err := os.Lstat(other); err == nil {
			t.Errorf("%v left a file", bad.args)
		}
	}
}

// TestInitWritesSettingsThatCanBeSet takes the comment signs of each setting away in turn.
func TestInitWritesSettingsThatCanBeSet(t *testing.T) {
	dir := t.TempDir()
	first := syncd(t, nil, "init", "--all", "-")
	first.wants(t, 0)
	lines := strings.Split(first.stdout, "\n")
	hidden := regexp.MustCompile(`^( *)#([A-Za-z_ ]+:.*)$`)
	indentOf := func(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
	tried := 0
	for i, line := range lines {
		m := hidden.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(m[2], " ") {
			continue
		}
		tried++
		changed := append([]string(nil), lines...)
		changed[i] = m[1] + m[2]
		if strings.HasSuffix(m[2], ":") { // with what is below it
			for k := i + 1; k < len(lines) && strings.HasPrefix(lines[k], m[1]+"#  "); k++ {
				changed[k] = m[1] + strings.TrimPrefix(lines[k], m[1]+"#")
			}
			if changed[i+1] == lines[i+1] {
				continue // a section whose settings are tried one by one
			}
		}
		for k := i - 1; k >= 0 && m[1] != ""; k-- { // with the section that it stands in
			if h := hidden.FindStringSubmatch(lines[k]); h != nil && indentOf(lines[k]) < len(m[1]) {
				changed[k] = h[1] + h[2]
				if h[2] == "cluster:" { // which is nothing without a group
					changed[k] += "\n  group: syncd"
					if strings.HasPrefix(m[2], "group:") {
						changed[i] = ""
					}
				}
				break
			} else if !strings.Contains(lines[k], "#") && indentOf(lines[k]) < len(m[1]) && lines[k] != "" {
				break
			}
		}
		file := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(file, []byte(strings.Join(changed, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		r := syncd(t, []string{"HOSTNAME=pod-0"}, "validate", file)
		if strings.HasPrefix(m[2], "port:") { // excluded by the url above it, and said so
			r.wants(t, 3, `checker.qdrant.port`)
			continue
		}
		if r.code != 0 {
			t.Errorf("line %d, %s: %s", i+1, m[2], r)
		}
	}
	if tried < 40 {
		t.Errorf("only %d settings in\n%s", tried, first.stdout)
	}
}

// TestPrintedConfigurationsCanBeLoaded prints each configuration of the repository and loads what was printed, once secrets stand where
// [redacted] does: until then it is refused.
func TestPrintedConfigurationsCanBeLoaded(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "configs/*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	environ := []string{
		"MONGODB_URI=mongodb://ada:pw@h:1/x?replicaSet=r", "MONGODB_DATABASE=d", "QDRANT_URL=https://q", "QDRANT_API_KEY=k",
		"KAFKA_BOOTSTRAP_SERVERS=k:1", "KAFKA_USERNAME=u", "KAFKA_PASSWORD=p",
	}
	refused := 0
	for _, file := range files {
		for _, env := range [][]string{environ, nil} {
			r := syncd(t, env, "config", "print", file, "--allow-unset-env")
			r.wants(t, 0)
			again := filepath.Join(t.TempDir(), "again.yaml")
			if strings.Contains(r.stdout, "[redacted]") {
				if err := os.WriteFile(again, []byte(r.stdout), 0o600); err != nil {
					t.Fatal(err)
				}
				syncd(t, nil, "validate", "--allow-unset-env", again).wants(t, 3, `holds \[redacted\], which is printed in place of a secret`)
				refused++
			}
			if err := os.WriteFile(again, []byte(strings.ReplaceAll(r.stdout, "[redacted]", "k")), 0o600); err != nil {
				t.Fatal(err)
			}
			syncd(t, nil, "validate", "--allow-unset-env", again).wants(t, 0)
			r = syncd(t, nil, "config", "diff", "--allow-unset-env", again, again)
			r.wants(t, 0)
			// Apart from secrets and where they come from it is the same.
			r = syncd(t, env, "config", "print", again, "--allow-unset-env")
			r.wants(t, 0, `again.yaml:\d+:\d+`)
		}
	}
	if refused < 3 {
		t.Errorf("only %d of the files print secrets", refused)
	}
}
