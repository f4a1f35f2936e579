package cli

import (
	"bytes"
	"strings"
	"testing"
)

// TestMistakesOnTheCommandLineHaveTheirExitCode, wherever they are noticed, and those of files keep theirs.
func TestMistakesOnTheCommandLineHaveTheirExitCode(t *testing.T) {
	unknown := `did you mean "page"? known: page`
	for args, c := range map[string]struct {
		more, says string
		code       int
	}{
		"completion bsh":                   {"", `did you mean "bash"?`, exitUsage},
		"help rum":                         {"", `did you mean "run"?`, exitUsage},
		"man rum":                          {"", `did you mean "run"?`, exitUsage},
		"state lsit":                       {"", `did you mean "list"?`, exitUsage},
		"config prnt":                      {"", `did you mean "print"?`, exitUsage},
		"dlq lst":                          {"", `did you mean "list"?`, exitUsage},
		"version x":                        {"", `usage: syncd version`, exitUsage},
		"run --collections pages":          {"", unknown, exitUsage},
		"run --collections !pages":         {"", "known: page", exitUsage},
		"run --collections pages*":         {"", "known: page", exitUsage},
		"run --collections page,!p*":       {"", "known: page", exitUsage},
		"plan --collections pages":         {"", unknown, exitUsage},
		"verify --collections pages":       {"", unknown, exitUsage},
		"config print --collections pages": {"", unknown, exitUsage},
		"explain pages x":                  {"", unknown, exitUsage},
		"id pages x":                       {"", unknown, exitUsage},
		"id --collection pages x":          {"", unknown, exitUsage},
		"run --batch-size many":            {"", "the command line can't be used: 1 problem", exitUsage},
		"plan":                             {"run: {collections: [pages]}\n", unknown, exitInvalid},
		"run --collections pages --batch-size 100": {"limits: {max_events: many}\n", unknown, exitInvalid},
	} {
		t.Run(args, func(t *testing.T) {
			var code int
			var printed string
			switch words := strings.Fields(args); words[0] {
			case "completion", "help", "man", "state", "dlq", "version": // which take no configuration there
				code, printed = bare(t, words...)
			default:
				code, printed = newWorld().run(t, c.more, words...)
			}
			if code != c.code || !strings.Contains(printed, c.says) {
				t.Errorf("exit code %d, want %d and %s:\n%s", code, c.code, c.says, printed)
			}
		})
	}
}

// bare runs a command of a program without plugins.
func bare(t *testing.T, args ...string) (code int, printed string) {
	t.Helper()
	var out bytes.Buffer
	code = program{args: args, stdout: &out, stderr: &out}.run(t.Context())
	return code, out.String()
}
