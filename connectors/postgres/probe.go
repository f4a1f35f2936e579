package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/pg"
	"github.com/syncd-io/syncd/spec"
)

// probeTime bounds what a probe makes the server do: to find out that a filter matches nothing, it would read everything.
const probeTime = "SET statement_timeout = '2s'"

// Probe looks at the server and at each collection. Nothing is tried again: a person waits for the answer.
func (s *source) Probe(ctx context.Context, targets []syncd.ProbeTarget) []syncd.Finding {
	findings := make([]syncd.Finding, 0, 2+len(targets))
	c, err := s.pool.Get(ctx)
	if err != nil {
		return append(findings, s.failed(ctx, syncd.Finding{Subject: "server"}, err))
	}
	defer pg.Discard(c) // its timeout is not for others
	if err := pg.Exec(ctx, c, probeTime); err != nil {
		return append(findings, s.failed(ctx, syncd.Finding{Subject: "server"}, err))
	}
	findings = append(findings, s.probeServer(ctx, c))
	names, _ := s.Collections(ctx)
	for _, t := range targets {
		findings = append(findings, s.probeCollection(ctx, c, t, names))
	}
	return findings
}

func (s *source) probeServer(ctx context.Context, c *pgconn.PgConn) syncd.Finding {
	f := syncd.Finding{Subject: "server"}
	err := pg.Query(ctx, c, `SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('wal_level'), current_setting('server_encoding')`, nil, func(v [][]byte) error {
		role := "primary"
		if string(v[1]) == "t" {
			role = "standby"
		}
		f.Status = syncd.StatusOK
		f.Detail = fmt.Sprintf("PostgreSQL %s, %s, wal_level %s", v[0], role, v[2])
		if string(v[3]) == "SQL_ASCII" {
			f.Status = syncd.StatusWarning
			f.Hint = "the database's encoding is SQL_ASCII, so that texts need not be UTF-8: rows whose texts are not are document errors"
		}
		return nil
	})
	if err != nil {
		return s.failed(ctx, f, err)
	}
	return f
}

// probeCollection reads one row as a run would.
func (s *source) probeCollection(ctx context.Context, c *pgconn.PgConn, target syncd.ProbeTarget, names []string) syncd.Finding {
	f := syncd.Finding{Subject: "collection " + target.Collection}
	t, err := s.lookOn(ctx, c, target.Collection)
	if errors.Is(err, syncd.ErrCollectionNotFound) {
		f.Status = syncd.StatusWarning
		f.Detail = fmt.Sprintf("does not exist in schema %s of database %s: a run takes it for an empty one", s.cfg.Schema, s.connect.Database)
		f.Hint = "no table there has a name like it; remove it from mapping.collections if none is to come"
		if near := spec.Nearest(target.Collection, names); near != "" {
			f.Hint = fmt.Sprintf("did you mean %q?", near)
		}
		return f
	}
	if err != nil {
		return s.failed(ctx, f, err)
	}
	one := func(filter string) (found, gaveUp bool, err error) {
		err = pg.Query(ctx, c, "SELECT "+t.keyList()+" FROM "+t.from()+" t"+where(condition(filter))+" LIMIT 1", nil, func([][]byte) error {
			found = true
			return nil
		})
		if pg.CodeOf(err) == "57014" && ctx.Err() == nil {
			return false, true, nil
		}
		return found, false, err
	}
	some, slow, err := one("")
	if err != nil {
		return s.failed(ctx, f, err)
	}
	f.Status = syncd.StatusOK
	var key []string
	for _, k := range t.key {
		key = append(key, k.name)
	}
	f.Detail = fmt.Sprintf("about %d rows, key %s", t.rows, strings.Join(key, ", "))
	if !t.isTable() {
		f.Detail = "a view, key " + strings.Join(key, ", ")
	}
	if target.Filter == "" {
		return f
	}
	left, gaveUp, err := one(target.Filter)
	switch {
	case err != nil:
		f = s.failed(ctx, f, err)
		if code := pg.CodeOf(err); strings.HasPrefix(code, "42") && code != pg.CodePrivilege || strings.HasPrefix(code, "22") {
			f.Detail = "the server refuses the filter: " + f.Detail
			f.Hint = fmt.Sprintf("correct mapping.collections.%s.filter", target.Collection)
		}
	case left || gaveUp || slow || !some:
		f.Detail += ", before the filter, which the server accepts"
	default:
		f.Status = syncd.StatusWarning
		f.Detail += ", of which the filter leaves none"
		f.Hint = fmt.Sprintf("correct mapping.collections.%s.filter, unless it is to match rows that are still to come", target.Collection)
	}
	return f
}

// failed completes a finding with an error.
func (s *source) failed(ctx context.Context, f syncd.Finding, err error) syncd.Finding {
	explained := s.explain(ctx, err)
	f.Status, f.Detail, f.Hint = syncd.StatusFailed, explained.Error(), syncd.HintOf(explained)
	if ctx.Err() != nil {
		f.Detail = "no answer in time"
	}
	return f
}
