package postgres

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pglogrepl"

	"github.com/syncd-io/syncd"
)

// position is a place in the stream: behind all transactions whose commits end before lsn and, where commit is set, behind some rows
// of the next one, which is the one with that commit. Transactions come in the order of their commits, each as a whole, so that a
// place inside of one can be found again by counting.
type position struct {
	system   string // the server's system identifier
	timeline int32
	lsn      pglogrepl.LSN
	commit   pglogrepl.LSN
	rows     int64
}

func (p position) offset() syncd.Offset {
	text := p.system + " " + strconv.Itoa(int(p.timeline)) + " " + p.lsn.String()
	if p.commit != 0 {
		text += " " + p.commit.String() + " " + strconv.FormatInt(p.rows, 10)
	}
	return syncd.Offset(text)
}

var errOffset = errors.New("it is no position in a stream of PostgreSQL")

// parsePosition reads an offset. One that can't be read is lost.
func parsePosition(o syncd.Offset) (p position, err error) {
	parts := strings.Split(string(o), " ")
	if len(parts) != 3 && len(parts) != 5 || parts[0] == "" {
		return p, errOffset
	}
	timeline, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil {
		return p, errOffset
	}
	p.system, p.timeline = parts[0], int32(timeline)
	if p.lsn, err = pglogrepl.ParseLSN(parts[2]); err != nil {
		return p, errOffset
	}
	if len(parts) == 5 {
		if p.commit, err = pglogrepl.ParseLSN(parts[3]); err != nil || p.commit == 0 {
			return p, errOffset
		}
		if p.rows, err = strconv.ParseInt(parts[4], 10, 64); err != nil {
			return p, errOffset
		}
	}
	if p.offset() != o {
		return p, errOffset
	}
	return p, nil
}

// lostError says that changes behind a position can no longer be had.
type lostError struct{ why string }

func (e *lostError) Error() string { return fmt.Sprintf("%v: %s", syncd.ErrPositionLost, e.why) }
func (e *lostError) Unwrap() error { return syncd.ErrPositionLost }

func lost(format string, args ...any) error { return &lostError{fmt.Sprintf(format, args...)} }
