package spec_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd/spec"
)

type inner struct {
	Size int    `yaml:"size" rule:"min=1,max=10" doc:"A size."`
	Kind string `yaml:"kind" rule:"oneof=big small" doc:"A kind."`
}

type outer struct {
	Name   string            `yaml:"name" rule:"required" doc:"A name."`
	Token  spec.Secret       `yaml:"token" doc:"A token."`
	On     bool              `yaml:"on" doc:"A switch."`
	Ratio  float64           `yaml:"ratio" doc:"A ratio."`
	Wait   time.Duration     `yaml:"wait" rule:"min=0" doc:"A wait."`
	List   []string          `yaml:"list" doc:"A list."`
	Props  map[string]string `yaml:"props" doc:"Properties."`
	Inner  inner             `yaml:"inner" doc:"A block."`
	Option *inner            `yaml:"option" doc:"An optional block."`
}

func defaults() outer {
	return outer{Ratio: 0.5, Inner: inner{Size: 3, Kind: "big"}}
}

func scalar(text string, t spec.ScalarType, line int) *spec.Node {
	return &spec.Node{Kind: spec.Scalar, Text: text, Type: t, Pos: spec.Pos{Source: "f", Line: line, Column: 9}, Key: spec.Pos{Source: "f", Line: line, Column: 3}}
}

func block(entries ...spec.Entry) *spec.Node {
	return &spec.Node{Kind: spec.Map, Entries: entries, Pos: spec.Pos{Source: "f", Line: 1, Column: 1}}
}

func TestDecode(t *testing.T) {
	c := defaults()
	diags := spec.Decode(block(
		spec.Entry{Name: "name", Value: scalar("n", spec.Text, 1)},
		spec.Entry{Name: "token", Value: scalar("s3cret", spec.Text, 2)},
		spec.Entry{Name: "on", Value: scalar("true", spec.Bool, 3)},
		spec.Entry{Name: "wait", Value: scalar("1.5", spec.Float, 4)},
		spec.Entry{Name: "list", Value: scalar("a, b,", spec.Text, 5)},
		spec.Entry{Name: "props", Value: block(spec.Entry{Name: "a.b", Value: scalar("x", spec.Text, 6)})},
		spec.Entry{Name: "option", Value: block(spec.Entry{Name: "size", Value: scalar("2", spec.Int, 7)})},
	), &c)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	if c.Name != "n" || c.Token.Reveal() != "s3cret" || !c.On || c.Wait != 1500*time.Millisecond || len(c.List) != 2 ||
		c.Props["a.b"] != "x" || c.Option == nil || c.Option.Size != 2 || c.Ratio != 0.5 || c.Inner.Kind != "big" {
		t.Errorf("decoded %+v, option %+v", c, c.Option)
	}
}

func TestDecodeReportsEverythingAtItsPlace(t *testing.T) {
	c := defaults()
	diags := spec.Decode(block(
		spec.Entry{Name: "nam", Value: scalar("n", spec.Text, 2)},
		spec.Entry{Name: "on", Value: scalar("maybe", spec.Text, 3)},
		spec.Entry{Name: "ratio", Value: scalar("x", spec.Text, 4)},
		spec.Entry{Name: "wait", Value: scalar("soon", spec.Text, 5)},
		spec.Entry{Name: "list", Value: block()},
		spec.Entry{Name: "props", Value: scalar("x", spec.Text, 6)},
		spec.Entry{Name: "inner", Value: block(
			spec.Entry{Name: "size", Value: scalar("11", spec.Int, 8)},
			spec.Entry{Name: "kind", Value: scalar("huge", spec.Text, 9)},
		)},
		spec.Entry{Name: "option", Value: scalar("1", spec.Int, 10)},
	), &c, "sink", "x")
	var got []string
	for _, d := range diags {
		got = append(got, fmt.Sprintf("%d:%d %s %s", d.Pos.Line, d.Pos.Column, d.Code, d.Path))
	}
	want := []string{
		"2:3 unknown-field sink.x.nam",
		"1:1 missing-field sink.x.name",
		"3:9 wrong-type sink.x.on",
		"4:9 wrong-type sink.x.ratio",
		"5:9 wrong-type sink.x.wait",
		"1:1 wrong-type sink.x.list",
		"6:9 wrong-type sink.x.props",
		"8:9 out-of-range sink.x.inner.size",
		"9:9 not-one-of sink.x.inner.kind",
		"10:9 wrong-type sink.x.option",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, d := range diags {
		for _, word := range []string{"int64", "string", "struct", "spec.", "bool", "float64"} {
			if strings.Contains(d.Message, word) {
				t.Errorf("the message names a type of the language: %s", d)
			}
		}
	}
	if h := diags[0].Hint; h != `did you mean "name"?` {
		t.Errorf("hint %q", h)
	}
}

func TestNilKeepsDefaultsAndReportsRequired(t *testing.T) {
	c := defaults()
	diags := spec.Decode(nil, &c)
	if len(diags) != 1 || diags[0].Code != spec.CodeMissingField || c.Inner.Size != 3 {
		t.Errorf("%v, %+v", diags, c)
	}
}

func TestSecretNeverShows(t *testing.T) {
	s := spec.Secret("hunter2")
	type holder struct{ S spec.Secret }
	var b strings.Builder
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "s", s, "h", holder{s})
	js, err := json.Marshal(holder{s})
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %s %q %#v %+v %#v %x", s, s, s, s, holder{s}, holder{s}, s.String()) + b.String() + string(js)
	if strings.Contains(all, "hunter2") {
		t.Errorf("the secret shows in %s", all)
	}
	n := scalar("hunter2", spec.Text, 1)
	n.Kind = spec.List
	c := defaults()
	for _, d := range spec.Decode(block(spec.Entry{Name: "token", Value: n}), &c) {
		if strings.Contains(d.String(), "hunter2") {
			t.Errorf("the secret shows in %s", d)
		}
	}
}

func TestSortedDropsRepeats(t *testing.T) {
	at := func(line int) spec.Diagnostic {
		return spec.Diagnostic{Pos: spec.Pos{Source: "a", Line: line}, Message: "m"}
	}
	if got := (spec.Diagnostics{at(2), at(1), at(2)}).Sorted(); len(got) != 2 || got[0].Pos.Line != 1 {
		t.Errorf("sorted: %v", got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"batch_size", "collections", "workItem", "work"}
	for name, want := range map[string]string{
		"batchsize": "batch_size", "batch-size": "batch_size", "workitem": "workItem", "colections": "collections",
		"workItems": "workItem", "zzz": "", "wrk": "work",
	} {
		if got := spec.Nearest(name, known); got != want {
			t.Errorf("nearest to %s: %q, want %q", name, got, want)
		}
	}
}
