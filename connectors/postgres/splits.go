package postgres

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

// How many splits a table has, unless the configuration says it: see connectors/mongo, whose servers read as fast.
const (
	unsplitBelow = 50_000  // rows
	perSplit     = 250_000 // rows
	splitsPerCPU = 4
	mostSplits   = 1024

	pagesPerSplit = 20 // to sample
)

func splitsFor(rows int64, cpus, least int) int {
	if rows < unsplitBelow {
		return 1
	}
	n := min((rows+perSplit-1)/perSplit, mostSplits)
	return min(max(int(n), splitsPerCPU*cpus, least), mostSplits)
}

// Splits divides a table at keys of sampled pages, and has its readers see one moment, if the configuration says so. A view, and what
// the server has no statistics of, is one split.
func (s *source) Splits(ctx context.Context, c syncd.Collection) iter.Seq2[syncd.Split, error] {
	return func(yield func(syncd.Split, error) bool) {
		cuts, err := s.divide(ctx, c.Name)
		if err != nil {
			yield(syncd.Split{}, fmt.Errorf("splitting collection %s: %w", c.Name, s.explain(ctx, notFound(err))))
			return
		}
		split := syncd.Split{Collection: c}
		for _, cut := range cuts {
			split.Upper = cut
			if !yield(split, nil) {
				return
			}
			split.Index, split.Lower = split.Index+1, cut
		}
		split.Upper = ""
		yield(split, nil)
	}
}

func (s *source) divide(ctx context.Context, name string) ([]syncd.Key, error) {
	t, err := s.look(ctx, name)
	if err != nil {
		return nil, err
	}
	want := s.cfg.Splits
	if want == 0 {
		want = splitsFor(t.rows, runtime.GOMAXPROCS(0), s.splits)
	}
	var cuts []syncd.Key
	if want > 1 && t.isTable() {
		// A split that lies behind the snapshot would be no split of what is read, but keys are compared only, so it may.
		if cuts, err = s.cuts(ctx, t, want); err != nil {
			return nil, err
		}
	}
	return cuts, s.share(ctx, name, len(cuts)+1)
}

// cuts returns at most want-1 keys that divide the table into parts of about the same size. The server compares them, since only it
// knows the order of text.
func (s *source) cuts(ctx context.Context, t *table, want int) ([]syncd.Key, error) {
	percent := 100.0
	if pages := int64(want * pagesPerSplit); pages < t.pages {
		percent = 100 * float64(pages) / float64(t.pages)
	}
	notNull := ""
	if t.nullable {
		notNull = "(" + t.keyList() + ") IS NOT NULL"
	}
	sql := fmt.Sprintf(`SELECT %[1]s FROM (SELECT DISTINCT %[2]s FROM %[3]s t TABLESAMPLE SYSTEM (%[4]s)%[5]s) k`,
		numbered(t, "k."), t.keyList(), t.from(), strconv.FormatFloat(percent, 'f', 6, 64), where(notNull))
	sql = fmt.Sprintf(`SELECT %[1]s FROM (SELECT q.*, row_number() OVER (ORDER BY %[2]s) AS "row", count(*) OVER () AS "rows" FROM (%[3]s) q) r
WHERE "row" > 1 AND ("row" - 1) * $1 / "rows" > ("row" - 2) * $1 / "rows" ORDER BY "row"`,
		names("r.", len(t.key)), names("q.", len(t.key)), sql)
	var cuts []syncd.Key
	err := s.ask(ctx, sql, pg.Texts(strconv.Itoa(want)), func() { cuts = nil }, func(v [][]byte) error {
		var b strings.Builder
		for _, part := range v {
			b.Write(part)
			b.WriteByte(keyEnd)
		}
		cuts = append(cuts, syncd.Key(b.String()))
		return nil
	})
	return cuts, err
}

// numbered is the key's columns under names that no table's columns clash with.
func numbered(t *table, prefix string) string {
	out := make([]string, len(t.key))
	for i, k := range t.key {
		out[i] = prefix + pg.Quote(k.name) + " AS k" + strconv.Itoa(i)
	}
	return strings.Join(out, ", ")
}

func names(prefix string, n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + "k" + strconv.Itoa(i)
	}
	return strings.Join(out, ", ")
}

// snapshot is a moment of the database that is held for readers of splits, by a connection that touches no table: it blocks nobody, but
// VACUUM can't remove what was deleted since.
type snapshot struct {
	id     string
	conn   *pgconn.PgConn
	left   map[part]bool // what is not yet read to its end
	active int           // reads
	over   bool          // nobody is to begin
}

// part is a split of a collection.
type part struct {
	collection string
	index      int
}

// share has the reads of a collection's splits see one moment: that from which on changes are followed, if that is still held, else one
// of its own. One split is read by one statement, which sees one moment anyway.
func (s *source) share(ctx context.Context, name string, splits int) error {
	s.mu.Lock()
	if old := s.snapshots[name]; old != nil {
		delete(s.snapshots, name)
		if old != s.handover {
			defer s.end(old)
		}
	} else if h := s.handover; h != nil {
		for i := range splits {
			h.left[part{name, i}] = true
		}
		s.snapshots[name] = h
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if splits == 1 || s.cfg.Snapshot != snapshotShared {
		return nil
	}
	taken, err := retried(ctx, s, func() (*snapshot, error) { return s.export(ctx) })
	if err != nil {
		return err
	}
	for i := range splits {
		taken.left[part{name, i}] = true
	}
	s.mu.Lock()
	s.snapshots[name] = taken
	s.mu.Unlock()
	return nil
}

const beginRead = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

// export holds this moment.
func (s *source) export(ctx context.Context) (*snapshot, error) {
	c, err := s.pool.Get(ctx)
	if err != nil {
		return nil, err
	}
	taken := &snapshot{conn: c, left: map[part]bool{}}
	if err = pg.Exec(ctx, c, beginRead); err == nil {
		err = pg.Query(ctx, c, "SELECT pg_export_snapshot()", nil, func(v [][]byte) error {
			taken.id = string(v[0])
			return nil
		})
	}
	if err != nil {
		pg.Discard(c)
		return nil, err
	}
	return taken, nil
}

// join returns the snapshot that a read of a split from its start is to see; nil is none. A split that was read before is read as it is
// now.
func (s *source) join(of part) *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := s.snapshots[of.collection]
	if held == nil || held.over || !held.left[of] {
		return nil
	}
	held.active++
	return held
}

// leave ends a read that joined; done says that it has come to the split's end.
func (s *source) leave(held *snapshot, of part, done bool) {
	s.mu.Lock()
	held.active--
	if done {
		delete(held.left, of)
	}
	ended := held.active == 0 && (held.over || len(held.left) == 0 && held != s.handover)
	if ended {
		held.over = true
	}
	if ended && s.snapshots[of.collection] == held {
		delete(s.snapshots, of.collection)
	}
	s.mu.Unlock()
	if ended {
		pg.Discard(held.conn)
	}
}

// end lets go of a snapshot as soon as nobody reads from it.
func (s *source) end(held *snapshot) {
	s.mu.Lock()
	now := !held.over && held.active == 0
	held.over = true
	s.mu.Unlock()
	if now {
		pg.Discard(held.conn)
	}
}

// endSnapshots lets go of all that are held: what was to be read of them is read.
func (s *source) endSnapshots() {
	s.mu.Lock()
	all := map[*snapshot]bool{}
	for name, held := range s.snapshots {
		all[held] = true
		delete(s.snapshots, name)
	}
	if s.handover != nil {
		all[s.handover] = true
		s.handover = nil
	}
	s.mu.Unlock()
	for held := range all {
		s.end(held)
	}
}
