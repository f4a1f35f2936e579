package postgres

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// Find looks for the rows whose ids have these texts. It does not take a table that does not exist for one without rows.
func (s *source) Find(ctx context.Context, c syncd.Collection, ids []string) ([]syncd.Key, error) {
	found, err := s.find(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, s.explain(ctx, err))
	}
	keys := make([]syncd.Key, len(ids))
	for i, id := range ids {
		if all := found[id]; len(all) > 0 {
			keys[i] = all[0].Key
		}
	}
	return keys, nil
}

// FindAll looks for all rows of each id: a view, or a key that is not one, may hold an id more than once.
func (s *source) FindAll(ctx context.Context, c syncd.Collection, ids []string) ([][]syncd.FoundID, error) {
	found, err := s.find(ctx, c, ids)
	if err != nil {
		return nil, fmt.Errorf("finding documents of collection %s: %w", c.Name, s.explain(ctx, err))
	}
	out := make([][]syncd.FoundID, len(ids))
	for i, id := range ids {
		out[i] = found[id]
	}
	return out, nil
}

func (s *source) find(ctx context.Context, c syncd.Collection, ids []string) (map[string][]syncd.FoundID, error) {
	t, err := s.look(ctx, c.Name)
	if err != nil {
		return nil, err
	}
	found := make(map[string][]syncd.FoundID, len(ids))
	var possible []guess
	for _, id := range ids {
		if _, twice := found[id]; twice {
			continue
		}
		found[id] = nil
		if parts, ok := t.guess(id); ok {
			possible = append(possible, guess{id, parts})
		}
	}
	for len(possible) > 0 {
		n := min(len(possible), maxFetchKeys)
		if err := s.findSome(ctx, t, c.Filter, possible[:n], found); err != nil {
			return nil, notFound(err)
		}
		possible = possible[n:]
	}
	return found, ctx.Err()
}

// guess is an id's text, and PostgreSQL's texts of the key's columns that it may be of.
type guess struct {
	id    string
	parts []string
}

// guess returns false for an id that no row can have.
func (t *table) guess(id string) ([]string, bool) {
	if strings.ContainsRune(id, 0) || !utf8.ValidString(id) {
		return nil, false
	}
	parts, ok := parseID(id, len(t.key))
	if !ok {
		return nil, false
	}
	for i, k := range t.key {
		if parts[i], ok = k.input(parts[i]); !ok {
			return nil, false
		}
	}
	return parts, true
}

// input makes of an id's text what the server reads as a value of the type. It returns false for what it would surely refuse; of what
// it may refuse, see findSome.
func (k keyColumn) input(text string) (string, bool) {
	switch k.base {
	case "uuid":
		_, err := uuid.Parse(text)
		return text, err == nil && len(text) == 36
	case "smallint", "integer", "bigint":
		bits := map[string]int{"smallint": 16, "integer": 32, "bigint": 64}[k.base]
		_, err := strconv.ParseInt(text, 10, bits)
		return text, err == nil
	}
	switch k.kind.form {
	case formBytes:
		b, err := base64.StdEncoding.DecodeString(text)
		return `\x` + hex.EncodeToString(b), err == nil
	case formBool:
		return text, text == "true" || text == "false"
	case formArray:
		b, ok := k.kind.arrayInput(nil, []byte(text))
		return string(b), ok
	}
	return text, true
}

// arrayInput appends JSON of an array as the server reads it.
func (k kind) arrayInput(dst []byte, text json.RawMessage) ([]byte, bool) {
	var items []json.RawMessage
	if json.Unmarshal(text, &items) != nil {
		return dst, false
	}
	dst = append(dst, '{')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		item = bytes.TrimSpace(item)
		var s string
		ok := true
		switch {
		case k.of == formJSON && string(item) != "null":
			s = string(item)
		case item[0] == '[':
			if dst, ok = k.arrayInput(dst, item); !ok {
				return dst, false
			}
			continue
		case string(item) == "null":
			dst = append(dst, "NULL"...)
			continue
		case item[0] == '"':
			ok = json.Unmarshal(item, &s) == nil
		default:
			s = string(item)
		}
		if ok {
			s, ok = keyColumn{kind: kind{form: k.of}}.input(s)
		}
		if !ok {
			return dst, false
		}
		dst = appendQuoted(dst, s)
	}
	return append(dst, '}'), true
}

// findSome looks for guesses. A server that refuses the text of one refuses the question, so it is asked about each half by itself.
func (s *source) findSome(ctx context.Context, t *table, filter string, guesses []guess, found map[string][]syncd.FoundID) error {
	parts := make([][]string, len(t.key))
	for _, g := range guesses {
		for i, p := range g.parts {
			parts[i] = append(parts[i], p)
		}
	}
	sql, args := t.byKeys("", filter, parts)
	kinds := t.kinds()
	var keys []syncd.Key
	var ids []string
	err := s.ask(ctx, sql, args, func() { keys, ids = nil, nil }, func(v [][]byte) error {
		id, err := appendID(nil, kinds, v)
		if err != nil {
			return nil //nolint:nilerr // it has no text, so it is none of those
		}
		var key []byte
		for _, part := range v {
			key = append(append(key, part...), keyEnd)
		}
		keys, ids = append(keys, syncd.Key(key)), append(ids, string(id))
		return nil
	})
	if strings.HasPrefix(pg.CodeOf(err), "22") { // data exceptions
		if len(guesses) == 1 {
			return nil // it is no value of the type
		}
		half := len(guesses) / 2
		if err := s.findSome(ctx, t, filter, guesses[:half], found); err != nil {
			return err
		}
		return s.findSome(ctx, t, filter, guesses[half:], found)
	}
	if err != nil {
		return err
	}
	for i, id := range ids {
		if all, asked := found[id]; asked {
			found[id] = append(all, syncd.FoundID{Key: keys[i], Text: t.shown(keys[i])})
		}
	}
	return nil
}

// shown is a key as SQL writes it, for people.
func (t *table) shown(key syncd.Key) string {
	parts, err := parseKey(key, len(t.key))
	if err != nil {
		return string(key)
	}
	for i, k := range t.key {
		if k.kind.form != formNumber {
			parts[i] = "'" + strings.ReplaceAll(parts[i], "'", "''") + "'"
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "(" + strings.Join(parts, ", ") + ")"
}
