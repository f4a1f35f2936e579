package text

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unicode/utf8"
)

func TestOf(t *testing.T) {
	for value, want := range map[string]string{
		"507f1f77bcf86cd799439011":        "507f1f77bcf86cd799439011",
		"Straße 5, 東京":                    "Straße 5, 東京",
		`{"a":1}`:                         `{"a":1}`,
		"🙂":                               "🙂",
		"\ufffd":                          "\ufffd", // the character itself, in UTF-8
		"":                                `""`,
		" ":                               `" "`,
		"a ":                              `"a "`,
		"\x1b[2Jclear":                    `"\x1b[2Jclear"`,
		"a\nerror: forged":                `"a\nerror: forged"`,
		"a\r  Errors   0":                 `"a\r  Errors   0"`,
		"\a":                              `"\a"`,
		"a\tb":                            `"a\tb"`,
		"rtl\u202eevil":                   `"rtl\u202eevil"`,
		"zero\u200bwidth":                 `"zero\u200bwidth"`,
		"a\x00b":                          `"a\x00b"`,
		"\u009b31m":                       `"\u009b31m"`,
		"caf\xe9":                         `"caf\xe9"`,
		"\u2028":                          `"\u2028"`,
		"a\u00a0b":                        `"a\u00a0b"`,
		"\u3164":                          `"\u3164"`,
		"tag\U000e0041":                   `"tag\U000e0041"`,
		"del\x7f":                         `"del\x7f"`,
		"say \"\x1b\"\\":                  `"say \"\x1b\"\\"`,
		strings.Repeat("x", 200):          strings.Repeat("x", 200),
		strings.Repeat("x", 201):          `"` + strings.Repeat("x", 200) + `"… (201 bytes)`,
		strings.Repeat("ä", 300_000):      `"` + strings.Repeat("ä", 100) + `"… (600000 bytes)`,
		"x" + strings.Repeat("ä", 300):    `"x` + strings.Repeat("ä", 99) + `"… (601 bytes)`,
		strings.Repeat("\x80", 201):       `"` + strings.Repeat(`\x80`, 196) + `"… (201 bytes)`,
		strings.Repeat("x", 199) + "\xe9": `"` + strings.Repeat("x", 199) + `\xe9"`,
	} {
		if got := Of(value); got != want {
			t.Errorf("%.50q is shown as %.300s", value, got)
		}
	}
}

func TestID(t *testing.T) {
	if got := ID("", false) + ID("", true); got != `""(no id)` {
		t.Error(got)
	}
}

func TestLine(t *testing.T) {
	for sentence, want := range map[string]string{
		`reading collection "a\n": no`: `reading collection "a\n": no`, // what is quoted already stays as it is
		"closing: a\nsyncing: b":       `closing: a\nsyncing: b`,
		"":                             "",
		"a\x1b[31m\xff":                `a\x1b[31m\xff`,
		strings.Repeat("x", 2001):      strings.Repeat("x", 2000) + "… (2001 bytes)",
	} {
		if got := Line(sentence); got != want {
			t.Errorf("%.50q is shown as %.100q", sentence, got)
		}
	}
}

type alias struct{ error }

func (a alias) Unwrap() error { return a.error }

func TestErr(t *testing.T) {
	a, b := errors.New("a\nerror: forged"), errors.New("b")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{a, `a\nerror: forged`},
		{errors.Join(a, b), `a\nerror: forged; b`},
		{alias{alias{errors.Join(b, errors.Join(a, b))}}, `b; a\nerror: forged; b`},
		{fmt.Errorf("closing: %w", errors.Join(a, b)), `closing: a\nerror: forged\nb`},
		{fmt.Errorf("%w\n%w", a, b), `a\nerror: forged; b`},
		{fmt.Errorf("%w: %w", a, b), `a\nerror: forged: b`},
		{errors.Join(errors.New(strings.Repeat("x", 3000)), b), strings.Repeat("x", 2000) + "… (3000 bytes); b"},
	} {
		if got := Err(tc.err); got != tc.want {
			t.Errorf("%q is shown as %.200s", tc.err, got)
		}
	}
}

// TestAlwaysShows: whatever a text is, it is shown in characters that can be seen, on one line, and in bounded length; and what was
// shown once is shown in the same way again.
func TestAlwaysShows(t *testing.T) {
	check := func(b []byte, s string) bool {
		for _, shown := range []string{Of(string(b)), Line(string(b)), Of(s), Line(s), Quote(s)} {
			if !utf8.ValidString(shown) || !printable(shown) || Line(shown) != shown && len(shown) <= maxLine || len(shown) > 10*maxLine+50 {
				t.Logf("%q", shown)
				return false
			}
		}
		return true
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 5000}); err != nil {
		t.Error(err)
	}
}

func TestFprintf(t *testing.T) {
	type named string
	var b strings.Builder
	Fprintf(&b, "%s %v %s %s %s %d %v %s\n", "a\n", errors.New("b\r"), named("c\x1b"), []byte("d\x00"), 2*time.Second, 7, nil, Safe("\x1b[31mred\x1b[0m"))
	if want := `a\n b\r c\x1b d\x00 2s 7 <nil> ` + "\x1b[31mred\x1b[0m\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	b.Reset()
	Fprintf(&b, "%-6s|%6s|\n", "ä\n", "ok")
	if b.String() != "ä\\n   |    ok|\n" {
		t.Errorf("%q", b.String())
	}
}

// TestEscape: JSON keeps its meaning, whatever it holds.
func TestEscape(t *testing.T) {
	for _, s := range []string{"", "plain ä 東京", "\x1b\x7f\u009b\u202e\u200b\U000e0041\u2028", "\xff", "a\nb\tc\"\\"} {
		var b strings.Builder
		if err := json.NewEncoder(Escape(&b)).Encode(s); err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(b.String()), &back); err != nil || back != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q became %q: %v", s, back, err)
		}
		if line := strings.TrimSuffix(b.String(), "\n"); !printable(line) {
			t.Errorf("%q", line)
		}
	}
	var b strings.Builder
	if n, err := Escape(&b).Write([]byte("a\x1b\xffb\n")); n != 5 || err != nil || b.String() != "a\\u001b\\ufffdb\n" {
		t.Errorf("%d, %v, %q", n, err, b.String())
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	Table(&b, [][]string{{"Name", "N"}, {"a\nb", "1"}, {"wider", "22"}})
	if want := "Name    N\na\\nb    1\nwider  22\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}
