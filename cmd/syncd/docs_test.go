package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// TestDocuments checks every configuration that a document shows, as `syncd validate .` does. One that is indented rather than
// fenced would escape, so those are looked for too.
func TestDocuments(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	err = filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		switch name := e.Name(); {
		case err != nil:
			return err
		case path != "../.." && strings.HasPrefix(name, "."), e.IsDir() && (name == "bin" || name == "testdata"):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			for _, section := range []string{"extends:", "mapping:", "run: {", "collections:"} {
				if strings.HasPrefix(line, "    "+section) {
					t.Errorf("%s:%d: fence the example as yaml, or as a yaml fragment, so that it is checked", path, i+1)
				}
			}
		}
		for _, e := range config.Examples(text) {
			examples++
			r := config.Check(config.Input{Path: path, Text: e.Text, Scope: e.Scope, AllowUnsetEnv: true, Registry: registry})
			if len(r.Diagnostics) > 0 {
				t.Error(r.Diagnostics)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if examples < 5 {
		t.Errorf("only %d examples", examples)
	}
}

// documents are the pages whose commands, flags, settings and links are checked. The reference is generated, and has a test of
// its own.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d documents, %v", len(paths), err)
	}
	out := map[string]string{}
	for _, path := range append(paths, "../../README.md") {
		out[path] = read(t, path)
	}
	return out
}

// known is what the program has, as its own reference says.
type known struct {
	flags     map[string]map[string]bool // by command, such as "syncd run"
	any       map[string]bool            // flags of any command
	settings  map[string]bool            // true: the names below it are the user's
	variables map[string]bool
}

var (
	codeSpan    = regexp.MustCompile("`([^`]+)`")
	flagLine    = regexp.MustCompile(`^(?:(-\w), )?(--[a-z-]+)(?: |$)`)
	tableRow    = regexp.MustCompile("^\\| (`[^|]*?`) \\|(.*)")
	settingsOf  = regexp.MustCompile("^## (?:Settings of )?`([a-z._]+)`")
	settingText = regexp.MustCompile(`^(?:source|checker|sink|mapping|run|limits|errors|observe)(?:\.[\w<>]+)+`)
	variable    = regexp.MustCompile(`SYNCD_[A-Z]+__[A-Z_]+`)
)

func whatThereIs(t *testing.T) known {
	t.Helper()
	k := known{flags: map[string]map[string]bool{"syncd": {}}, settings: map[string]bool{}, variables: map[string]bool{}, any: map[string]bool{}}
	command, prefix := "", ""
	for name, page := range generated(t) {
		for line := range strings.Lines(page) {
			line = strings.TrimSpace(line)
			if heading, ok := strings.CutPrefix(line, "## "); ok {
				command, prefix = "", ""
				if name == "cli.md" && strings.HasPrefix(heading, "syncd") {
					command = heading
					k.flags[command] = map[string]bool{}
				}
				if m := settingsOf.FindStringSubmatch(line); m != nil {
					prefix = m[1]
					k.settings[prefix] = false
				}
			}
			if m := flagLine.FindStringSubmatch(line); m != nil && command != "" {
				for _, flag := range m[1:] {
					k.flags[command][flag], k.any[flag] = true, true
				}
			}
			m := tableRow.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			for _, v := range variable.FindAllString(m[2], -1) {
				k.variables[v] = true
			}
			for _, span := range codeSpan.FindAllStringSubmatch(m[1], -1) {
				if prefix != "" {
					k.settings[prefix+"."+span[1]] = strings.HasPrefix(m[2], " block of names")
				}
			}
		}
	}
	if len(k.flags) < 10 || len(k.settings) < 100 || len(k.variables) < 100 {
		t.Fatalf("the reference is not as this test reads it: %d commands, %d settings, %d variables", len(k.flags), len(k.settings), len(k.variables))
	}
	return k
}

// isSetting reports whether there is such a setting, or block of settings.
func (k *known) isSetting(path string) bool {
	names := strings.Split(path, ".")
	if len(names) > 2 && names[0] == "mapping" && names[1] == "collections" {
		names[2] = "<name>"
	}
	for n := len(names); n > 0; n-- {
		open, ok := k.settings[strings.Join(names[:n], ".")]
		if ok && (n == len(names) || open) {
			return true
		}
	}
	return false
}

// TestDocumentsNameWhatThereIs checks that each command, flag, setting and variable that a document names exists.
func TestDocumentsNameWhatThereIs(t *testing.T) {
	k := whatThereIs(t)
	commands := 0
	for path, text := range documents(t) {
		// What else deploys things has flags of its own; deploy/docs_test.go checks that page's.
		foreign := filepath.Base(path) == "deployment.md"
		for _, line := range codeLines(text) {
			for _, words := range shellCommands(line.text) {
				commands++
				if problem := k.check(words); problem != "" {
					t.Errorf("%s:%d: %s: %s", path, line.number, strings.Join(words, " "), problem)
				}
			}
			for _, v := range variable.FindAllString(line.text, -1) {
				if !k.variables[v] && !hasMoved(t, v) {
					t.Errorf("%s:%d: there is no variable %s", path, line.number, v)
				}
			}
			if !line.span {
				continue
			}
			if s := settingText.FindString(line.text); s != "" && !strings.HasPrefix(line.text[len(s):], ".") && !k.isSetting(s) && !isFile(line.text) {
				t.Errorf("%s:%d: there is no setting %s", path, line.number, s)
			}
			if flag, _, _ := strings.Cut(strings.Fields(line.text)[0], "="); strings.HasPrefix(flag, "--") && !foreign && !k.any[flag] && flag != "--help" {
				t.Errorf("%s:%d: no command has the flag %s", path, line.number, flag)
			}
		}
	}
	if commands < 50 {
		t.Errorf("only %d commands were found", commands)
	}
}

// hasMoved reports whether the variable sets something that stands elsewhere now, which a document may tell.
func hasMoved(t *testing.T, name string) bool {
	t.Helper()
	_, diags := config.Load(config.Input{Path: configsDir + "/base.yaml", Registry: registry(t), Environ: []string{name + "=x"}})
	return slices.ContainsFunc(diags, func(d spec.Diagnostic) bool { return d.Code == spec.CodeMoved })
}

func isFile(text string) bool { return regexp.MustCompile(`\.(go|md|yaml|json)$`).MatchString(text) }

// check says what is wrong with an invocation of syncd.
func (k *known) check(words []string) string {
	command := "syncd"
	rest := words[1:]
	for len(rest) > 0 && k.flags[command+" "+rest[0]] != nil {
		command, rest = command+" "+rest[0], rest[1:]
	}
	if command == "syncd" && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return "there is no command " + rest[0]
	}
	for _, w := range rest {
		flag, _, _ := strings.Cut(strings.Trim(w, "[]"), "=")
		if w == "--" {
			break
		}
		if len(flag) < 2 || flag[0] != '-' || flag == "--help" || flag == "-h" || command == "syncd" && flag == "--version" {
			continue
		}
		if !k.flags[command][flag] {
			return command + " has no flag " + flag
		}
	}
	for _, w := range rest {
		if strings.HasPrefix(w, "configs/") && strings.HasSuffix(w, ".yaml") && !strings.ContainsAny(w, "*?") {
			if _, err := os.Stat("../../" + w); err != nil {
				return "there is no file " + w
			}
		}
	}
	return ""
}

// codeLine is a line of code in a document: of a block, or a span within a line of text.
type codeLine struct {
	number int
	text   string
	span   bool
}

// codeLines are the lines of shell blocks and of blocks without a language, and all code spans.
func codeLines(text string) (out []codeLine) {
	fence, shell := "", false
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence != "":
			if strings.HasPrefix(trimmed, fence) {
				fence = ""
			} else if shell {
				out = append(out, codeLine{i + 1, trimmed, false})
			}
		case strings.HasPrefix(trimmed, "```"):
			language, _, _ := strings.Cut(trimmed[3:], " ")
			fence, shell = "```", language == "sh" || language == "console"
		case strings.HasPrefix(line, "    "):
			out = append(out, codeLine{i + 1, trimmed, false})
		default:
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				if strings.TrimSpace(m[1]) != "" {
					out = append(out, codeLine{i + 1, m[1], true})
				}
			}
		}
	}
	return out
}

// wrappers run another command, which they are given after words of their own.
var wrappers = []string{"exec", "time", "timeout", "flock", "nohup", "nice", "if", "!", "while", "until", "watch"}

// shellCommands finds the invocations of syncd in a line of shell. Each begins with the program's name.
func shellCommands(line string) (out [][]string) {
	words := shellWords(strings.TrimPrefix(line, "$ "))
	for len(words) > 0 {
		n := slices.IndexFunc(words, func(w string) bool { return slices.Contains([]string{"|", "||", "&", "&&", ";"}, w) })
		one := words
		if n >= 0 {
			one, words = words[:n], words[n+1:]
		} else {
			words = nil
		}
		for len(one) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(one[0]) {
			one = one[1:]
		}
		if len(one) == 0 {
			continue
		}
		at := slices.IndexFunc(one, func(w string) bool { return w == "syncd" || w == "bin/syncd" })
		if at < 0 || at > 0 && !slices.Contains(wrappers, one[0]) || at == len(one)-1 {
			continue
		}
		if end := slices.IndexFunc(one, func(w string) bool { return w == ">" || w == ">>" || w == "<" || w == "2>" }); end > at {
			one = one[:end]
		}
		out = append(out, append([]string{"syncd"}, one[at+1:]...))
	}
	return out
}

// shellWords splits a line of shell as far as documents need it: quotes, comments, and operators set apart.
func shellWords(line string) (words []string) {
	var b strings.Builder
	var quote rune
	begun := false
	end := func() {
		if begun {
			words = append(words, b.String())
		}
		b.Reset()
		begun = false
	}
	for _, r := range line {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				b.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == '#' && !begun:
			end()
			return words
		case r == ' ' || r == '\t':
			end()
		case r == ';':
			end()
			words = append(words, ";")
		default:
			b.WriteRune(r)
			begun = true
		}
	}
	end()
	return words
}

// TestLinks follows the links of all documents to files here and to their headings.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pages, links := documents(t), 0
	for path, text := range pages {
		for i, line := range strings.Split(text, "\n") {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
					continue
				}
				links++
				name, anchor, _ := strings.Cut(m[1], "#")
				target := path
				if name != "" {
					target = filepath.Join(filepath.Dir(path), name)
				}
				info, err := os.Stat(target)
				if err != nil {
					t.Errorf("%s:%d: %s leads nowhere", path, i+1, m[1])
					continue
				}
				if anchor != "" && !info.IsDir() && !slices.Contains(anchors(read(t, target)), anchor) {
					t.Errorf("%s:%d: %s has no heading for #%s", path, i+1, target, anchor)
				}
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d links were found", links)
	}
}

// anchors are the names that GitHub gives a page's headings, and those that the page gives itself.
func anchors(text string) (out []string) {
	seen := map[string]int{}
	for _, m := range regexp.MustCompile(`<a (?:id|name)="([^"]+)"`).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	for _, m := range regexp.MustCompile(`(?m)^#{1,6} (.+)$`).FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			}
			return -1
		}, strings.TrimSpace(m[1]))
		if n := seen[name]; n > 0 {
			out = append(out, fmt.Sprintf("%s-%d", name, n))
		} else {
			out = append(out, name)
		}
		seen[name]++
	}
	return out
}

// TestAlertsHaveRunbooks checks that the runbook names every alert, and has the heading that its link leads to.
func TestAlertsHaveRunbooks(t *testing.T) {
	text := read(t, "../../deploy/prometheus/alerts.yaml")
	page := read(t, "../../docs/operations.md")
	there := anchors(page)
	alerts := regexp.MustCompile(`(?m)^\s*(?:- )?alert: *"?(\w+)`).FindAllStringSubmatch(text, -1)
	if len(alerts) == 0 {
		t.Fatal("no alert was found")
	}
	for _, m := range alerts {
		if !strings.Contains(page, "*"+m[1]) {
			t.Errorf("docs/operations.md says nothing of %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`docs/operations\.md#([\w-]+)`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(there, m[1]) {
			t.Errorf("an alert leads to #%s, which docs/operations.md does not have", m[1])
		}
	}
}

// TestMessagesInRunbook checks that the messages which the runbook explains are still those of the program: each is quoted
// literally between its ….
func TestMessagesInRunbook(t *testing.T) {
	var source strings.Builder
	for _, dir := range []string{
		"cli", "job", "engine", "audit", "arrival", "planfile", "store", "sendlog", "tally", "verdict", "connectors", "checkers", "sinks", "server", "metrics", "tracing", "report",
		"internal",
	} {
		err := filepath.WalkDir("../../"+dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source.WriteString(strings.ReplaceAll(read(t, path), `\"`, `"`))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Their texts are the API's.
	source.WriteString(read(t, "../../errors.go"))
	page := read(t, "../../docs/operations.md")
	section := func(title string) string {
		_, rest, ok := strings.Cut(page, "\n## "+title+"\n")
		if !ok {
			t.Fatalf("docs/operations.md has no section %s", title)
		}
		text, _, _ := strings.Cut(rest, "\n## ")
		return text
	}
	var quoted []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`.*?) \\|").FindAllStringSubmatch(section("Messages"), -1) {
		for _, span := range codeSpan.FindAllStringSubmatch(m[1], -1) {
			quoted = append(quoted, span[1])
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^\*\*(.*?)\*\*`).FindAllStringSubmatch(section("Stopped by a guard"), -1) {
		for _, span := range codeSpan.FindAllStringSubmatch(m[1], -1) {
			quoted = append(quoted, span[1])
		}
	}
	if len(quoted) < 50 {
		t.Errorf("only %d messages were found", len(quoted))
	}
	text := source.String()
	for _, q := range quoted {
		for _, part := range strings.Split(q, "…") {
			if part = strings.TrimSpace(part); len(part) > 3 && !strings.Contains(text, part) {
				t.Errorf("docs/operations.md explains the message %q, but %q is in no source", q, part)
			}
		}
	}
}
