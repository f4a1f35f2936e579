package pgvector

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/contact"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/internal/retry"
)

// Plugin declares the checker.
func Plugin() syncd.Plugin {
	return syncd.NewChecker("pgvector", "Asks a table of PostgreSQL that holds vectors, such as pgvector's.", defaults(),
		func(ctx context.Context, conf Config, env syncd.Env) (syncd.Checker, error) {
			c, err := open(ctx, conf, env)
			if err != nil {
				return nil, err
			}
			return c, nil
		}).WithVersion("1", syncd.Experimental)
}

// checker asks a table. Its methods are safe for concurrent use.
type checker struct {
	conf    Config
	table   *pg.Points
	contact *contact.Contact
	connect *pgconn.Config
	pool    pg.Pool
	retried func(string)
}

var _ syncd.Checker = (*checker)(nil)

func open(ctx context.Context, conf Config, env syncd.Env) (*checker, error) {
	parsed, err := pg.Parse(conf.DSN, conf.ConnectTimeout, "checker.pgvector.dsn")
	if err != nil {
		return nil, err
	}
	c := &checker{
		conf: conf, table: conf.points(), connect: parsed, pool: pg.Pool{Config: parsed}, retried: env.Retried,
		contact: contact.New(contact.Config{
			Log: env.Logger, Server: "PostgreSQL", Address: pg.Address(parsed), Verb: "asked", Patience: time.Second,
			Trying: fmt.Sprintf("each question again, for up to %s (checker.pgvector.max_elapsed)", conf.MaxElapsed),
		}),
	}
	if err := c.pool.With(ctx, func(*pgconn.PgConn) error { return nil }); err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", c.explain(ctx, err))
	}
	return c, nil
}

// Abilities has no Sample, since each request is a statement of its own anyway.
func (c *checker) Abilities() syncd.CheckerAbilities {
	return syncd.CheckerAbilities{Read: c.Read, List: c.List, Inspect: c.Inspect, Survey: c.Survey, Probe: c.Probe}
}

// Close ends the connections.
func (c *checker) Close() error {
	c.contact.Close()
	c.pool.Close()
	return nil
}

// binaryFormat is for parameters and results that are no texts.
const binaryFormat = 1

// Check asks for the places of the points that are there.
func (c *checker) Check(ctx context.Context, points []syncd.Point, verdicts []syncd.Verdict) error {
	sql := "SELECT k.n FROM unnest($1::uuid[]) WITH ORDINALITY AS k(id, n) JOIN " + c.table.From() + " p ON p." + pg.Quote(c.conf.ID) + " = k.id"
	for from := 0; from < len(points); from += c.conf.BatchSize {
		some := points[from:min(from+c.conf.BatchSize, len(points))]
		out := verdicts[from : from+len(some)]
		err := c.ask(ctx, sql, [][]byte{pg.UUIDs(len(some), func(i int) uuid.UUID { return some[i].ID })}, func() {
			for i := range out {
				out[i] = syncd.Missing
			}
		}, func(v [][]byte) error {
			n, err := place(v[0], len(some))
			if err != nil {
				return err
			}
			out[n] = syncd.Present
			return nil
		})
		if err != nil && !errors.Is(err, errTable) {
			return fmt.Errorf("checking points: %w", err)
		}
		if err := c.missing(err); err != nil {
			return fmt.Errorf("checking points: %w", err)
		}
	}
	return ctx.Err()
}

// Read is Check, and asks for the payload's texts.
func (c *checker) Read(ctx context.Context, points []syncd.Point, keys []string, found []syncd.Found) error {
	sql := "SELECT k.n" + c.keyList(keys) + " FROM unnest($1::uuid[]) WITH ORDINALITY AS k(id, n) JOIN " + c.table.From() + " p ON p." + pg.Quote(c.conf.ID) + " = k.id"
	for from := 0; from < len(points); from += c.conf.BatchSize {
		some := points[from:min(from+c.conf.BatchSize, len(points))]
		out := found[from : from+len(some)]
		err := c.ask(ctx, sql, [][]byte{pg.UUIDs(len(some), func(i int) uuid.UUID { return some[i].ID })}, func() {
			for i := range out {
				out[i].Present = false
				if cap(out[i].Payload) < len(keys) {
					out[i].Payload = make([]syncd.Value, len(keys))
				}
				out[i].Payload = out[i].Payload[:len(keys)]
				clear(out[i].Payload)
			}
		}, func(v [][]byte) error {
			n, err := place(v[0], len(some))
			if err != nil {
				return err
			}
			out[n].Present = true
			setValues(out[n].Payload, v[1:])
			return nil
		})
		if err := c.missing(err); err != nil {
			return fmt.Errorf("reading points: %w", err)
		}
	}
	return ctx.Err()
}

func (c *checker) keyList(keys []string) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteString(", ")
		b.WriteString(c.table.Key(key))
	}
	return b.String()
}

func setValues(dst []syncd.Value, texts [][]byte) {
	for i, text := range texts {
		dst[i] = syncd.Value{Text: string(text), Set: text != nil}
	}
}

var errAnswer = errors.New("an answer that can't be read")

// place reads the place of a point in a question, from 0.
func place(v []byte, n int) (int, error) {
	if len(v) != 8 {
		return 0, errAnswer
	}
	at := binary.BigEndian.Uint64(v)
	if at < 1 || at > uint64(n) {
		return 0, errAnswer
	}
	return int(at - 1), nil
}

// ask asks with parameters and for results in binary form, which of texts is the text, again where that may help. begin is called
// before each try. Of a table that does not exist it returns errTable.
func (c *checker) ask(ctx context.Context, sql string, args [][]byte, begin func(), each func([][]byte) error) error {
	formats := make([]int16, len(args))
	for i := range formats {
		formats[i] = binaryFormat
	}
	_, err := retry.Do(ctx, c.retrier(), func() (struct{}, error) {
		begin()
		return struct{}{}, c.pool.With(ctx, func(conn *pgconn.PgConn) error {
			rr := conn.ExecParams(ctx, sql, args, nil, formats, []int16{binaryFormat})
			for rr.NextRow() {
				if err := each(rr.Values()); err != nil {
					return err
				}
			}
			_, err := rr.Close()
			return err
		})
	})
	return c.explain(ctx, err)
}

func (c *checker) retrier() retry.Retrier {
	policy := retry.Policy{First: 200 * time.Millisecond, Max: 5 * time.Second, Jitter: 0.5, Elapsed: c.conf.MaxElapsed}
	if c.conf.MaxElapsed == 0 {
		policy.Attempts = 1
	}
	return retry.Retrier{
		Policy:   policy,
		Classify: func(err error) retry.Decision { return retry.Decision{Again: pg.Transient(err) != ""} },
		Waiting:  func(err error, pause time.Duration) { c.contact.Failed(pg.Transient(err)+": "+err.Error(), pause) },
		Retrying: func(err error) { c.retried(pg.Transient(err)) },
		Answered: c.contact.Answered,
	}
}

// missing is what a table that does not exist means.
func (c *checker) missing(err error) error {
	if errors.Is(err, errTable) && c.conf.OnMissingTable == missingIsEmpty {
		return nil
	}
	return err
}

// explain turns an error into one for people. The end of ctx comes before all else.
func (c *checker) explain(ctx context.Context, err error) error {
	switch code := pg.CodeOf(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case code == pg.CodeUndefinedTable || code == pg.CodeUndefinedSchema:
		return syncd.Hint(fmt.Errorf("%w: %w", errTable, err), "correct checker.pgvector.table, or have the indexer make the table")
	case code == pg.CodeUndefinedColumn:
		return syncd.Hint(err, "correct checker.pgvector.id, payload or columns")
	case code == pg.CodeUndefinedFunction:
		return syncd.Hint(err, "checker.pgvector.id must be of type uuid, and payload of type jsonb")
	}
	return pg.Explain(err, c.connect, "checker.pgvector.dsn")
}

// pageSize is how many points a listing reads at once.
const pageSize = 1000

// List reads the points of a range of ids, page by page, in their order.
func (c *checker) List(ctx context.Context, req syncd.ListRequest) iter.Seq2[[]syncd.Listed, error] {
	return func(yield func([]syncd.Listed, error) bool) {
		if err := c.list(ctx, req, yield); err != nil && !errors.Is(err, errStopped) {
			yield(nil, fmt.Errorf("listing points: %w", err))
		}
	}
}

// errStopped ends a sequence that nobody reads any more. It never leaves this package.
var errStopped = errors.New("stopped")

func (c *checker) list(ctx context.Context, req syncd.ListRequest, yield func([]syncd.Listed, error) bool) error {
	lower, upper := part(req.Part, req.Parts)
	id := "p." + pg.Quote(c.conf.ID)
	operator, left := ">=", req.Limit
	for {
		n := pageSize
		if req.Limit > 0 {
			n = min(n, left)
		}
		args := [][]byte{lower[:]}
		conditions := []string{id + " " + operator + " $1::uuid"}
		if upper != nil {
			args = append(args, upper[:])
			conditions = append(conditions, id+" < $"+strconv.Itoa(len(args))+"::uuid")
		}
		for _, key := range slices.Sorted(maps.Keys(req.Match)) {
			args = append(args, []byte(req.Match[key]))
			conditions = append(conditions, c.table.Key(key)+" = $"+strconv.Itoa(len(args))+"::text")
		}
		var page []syncd.Listed
		err := c.ask(ctx, "SELECT "+id+c.keyList(req.Keys)+" FROM "+c.table.From()+" p WHERE "+strings.Join(conditions, " AND ")+" ORDER BY "+id+" LIMIT "+strconv.Itoa(n), args,
			func() { page = nil }, func(v [][]byte) error {
				if len(v[0]) != 16 {
					return errAnswer
				}
				p := syncd.Listed{ID: uuid.UUID(v[0])}
				if len(req.Keys) > 0 {
					p.Payload = make([]syncd.Value, len(req.Keys))
					setValues(p.Payload, v[1:])
				}
				page = append(page, p)
				return nil
			})
		if err := c.missing(err); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(page) > 0 {
			lower, operator, left = page[len(page)-1].ID, ">", left-len(page)
			if !yield(page, nil) {
				return errStopped
			}
		}
		if len(page) < n || req.Limit > 0 && left <= 0 {
			return nil
		}
	}
}

// part is a range of ids; nil is no end.
func part(i, parts int) (lower uuid.UUID, upper *uuid.UUID) {
	bound := func(i int) (id uuid.UUID) {
		binary.BigEndian.PutUint64(id[:], uint64(i)*(^uint64(0)/uint64(parts)))
		return id
	}
	lower = bound(i)
	if i < parts-1 {
		end := bound(i + 1)
		upper = &end
	}
	return lower, upper
}

// exactUpTo is the number of points up to which Inspect has them counted.
const exactUpTo = 1_000_000

// Inspect describes the table. Points is exact up to about a million; beyond it is what the server remembers.
func (c *checker) Inspect(ctx context.Context) (syncd.Index, error) {
	index := syncd.Index{Name: c.conf.Table}
	err := c.ask(ctx, "SELECT coalesce(sum(GREATEST(c.reltuples, 0)), 0)::bigint FROM pg_class c WHERE c.oid = to_regclass("+pg.Literal(c.table.From())+") OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass("+pg.Literal(c.table.From())+")))",
		nil, func() {}, func(v [][]byte) error {
			index.Points = int64(binary.BigEndian.Uint64(v[0]))
			return nil
		})
	if err == nil && index.Points <= exactUpTo {
		err = c.ask(ctx, "SELECT count(*) FROM "+c.table.From()+" p", nil, func() {}, func(v [][]byte) error {
			index.Points = int64(binary.BigEndian.Uint64(v[0]))
			return nil
		})
	}
	index.Exists = err == nil
	if errors.Is(err, errTable) {
		index.Points, err = 0, c.missing(err)
	}
	if err != nil {
		return index, fmt.Errorf("inspecting the table %s: %w", c.conf.Table, err)
	}
	return index, nil
}

// What a survey looks at.
const (
	surveySample = 100
	surveyRows   = 100_000 // whose texts are counted; of a larger table not all are
	surveyTexts  = 100
	surveyText   = 200 // bytes of the longest text that is shown
)

// Survey counts the texts under the key, and shows the first points. UUIDs of versions 4 and 5 are in no order of anything, so that the
// first are as good as any.
func (c *checker) Survey(ctx context.Context, key string) (s syncd.Survey, err error) {
	row := "p." + pg.Quote(c.conf.Payload)
	if c.conf.Payload == "" {
		row = "to_jsonb(p) - " + pg.Literal(c.conf.ID)
	}
	for name, column := range c.conf.Columns {
		row = "coalesce(" + row + ", '{}') || jsonb_build_object(" + pg.Literal(name) + ", p." + pg.Quote(column) + ")"
	}
	id := "p." + pg.Quote(c.conf.ID)
	err = c.ask(ctx, "SELECT ("+row+")::text FROM "+c.table.From()+" p ORDER BY "+id+" LIMIT "+strconv.Itoa(surveySample), nil, func() { s.Sample = nil }, func(v [][]byte) error {
		payload := map[string]string{}
		var object map[string]any
		decoder := json.NewDecoder(strings.NewReader(string(v[0])))
		decoder.UseNumber()
		if v[0] != nil && decoder.Decode(&object) == nil {
			flatten(payload, "", object)
		}
		s.Sample = append(s.Sample, payload)
		return nil
	})
	if err == nil {
		seen := int64(0)
		sql := fmt.Sprintf("SELECT k, count(*), sum(count(*)) OVER ()::bigint FROM (SELECT left(%s, %d) AS k FROM %s p ORDER BY %s LIMIT %d) q GROUP BY k ORDER BY k IS NULL, count(*) DESC, k LIMIT %d",
			c.table.Key(key), surveyText, c.table.From(), id, surveyRows, surveyTexts+1)
		err = c.ask(ctx, sql, nil, func() { s.Texts = nil }, func(v [][]byte) error {
			seen = int64(binary.BigEndian.Uint64(v[2]))
			if v[0] != nil && len(s.Texts) < surveyTexts {
				s.Texts = append(s.Texts, syncd.TextCount{Text: string(v[0]), Points: int64(binary.BigEndian.Uint64(v[1]))})
			}
			return nil
		})
		s.Whole = seen < surveyRows
		if pg.CodeOf(err) == pg.CodeUndefinedColumn && c.conf.Payload == "" {
			err = nil // a column that there is not is a key that no point has
		}
	}
	if err = c.missing(err); err != nil {
		return syncd.Survey{}, fmt.Errorf("surveying the table %s: %w", c.conf.Table, err)
	}
	return s, nil
}

// flatten adds the texts of an object by their paths.
func flatten(out map[string]string, path string, object map[string]any) {
	for name, v := range object {
		at := name
		if path != "" {
			at = path + "." + name
		}
		switch v := v.(type) {
		case map[string]any:
			flatten(out, at, v)
		case string:
			if len(v) > surveyText {
				v = ""
			}
			out[at] = v
		case nil:
		case json.Number, bool:
			out[at] = fmt.Sprint(v)
		default:
			out[at] = ""
		}
	}
}

// Probe looks at the server and the table.
func (c *checker) Probe(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	f := syncd.Finding{Subject: "table " + c.conf.Table, Status: syncd.StatusOK}
	failed := func(err error) []syncd.Finding {
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
		if ctx.Err() != nil {
			f.Detail = "no answer in time"
		}
		return []syncd.Finding{f}
	}
	index, err := c.Inspect(ctx)
	switch {
	case err != nil:
		return failed(err)
	case !index.Exists:
		f.Status, f.Detail = syncd.StatusWarning, "does not exist: a run takes it for an empty index"
		f.Hint = "correct checker.pgvector.table, if there should be one"
		return []syncd.Finding{f}
	}
	var keys []string
	for _, t := range targets {
		keys = append(keys, t.PayloadKeys...)
	}
	slices.Sort(keys)
	err = c.Read(ctx, []syncd.Point{{}}, slices.Compact(keys), make([]syncd.Found, 1))
	if err != nil {
		return failed(err)
	}
	f.Detail = fmt.Sprintf("about %d points", index.Points)
	indexed := false
	err = c.ask(ctx, "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] WHERE i.indrelid = to_regclass("+pg.Literal(c.table.From())+") AND i.indisvalid AND a.attname = "+pg.Literal(c.conf.ID),
		nil, func() {}, func([][]byte) error {
			indexed = true
			return nil
		})
	if err != nil {
		return failed(err)
	}
	if !indexed {
		f.Status, f.Hint = syncd.StatusWarning, "without an index of the column "+c.conf.ID+" each question reads the whole table: make it the primary key"
	}
	return []syncd.Finding{f}
}
