package spec_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/spec"
)

func TestNames(t *testing.T) {
	for _, good := range []string{
		"", "page", "work item", "work\u00a0item", "é", "页面", "صفحة", "x.y", "_id", "$cmd", "❤\ufe0f", "👨\u200d👩\u200d👧", "e\u0301", "\u0600١", "\ufffd",
	} {
		if _, problem := spec.NameProblem(good); problem != "" {
			t.Errorf("%+q %s", good, problem)
		}
	}
	for name, want := range map[string]string{
		"page ":       "4: ends with a blank (U+0020)",
		" page":       "0: begins with a blank (U+0020)",
		"page\t":      "4: ends with a tab (U+0009)",
		"page\n":      "4: ends with a line break (U+000A)",
		"page\r\n":    "5: ends with a line break (U+000A)",
		"\u2028page":  "0: begins with a line break (U+2028)",
		"page\u0085":  "4: ends with a line break (U+0085)",
		"page\u00a0":  "4: ends with a no-break space (U+00A0)",
		"页\u202f":     "3: ends with a no-break space (U+202F)",
		"page\u3000":  "4: ends with a space (U+3000)",
		"page\u200b":  "4: ends with a zero-width character (U+200B)",
		"\ufeffpage":  "0: begins with a zero-width character (U+FEFF)",
		"page\u200d":  "4: ends with a zero-width character (U+200D)",
		"page\u2060":  "4: ends with a zero-width character (U+2060)",
		"\u202epage":  "0: begins with an invisible character (U+202E)",
		"page\u200f":  "4: ends with an invisible character (U+200F)",
		"page\u00ad":  "4: ends with an invisible character (U+00AD)",
		"page\u3164":  "4: ends with an invisible character (U+3164)",
		"page\u2800":  "4: ends with an invisible character (U+2800)",
		"page\x00":    "4: ends with a control character (U+0000)",
		"\x1b[2Jpage": "0: begins with a control character (U+001B)",
		" ":           "0: begins with a blank (U+0020)",
		"pa\xffge":    "0: must be valid UTF-8 text",
	} {
		offset, problem := spec.NameProblem(name)
		if got := fmt.Sprintf("%d: %s", offset, problem); got != want {
			t.Errorf("%+q: %s; want %s", name, got, want)
		}
	}
}

// TestNameRule checks the place and the source that are named.
func TestNameRule(t *testing.T) {
	type named struct {
		Name string `yaml:"name" rule:"required,name,max=5" doc:"A name."`
	}
	node := scalar("ab ", spec.Text, 2)
	node.Quoted, node.Written = true, `"ab "`
	from := scalar("ab ", spec.Text, 2)
	from.From, from.Rewrote = []string{"NAME"}, true
	for _, c := range []struct {
		node *spec.Node
		want string
	}{
		{scalar("ab", spec.Text, 2), ""},
		{node, "f:2:12: error: name ends with a blank (U+0020); remove it [bad-value]"},
		{from, "f:2:9: error: name ends with a blank (U+0020); remove it; the value comes from NAME [bad-value]"},
		{scalar("abcdef", spec.Text, 2), "f:2:9: error: name must be at most 5 characters long [out-of-range]"},
	} {
		var v named
		if got := spec.Decode(block(spec.Entry{Name: "name", Value: c.node}), &v).Error(); got != c.want {
			t.Errorf("%q: %s; want %s", c.node.Text, got, c.want)
		}
	}
	for _, s := range spec.Describe(&named{}) {
		if rules := s.Shape.Rules(); !strings.Contains(rules, "no blanks at its ends") {
			t.Errorf("described as %q", rules)
		}
	}
}

// TestLeadingZeroes: a number that begins with a zero is said, with what is read, and held to its rule all the same.
func TestLeadingZeroes(t *testing.T) {
	for _, c := range []struct {
		field, text string
		typ         spec.ScalarType
		want        string
	}{
		{"size", "010", spec.Int, "size is 010, which begins with a zero and is read as octal: 8; write 8 if that is meant, or else 10 [leading-zero]"},
		{"size", "0_7", spec.Int, "size is 0_7, which begins with a zero and is read as octal: 7; write 7 if that is meant [leading-zero]"},
		{"size", "+07", spec.Int, "size is +07, which begins with a zero and is read as octal: 7; write 7 if that is meant [leading-zero]"},
		{"size", "0100", spec.Int, "f:1:9: error: size must be at most 10 [out-of-range]"},
		{"size", "08", spec.Float, "size must be a whole number, not the number 08; write it without the zero at its beginning [wrong-type]"},
		{"size", "0o7", spec.Int, ""},
		{"size", "0x7", spec.Int, ""},
		{"size", "7", spec.Int, ""},
		{"wait", "010", spec.Int, "wait is 010, which begins with a zero and is read as decimal: 10s; write 10s if that is meant"},
		{"wait", "0", spec.Int, ""},
		{"wait", "0.5", spec.Float, ""},
		{"wait", "00", spec.Int, ""},
		{"wait", "0s", spec.Text, ""},
		{"ratio", "0100", spec.Int, "ratio is 0100, which begins with a zero and is read as decimal: 100; write 100 if that is meant [leading-zero]"},
		{"ratio", "0.25", spec.Float, ""},
		{"ratio", "0", spec.Int, ""},
		{"token", "0123", spec.Int, ""},
	} {
		v := struct {
			inner
			Ratio float64     `yaml:"ratio" doc:"A ratio."`
			Wait  any         `yaml:"-"`
			Token spec.Secret `yaml:"token" doc:"A token."`
		}{inner: inner{Size: 1, Kind: "big"}}
		o := defaults()
		dst := any(&v)
		if c.field == "wait" {
			dst = &o
		}
		entries := []spec.Entry{{Name: c.field, Value: scalar(c.text, c.typ, 1)}}
		if c.field == "wait" {
			entries = append(entries, spec.Entry{Name: "name", Value: scalar("n", spec.Text, 1)})
		}
		got := spec.Decode(block(entries...), dst).Error()
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s: %s; want %s", c.field, c.text, got, c.want)
		}
	}
	from := scalar("010", spec.Int, 0)
	from.Rewrote, from.Pos.Source = true, "environment variable X"
	var v inner
	if got := spec.Decode(block(spec.Entry{Name: "size", Value: from}), &v).Error(); !strings.Contains(got, "warning: size begins with a zero and is read as octal; write it without the zero") || strings.Contains(got, "010") {
		t.Error(got)
	}
}

// TestGetInLargeMaps: what Get finds does not depend on how many entries there are, or on copies that are changed.
func TestGetInLargeMaps(t *testing.T) {
	for _, n := range []int{1, 31, 32, 1000} {
		m := &spec.Node{Kind: spec.Map}
		for i := range n {
			m.Entries = append(m.Entries, spec.Entry{Name: fmt.Sprint(i), Value: scalar(fmt.Sprint(i), spec.Text, 1)})
		}
		last := fmt.Sprint(n - 1)
		if got := m.Get(last); got == nil || got.Text != last || m.Get("x") != nil {
			t.Errorf("%d entries: %v", n, got)
		}
		with := *m
		with.Entries = append(with.Entries[:n:n], spec.Entry{Name: "x", Value: scalar("new", spec.Text, 1)})
		without := *m
		without.Entries = m.Entries[:n-1]
		other := *m
		other.Entries = make([]spec.Entry, n)
		for i := range n {
			other.Entries[i] = spec.Entry{Name: "y" + fmt.Sprint(i), Value: scalar("y", spec.Text, 1)}
		}
		if with.Get("x") == nil || without.Get(last) != nil || other.Get(last) != nil || other.Get("y0") == nil || m.Get("x") != nil || m.Get(last) == nil {
			t.Errorf("%d entries: a copy has the entries of another", n)
		}
	}
}
