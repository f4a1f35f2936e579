package pgvector

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
	"github.com/syncd-io/syncd/syncdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlugin(t *testing.T) { syncdtest.TestPlugin(t, Plugin()) }

func TestConfig(t *testing.T) {
	const rest = "dsn: 'postgres://h/d', table: t"
	for text, want := range map[string]string{
		"": "",
		"dsn: 'postgres://u:geheim@h:port/d', table: t": "not a connection string",
		"keys: {title: content}":                        "one payload key",
		"fields: [mongo_id]":                            "is the payload key of id",
		"columns: {kind: k}":                            `"kind" is no payload key that is written`,
		"columns: {content_type: ''}":                   "must name a column",
		"columns: {content_type: k, title: k}":          `"content_type" have one column, "k"`,
		"columns: {content_type: embedding}":            `vector have one column, "embedding"`,
		"payload: '', keys: {id: id}":                   `id have one column, "id"`,
		"payload: '', fields: [a.b, a.c]":               "",
		"payload: '', columns: {title: content}":        `have one column, "content"`,
		"id: embedding":                                 "two of id, vector and payload",
		"create: {index: ivfflat}, distance: manhattan": "ivfflat can't compare",
		"create: {m: 40}":                               "at least twice m, which is 40",
		"distance: far":                                 "distance",
	} {
		conf := defaults()
		if !strings.Contains(text, "dsn") {
			text += ", " + rest
		}
		diags := spec.Decode(syncdtest.Node(t, "{"+strings.TrimPrefix(text, ", ")+"}"), &conf, "sink", "pgvector")
		if (want == "") != (len(diags) == 0) || !strings.Contains(fmt.Sprint(diags), want) || strings.Contains(fmt.Sprint(diags), "geheim") {
			t.Errorf("%s: %v, want %q", text, diags, want)
		}
	}
}

// TestWhatAnErrorMeans: what passes, what is one document's, and what is everybody's.
func TestWhatAnErrorMeans(t *testing.T) {
	pe := func(code string) error {
		return fmt.Errorf("asking: %w", &pgconn.PgError{Code: code, Message: "it said\nno"})
	}
	for err, want := range map[error]string{
		pe("22P05"): "document", pe("23514"): "document", pe("21000"): "document", pe("P0001"): "document", pe("54000"): "too large",
		pe("40P01"): "passes", pe("57014"): "passes", pe("57P01"): "passes", pe("53300"): "passes", io.ErrUnexpectedEOF: "passes",
		pe("42P01"): "final", pe("42501"): "final", pe("2200"): "final", errors.New("other"): "final",
	} {
		got := "final"
		faulty, refusal := judge(err)
		switch {
		case passing(err) != "":
			got = "passes"
		case faulty && errors.Is(refusal, syncd.ErrTooLarge):
			got = "too large"
		case faulty:
			got = "document"
		}
		if got != want || faulty && (strings.Contains(refusal.Error(), "\n") || passing(err) != "") {
			t.Errorf("%v: %s, %v; want %s", err, got, refusal, want)
		}
	}
}

// TestDefinition: what makes a table is the same each time, and SQL whatever the table's name.
func TestDefinition(t *testing.T) {
	s := &sink{conf: defaults(), column: map[string]string{}}
	s.conf.Table = strings.Repeat("ä", 30)
	s.table, s.layout = s.conf.table(), s.conf.layout()
	sql := s.definition("public", 3)
	if !utf8.ValidString(sql) {
		t.Errorf("%q", sql)
	}
	for range 20 {
		if again := s.definition("public", 3); again != sql {
			t.Fatalf("%s\nand then\n%s", sql, again)
		}
	}
}
