package postgres

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/syncd-io/syncd"
)

// TestValues says what becomes of PostgreSQL's texts; that they are the server's, the tests against one say.
func TestValues(t *testing.T) {
	for _, test := range []struct {
		name       string
		kind       kind
		raw        string
		text, json string
	}{
		{"text", kind{}, "a\"b\n", "a\"b\n", `"a\"b\n"`},
		{"empty text", kind{}, "", "", `""`},
		{"numeric keeps its digits", kind{}, "1.50", "1.50", `"1.50"`},
		{"integer", kind{form: formNumber}, "-42", "-42", "-42"},
		{"double", kind{form: formNumber}, "1e+20", "1e+20", "1e+20"},
		{"not a number", kind{form: formNumber}, "NaN", "NaN", `"NaN"`},
		{"infinity", kind{form: formNumber}, "-Infinity", "-Infinity", `"-Infinity"`},
		{"true", kind{form: formBool}, "t", "true", "true"},
		{"false", kind{form: formBool}, "f", "false", "false"},
		{"instant", kind{form: formInstant}, "2024-01-02 03:04:05+00", "2024-01-02T03:04:05Z", `"2024-01-02T03:04:05Z"`},
		{"microseconds", kind{form: formInstant}, "2024-01-02 03:04:05.678901+00", "2024-01-02T03:04:05.678901Z", `"2024-01-02T03:04:05.678901Z"`},
		{"no end", kind{form: formInstant}, "infinity", "infinity", `"infinity"`},
		{"before Christ", kind{form: formInstant}, "0044-03-15 00:00:00+00 BC", "0044-03-15 00:00:00+00 BC", `"0044-03-15 00:00:00+00 BC"`},
		{"without a zone", kind{form: formLocal}, "2024-01-02 03:04:05.6", "2024-01-02T03:04:05.6", `"2024-01-02T03:04:05.6"`},
		{"bytes", kind{form: formBytes}, `\x00ff10`, "AP8Q", `"AP8Q"`},
		{"no bytes", kind{form: formBytes}, `\x`, "", `""`},
		{"object", kind{form: formJSON}, `{"a": [1, 2.50], "b": null}`, `{"a":[1,2.50],"b":null}`, `{"a":[1,2.50],"b":null}`},
		{"text in JSON", kind{form: formJSON}, `"x\ny"`, "x\ny", `"x\ny"`},
		{"array", kind{formArray, formNumber}, "{1,NULL,-3}", "[1,null,-3]", "[1,null,-3]"},
		{"array of text", kind{formArray, formText}, `{a,"b c","q\"\\",NULL,"NULL",""}`, `["a","b c","q\"\\",null,"NULL",""]`, `["a","b c","q\"\\",null,"NULL",""]`},
		{"two dimensions", kind{formArray, formNumber}, "{{1,2},{3,4}}", "[[1,2],[3,4]]", "[[1,2],[3,4]]"},
		{"bounds", kind{formArray, formNumber}, "[0:1]={1,2}", "[1,2]", "[1,2]"},
		{"no elements", kind{formArray, formText}, "{}", "[]", "[]"},
		{"array of JSON", kind{formArray, formJSON}, `{"{\"a\": 1}",3}`, `[{"a":1},3]`, `[{"a":1},3]`},
		{"array of instants", kind{formArray, formInstant}, `{"2024-01-02 03:04:05+00"}`, `["2024-01-02T03:04:05Z"]`, `["2024-01-02T03:04:05Z"]`},
		{"array of truths", kind{formArray, formBool}, "{t,f}", "[true,false]", "[true,false]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, err := test.kind.appendText([]byte("-"), []byte(test.raw)); err != nil || string(got) != "-"+test.text {
				t.Errorf("the text is %q, %v; want %q", got, err, test.text)
			}
			if got, err := test.kind.appendJSON([]byte("-"), []byte(test.raw)); err != nil || string(got) != "-"+test.json {
				t.Errorf("as JSON it is %s, %v; want %s", got, err, test.json)
			}
		})
	}
}

func TestDamagedValues(t *testing.T) {
	for raw, k := range map[string]kind{
		"{": {formArray, formText}, "{a": {formArray, formText}, "{a,}x": {formArray, formText}, "": {formArray, formText}, `{"a`: {formArray, formText},
		"{}}": {formArray, formText}, "[0:1]": {formArray, formText}, `{"a"b}`: {formArray, formText}, strings.Repeat("{", 9) + strings.Repeat("}", 9): {formArray, formText},
		"00": {form: formBytes}, `\x0`: {form: formBytes}, `\xzz`: {form: formBytes}, "{1:2}": {form: formJSON}, `"a`: {form: formJSON},
	} {
		for what, f := range map[string]func([]byte, []byte) ([]byte, error){"text": k.appendText, "JSON": k.appendJSON} {
			if got, err := f([]byte("kept"), []byte(raw)); err == nil || string(got) != "kept" {
				t.Errorf("%s of %q: %q, %v", what, raw, got, err)
			}
		}
	}
	if _, err := (kind{}).appendJSON(nil, []byte("\xff")); err == nil {
		t.Error("what is not UTF-8 is written as JSON")
	}
}

func FuzzArray(f *testing.F) {
	for _, s := range []string{"{}", "{1,2}", `{"a\"b",NULL}`, "{{1},{2}}", "[0:0]={x}", `{"`, "{,}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, of := range []form{formText, formNumber, formJSON, formBool} {
			got, err := kind{formArray, of}.appendArray(nil, []byte(s))
			if err != nil {
				continue
			}
			if of == formText && !json.Valid(got) {
				t.Errorf("%q is %s", s, got)
			}
		}
		// What is written as an array comes back.
		if strings.ToValidUTF8(s, "") != s || strings.ContainsRune(s, 0) {
			return
		}
		got, err := kind{formArray, formText}.appendArray(nil, arrayText([]string{s, "x"}))
		var back []string
		if err != nil || json.Unmarshal(got, &back) != nil || len(back) != 2 || back[0] != s {
			t.Errorf("%q comes back as %s, %v", s, got, err)
		}
		input, ok := kind{formArray, formText}.arrayInput(nil, got)
		again, err := kind{formArray, formText}.appendArray(nil, input)
		if !ok || err != nil || string(again) != string(got) {
			t.Errorf("%s is sent as %s", got, input)
		}
	})
}

func testRow(t *testing.T) *row {
	t.Helper()
	var columns []column
	for _, c := range []struct {
		name string
		kind kind
	}{{"id", kind{form: formNumber}}, {"_id", kind{}}, {"gone", kind{}}, {"meta", kind{form: formJSON}}, {"meta.x", kind{}}, {"tags", kind{formArray, formText}}, {"bad", kind{form: formBytes}}} {
		made, err := newColumn(c.name, c.kind)
		if err != nil {
			t.Fatal(err)
		}
		columns = append(columns, made)
	}
	var b blocks
	return &row{columns: columns, id: "42", data: b.copy([][]byte{[]byte("42"), []byte("hidden"), nil, []byte(`{"a": {"b": [10, "x"]}, "a.c": true, "n": null}`), []byte("dotted"), []byte("{p,q}"), []byte("??")})}
}

func TestRowLookup(t *testing.T) {
	r := testRow(t)
	for path, want := range map[string]string{
		"_id": "42", "id": "42", "gone": "-", "absent": "-", "absent.x": "-", "_id.x": "-", "id.x": "-", "meta.a.b": `[10,"x"]`, "meta.a.b.0": "10", "meta.a.b.1": "x",
		"meta.a.b.2": "-", "meta.a.b.01": "-", "meta.a.b.x": "-", "meta.a.c": "true", "meta.n": "-", "meta.x": "dotted", "tags": `["p","q"]`, "tags.1": "q", "meta.a.b.1.z": "-",
	} {
		v, err := r.Lookup(path)
		if got := map[bool]string{true: v.Text, false: "-"}[v.Set]; err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", path, got, err, want)
		}
	}
	if _, err := r.Lookup("bad"); err == nil || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("a damaged column: %v", err)
	}
	if _, err := r.AppendJSON([]byte("kept"), syncd.Plain); err == nil || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("a damaged column: %v", err)
	}
	r.columns[6].kind = kind{}
	got, err := r.AppendJSON([]byte("kept"), syncd.Plain)
	if want := `kept{"_id":"42","id":42,"meta":{"a":{"b":[10,"x"]},"a.c":true,"n":null},"meta.x":"dotted","tags":["p","q"],"bad":"??"}`; err != nil || string(got) != want {
		t.Errorf("as JSON it is\n%s, %v; want\n%s", got, err, want)
	}
}

// TestIDs: no two keys have one id, and an id leads back to its key.
func TestIDs(t *testing.T) {
	texts := []string{"", ",", "%", "%2C", "%25", "a", "a,b", "a%2Cb", "%252C", ",,"}
	seen := map[string]string{}
	for _, a := range texts {
		for _, b := range texts {
			id, err := appendID([]byte{}, []kind{{}, {}}, [][]byte{[]byte(a), []byte(b)})
			if err != nil {
				t.Fatal(err)
			}
			if other, twice := seen[string(id)]; twice {
				t.Errorf("(%q, %q) and %s have the id %q", a, b, other, id)
			}
			seen[string(id)] = "(" + a + "|" + b + ")"
			back, ok := parseID(string(id), 2)
			if !ok || back[0] != a || back[1] != b {
				t.Errorf("the id %q of (%q, %q) leads to %q", id, a, b, back)
			}
			key := syncd.Key(a + "\x00" + b + "\x00")
			if parts, err := parseKey(key, 2); err != nil || parts[0] != a || parts[1] != b {
				t.Errorf("the key %q is %q, %v", key, parts, err)
			}
		}
	}
	for _, key := range []syncd.Key{"", "a", "a\x00", "a\x00b", "a\x00b\x00c\x00"} {
		if parts, err := parseKey(key, 2); err == nil {
			t.Errorf("the key %q is %q", key, parts)
		}
	}
}

func TestFilterText(t *testing.T) {
	for _, good := range []string{
		"", "{}", "true", "a = 1", `"odd ""name" = 'it''s'`, "(a = 1) OR (b = 2)", "a = $$x;)$$", "a = $t$ $$ ) $t$", "a = E'\\''", "a -- )\n = 1", "a /* ) /* ; */ */ = 1", "tags[1] = 'x'",
		"note = 'e' || 'a\\'", "a$1b = 1", "type='b'", "a - -1 = 2", "body ~ '^(x'",
	} {
		if err := checkFilter(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		" ", "{", "{\"a\":1}", "[]", "a = 1; DROP TABLE t", "a = 1)", "(a = 1", "true) OR (true", "a = 'x", `"a`, "a = $1", "a = $$x", "/* a", "a = E'\\'", "a = $x$ $y$", "a[1", "a\x00", "/* /* */",
	} {
		if err := checkFilter(bad); err == nil || syncd.HintOf(err) == "" {
			t.Errorf("%q passes: %v", bad, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"a = 1", "E'\\''", "$a$ $a$", "/* */", "--", "(", `"`, "e'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if scan(s) != nil {
			return
		}
		// What passes stays one expression, whatever stands beside it.
		if err := scan("(\n" + s + "\n) AND (\n" + s + "\n)"); err != nil {
			t.Errorf("%q passes by itself, and not in parentheses: %v", s, err)
		}
	})
}
