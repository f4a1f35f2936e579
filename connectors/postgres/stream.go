package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
)

func (s *source) streaming() *syncd.Streaming {
	return &syncd.Streaming{Streams: s.Streams, Now: s.Now, Confirm: s.Confirm, Window: s.Window}
}

// confirmable is what is told to the server of a stream: that it may forget what lies before.
type confirmable struct{ lsn pglogrepl.LSN }

// Confirm notes what is durable; the read of the stream tells the server.
func (s *source) Confirm(st syncd.Stream, after syncd.Offset) {
	p, err := parsePosition(after)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confirmed[st.Name].lsn < p.lsn {
		s.confirmed[st.Name] = confirmable{p.lsn}
	}
}

const everyInstead = "leave run.follow out, and repeat the run: --every 15m"

// Streams finds out whether the tables can be followed, and makes the publication if that may be. All of them are one stream: a slot
// costs the server the reading of all its log.
func (s *source) Streams(ctx context.Context, collections []syncd.Collection) ([]syncd.Stream, error) {
	if len(collections) == 0 {
		return nil, nil
	}
	_, err := retried(ctx, s, func() (struct{}, error) {
		return struct{}{}, s.pool.With(ctx, func(c *pgconn.PgConn) error { return s.prepare(ctx, c, collections) })
	})
	if err != nil {
		return nil, fmt.Errorf("following database %s: %w", s.connect.Database, s.explain(ctx, err))
	}
	return []syncd.Stream{{Name: "slot " + s.cfg.Stream.Slot, Collections: collections}}, nil
}

func (s *source) prepare(ctx context.Context, c *pgconn.PgConn, collections []syncd.Collection) error {
	var level string
	standby := false
	if err := pg.Query(ctx, c, "SELECT current_setting('wal_level'), pg_is_in_recovery()", nil, func(v [][]byte) error {
		level, standby = string(v[0]), string(v[1]) == "t"
		return nil
	}); err != nil {
		return err
	}
	switch {
	case level != "logical":
		return syncd.Hint(fmt.Errorf("the server's wal_level is %s, and changes are told with logical only", level),
			"set wal_level = logical in postgresql.conf and restart the server, or "+everyInstead)
	case standby:
		return syncd.Hint(errors.New("the server is a standby, on which nobody can make a publication"), "connect to the primary: add target_session_attrs=primary to source.postgres.dsn and name all hosts in it")
	}
	tables := map[string]*table{}
	for _, of := range collections {
		t, err := s.lookOn(ctx, c, of.Name)
		if err == nil {
			err = t.followable()
		}
		if errors.Is(err, syncd.ErrCollectionNotFound) {
			err = syncd.Hint(err, "make the table before it is followed: nobody would tell of its changes")
		}
		if err != nil {
			return fmt.Errorf("collection %s: %w", of.Name, err)
		}
		tables[of.Name] = t
	}
	return s.publish(ctx, c, tables)
}

// followable says why a table can't be followed.
func (t *table) followable() error {
	if t.kind != 'r' && t.kind != 'p' {
		return syncd.Hint(errors.New("it is no table, and only tables have changes"), "follow the tables behind it, or "+everyInstead)
	}
	for _, k := range t.key {
		if i := slices.Index(t.columns, k.name); !t.covered[i] {
			return syncd.Hint(fmt.Errorf("its replica identity lacks %q of the key, so that a delete would not say of what", k.name),
				"ALTER TABLE %s REPLICA IDENTITY FULL, or USING INDEX with a unique index of the key", t.from())
		}
	}
	return nil
}

// publish sees to it that a publication tells of all changes of the tables.
func (s *source) publish(ctx context.Context, c *pgconn.PgConn, tables map[string]*table) error {
	name := s.cfg.Stream.Publication
	var all, complete, viaRoot, exists bool
	if err := pg.Query(ctx, c, `SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot FROM pg_publication WHERE pubname = $1`, pg.Texts(name), func(v [][]byte) error {
		exists, all, complete, viaRoot = true, string(v[0]) == "t", string(v[1]) == "t", string(v[2]) == "t"
		return nil
	}); err != nil {
		return err
	}
	lacks := maps.Clone(tables)
	if all {
		clear(lacks)
	}
	if exists {
		partial := ""
		err := pg.Query(ctx, c, `SELECT r.prrelid, to_jsonb(r) ->> 'prqual' IS NOT NULL OR to_jsonb(r) ->> 'prattrs' IS NOT NULL
FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE p.pubname = $1`, pg.Texts(name), func(v [][]byte) error {
			for collection, t := range tables {
				if strconv.FormatUint(uint64(t.oid), 10) == string(v[0]) {
					delete(lacks, collection)
					if string(v[1]) == "t" {
						partial = collection
					}
				}
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case !complete:
			return syncd.Hint(fmt.Errorf("publication %q leaves some operations out", name), "ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate')", pg.Quote(name))
		case partial != "":
			return syncd.Hint(fmt.Errorf("publication %q leaves rows or columns of %s out", name, partial), "name a publication of whole tables in source.postgres.stream.publication; a filter of the mapping selects rows")
		}
	}
	for collection, t := range tables {
		if t.kind == 'p' && exists && !viaRoot {
			return syncd.Hint(fmt.Errorf("publication %q tells of the partitions of %s, and not of the table", name, collection), "ALTER PUBLICATION %s SET (publish_via_partition_root = true)", pg.Quote(name))
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	var list []string
	for _, collection := range slices.Sorted(maps.Keys(lacks)) {
		list = append(list, lacks[collection].from())
	}
	sql := "ALTER PUBLICATION " + pg.Quote(name) + " ADD TABLE " + strings.Join(list, ", ")
	if !exists {
		sql = "CREATE PUBLICATION " + pg.Quote(name) + " FOR TABLE " + strings.Join(list, ", ") + " WITH (publish_via_partition_root = true)"
	}
	if !s.cfg.Stream.Create {
		return syncd.Hint(fmt.Errorf("publication %q lacks %s", name, strings.Join(list, ", ")), "have somebody who may do it say: %s", sql)
	}
	// Nobody writes meanwhile: a transaction that has begun before would be left out of the stream, and perhaps be too late for the
	// snapshot.
	err := pg.Exec(ctx, c, "BEGIN; SET LOCAL lock_timeout = '10s'; LOCK TABLE "+strings.Join(list, ", ")+" IN SHARE MODE; "+sql+"; COMMIT")
	if err != nil {
		_ = pg.Exec(ctx, c, "ROLLBACK")
		if code := pg.CodeOf(err); code == pg.CodePrivilege {
			return syncd.Hint(fmt.Errorf("making the publication: %w", err), "have somebody who may do it say: %s", sql)
		}
		return fmt.Errorf("making the publication: %w", err)
	}
	s.log.Info("the tables are published", "publication", name, "tables", strings.Join(list, ", "))
	return nil
}

// slot is what the server says of the replication slot, and of itself.
type slot struct {
	there     bool
	plugin    string
	database  string
	lost      bool
	confirmed pglogrepl.LSN
	end       pglogrepl.LSN // of the server's log
	retained  int64         // bytes
	system    string
	timeline  int32
}

const slotSQL = `
SELECT c.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer, pg_current_wal_flush_lsn(), s.plugin, s.database,
  coalesce(s.wal_status, '') = 'lost', s.confirmed_flush_lsn, pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint
FROM pg_control_system() c LEFT JOIN pg_replication_slots s ON s.slot_name = $1`

func (s *source) slot(ctx context.Context, c *pgconn.PgConn) (out slot, err error) {
	err = pg.Query(ctx, c, slotSQL, pg.Texts(s.cfg.Stream.Slot), func(v [][]byte) error {
		timeline, err := strconv.ParseInt(string(v[1]), 10, 32)
		if err != nil {
			return err
		}
		out = slot{there: v[3] != nil, plugin: string(v[3]), database: string(v[4]), lost: string(v[5]) == "t", system: string(v[0]), timeline: int32(timeline)}
		if out.end, err = pglogrepl.ParseLSN(string(v[2])); err != nil || !out.there {
			return err
		}
		if v[6] != nil {
			if out.confirmed, err = pglogrepl.ParseLSN(string(v[6])); err != nil {
				return err
			}
		}
		if v[7] != nil {
			out.retained, err = strconv.ParseInt(string(v[7]), 10, 64)
		}
		return err
	})
	return out, err
}

// usable says why a slot that is there is not this source's.
func (s *source) usable(at slot) error {
	if at.plugin != "pgoutput" || at.database != s.connect.Database {
		return syncd.Hint(fmt.Errorf("slot %q is another program's: of database %q, with the plugin %q", s.cfg.Stream.Slot, at.database, at.plugin),
			"name a slot of this job's own: source.postgres.stream.slot")
	}
	return nil
}

// Now makes the slot, whose first moment this is, and holds what the database looks like then, so that the run that follows sees just
// what the stream will not tell. Where there is a slot, it is the oldest moment that the slot still has: all that happened behind it is
// told, some of it perhaps again.
func (s *source) Now(ctx context.Context, st syncd.Stream) (syncd.Offset, error) {
	p, err := retried(ctx, s, func() (position, error) { return s.now(ctx) })
	if err != nil {
		return "", followingError(st, s.explain(ctx, err))
	}
	return p.offset(), nil
}

func followingError(st syncd.Stream, err error) error {
	return fmt.Errorf("following %s: %w", st.Name, err)
}

func (s *source) now(ctx context.Context) (p position, err error) {
	var at slot
	err = s.pool.With(ctx, func(c *pgconn.PgConn) error {
		if at, err = s.slot(ctx, c); err != nil || !at.there {
			return err
		}
		if err := s.usable(at); err != nil {
			return err
		}
		s.mu.Lock()
		useless := s.slotUseless
		s.mu.Unlock()
		if (at.lost || useless) && s.cfg.Stream.Create {
			at.there = false
			return pg.Query(ctx, c, "SELECT pg_drop_replication_slot($1)", pg.Texts(s.cfg.Stream.Slot), func([][]byte) error { return nil })
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	p = position{system: at.system, timeline: at.timeline, lsn: at.confirmed}
	if at.there {
		if at.lost {
			return p, syncd.Hint(fmt.Errorf("slot %q has lost what it was to tell", s.cfg.Stream.Slot), "drop it: SELECT pg_drop_replication_slot('%s')", s.cfg.Stream.Slot)
		}
		return p, nil
	}
	if !s.cfg.Stream.Create {
		return p, syncd.Hint(fmt.Errorf("there is no slot %q", s.cfg.Stream.Slot), "have somebody who may do it say: SELECT pg_create_logical_replication_slot('%s', 'pgoutput')", s.cfg.Stream.Slot)
	}
	p.lsn, err = s.makeSlot(ctx)
	return p, err
}

func (s *source) makeSlot(ctx context.Context) (pglogrepl.LSN, error) {
	c, err := s.replication(ctx)
	if err != nil {
		return 0, err
	}
	made, err := pglogrepl.CreateReplicationSlot(ctx, c, s.cfg.Stream.Slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT",
	})
	if err != nil {
		pg.Discard(c)
		switch pg.CodeOf(err) {
		case pg.CodeDuplicateObject:
			return 0, pg.ErrBroken // another was faster: look again
		case pg.CodeTooManySlots:
			return 0, syncd.Hint(err, "raise max_replication_slots, or drop slots that nobody reads: SELECT * FROM pg_replication_slots WHERE NOT active")
		case pg.CodePrivilege:
			return 0, syncd.Hint(err, "ALTER ROLE %s REPLICATION", pg.Quote(s.connect.User))
		}
		return 0, err
	}
	lsn, err := pglogrepl.ParseLSN(made.ConsistentPoint)
	if err != nil {
		pg.Discard(c)
		return 0, err
	}
	s.endSnapshots() // of what was read before
	s.mu.Lock()
	s.slotUseless = false
	if s.cfg.Snapshot == snapshotShared {
		s.handover = &snapshot{id: made.SnapshotName, conn: c, left: map[part]bool{}}
		c = nil
	}
	s.mu.Unlock()
	if c != nil {
		pg.Discard(c)
	}
	s.log.Info("the replication slot is made: the server keeps its log for it until it is read or dropped", "slot", s.cfg.Stream.Slot)
	return lsn, nil
}

// replication opens a connection that speaks the replication protocol.
func (s *source) replication(ctx context.Context) (*pgconn.PgConn, error) {
	config := s.connect.Copy()
	config.RuntimeParams["replication"] = "database"
	return pg.Connect(ctx, config)
}

// Window tells how much of its log the server keeps for the slot. How old that is it does not know.
func (s *source) Window(ctx context.Context, st syncd.Stream) (w syncd.Window, err error) {
	err = s.pool.With(ctx, func(c *pgconn.PgConn) error {
		at, err := s.slot(ctx, c)
		w.Retained = at.retained
		return err
	})
	if err != nil {
		return w, followingError(st, s.explain(ctx, err))
	}
	return w, nil
}
