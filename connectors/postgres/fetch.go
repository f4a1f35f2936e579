package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// A question for rows names at most this many keys.
const maxFetchKeys = 1000

// Fetch asks for rows by their keys. A row whose key is equal but written otherwise by now (1.0 and 1.00) is not the one asked for.
func (s *source) Fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key) iter.Seq2[syncd.Fetched, error] {
	return func(yield func(syncd.Fetched, error) bool) {
		err := s.fetch(ctx, c, keys, yield)
		switch {
		case err == nil, errors.Is(err, errStopped):
		case errors.Is(err, syncd.ErrCollectionNotFound) && ctx.Err() == nil: // all are gone
		default:
			yield(syncd.Fetched{}, fmt.Errorf("fetching documents of collection %s: %w", c.Name, s.explain(ctx, err)))
		}
	}
}

func (s *source) fetch(ctx context.Context, c syncd.Collection, keys []syncd.Key, yield func(syncd.Fetched, error) bool) error {
	if len(keys) == 0 {
		return nil
	}
	t, err := s.known(ctx, c.Name)
	if err != nil {
		return err
	}
	var copies blocks
	for base := 0; base < len(keys); base += maxFetchKeys {
		some := keys[base:min(base+maxFetchKeys, len(keys))]
		wanted := make(map[syncd.Key]int, len(some))
		for i, key := range some {
			if _, twice := wanted[key]; !twice {
				wanted[key] = base + i
			}
		}
		first := wantedTexts(some, wanted, base)
		for tries := s.retrier().Start(); ; {
			before := len(wanted)
			err := s.fetchSome(ctx, t, c.Filter, first, &copies, func(key []byte, r row) error {
				i, ok := wanted[syncd.Key(key)]
				if !ok {
					return nil
				}
				delete(wanted, syncd.Key(key))
				if err := ctx.Err(); err != nil {
					return err
				}
				if !yield(syncd.Fetched{Index: i, Document: &r}, nil) {
					return errStopped
				}
				return nil
			})
			if err == nil {
				s.contact.Answered()
				break
			}
			if errors.Is(err, errStopped) {
				return err
			}
			if len(wanted) < before {
				tries.Progress()
			}
			if err := tries.Again(ctx, notFound(err)); err != nil {
				s.forget(c.Name)
				return err
			}
		}
	}
	return ctx.Err()
}

// wantedTexts are the keys, each once.
func wantedTexts(keys []syncd.Key, wanted map[syncd.Key]int, base int) []syncd.Key {
	out := make([]syncd.Key, 0, len(wanted))
	for i, key := range keys {
		if wanted[key] == base+i {
			out = append(out, key)
		}
	}
	return out
}

// fetchSome asks for rows, and calls each with a row's key, which is valid until the next, and the row.
func (s *source) fetchSome(ctx context.Context, t *table, filter string, keys []syncd.Key, copies *blocks, each func(key []byte, r row) error) error {
	parts := make([][]string, len(t.key))
	for _, key := range keys {
		p, err := parseKey(key, len(t.key))
		if err != nil {
			return err
		}
		for i := range p {
			parts[i] = append(parts[i], p[i])
		}
	}
	sql, args := t.byKeys("t.*", filter, parts)
	c, err := s.pool.Get(ctx)
	if err != nil {
		return err
	}
	defer func() { s.pool.Put(c) }()
	n, kinds := len(t.key), t.kinds()
	var columns []column
	var key, id []byte
	err = pg.QueryColumns(ctx, c, sql, args, func(fields []pgconn.FieldDescription) (err error) {
		columns, err = s.columnsOf(ctx, fields)
		return err
	}, func(values [][]byte) error {
		key = key[:0]
		for _, v := range values[:n] {
			key = append(append(key, v...), keyEnd)
		}
		if id, err = appendID(id[:0], kinds, values[:n]); err != nil {
			return fmt.Errorf("reading the id: %w", err)
		}
		return each(key, row{columns: columns[n:], id: string(id), data: copies.copy(values[n:])})
	})
	if err != nil {
		pg.Discard(c)
	}
	return err
}

// byKeys selects the key's columns and what else, of the rows with these keys, whose parts are given column by column.
func (t *table) byKeys(what, filter string, parts [][]string) (sql string, args [][]byte) {
	args = make([][]byte, len(parts))
	for i, texts := range parts {
		args[i] = arrayText(texts)
	}
	list := t.keyList()
	if what != "" {
		list += ", " + what
	}
	if len(parts) == 1 && t.key[0].kind.form != formArray {
		return "SELECT " + list + " FROM " + t.from() + " t" + where(t.keyList()+" = ANY ($1::"+t.key[0].base+"[])", condition(filter)), args
	}
	arrays, on := make([]string, len(parts)), make([]string, len(parts))
	for i, k := range t.key { // each element is cast by itself: arrays of arrays would be arrays of two dimensions
		arrays[i] = "$" + strconv.Itoa(i+1) + "::text[]"
		on[i] = "t." + pg.Quote(k.name) + " = k.k" + strconv.Itoa(i) + "::" + k.base
	}
	return "SELECT " + list + " FROM unnest(" + strings.Join(arrays, ", ") + ") AS k(" + names("", len(parts)) + ") JOIN " + t.from() + " t ON " +
		strings.Join(on, " AND ") + where(condition(filter)), args
}

// arrayText is an array of one dimension in PostgreSQL's text.
func arrayText(elements []string) []byte {
	b := []byte{'{'}
	for i, e := range elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, e)
	}
	return append(b, '}')
}
