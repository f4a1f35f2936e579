package sendlog

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// A record of the log is a letter, the time (4 bytes, 0 where it does not matter), and what was sent (point id and the version's
// hash) or is to be forgotten (point id).
const (
	logSent    = 's'
	logSeen    = 'g'
	logHeader  = 1 + 4
	sizeOfSent = 16 + 8
	sizeOfSeen = 16
)

const (
	// maxFold is how many things logged are put in order at a time, in some 40 MB.
	maxFold = 1 << 20
	// foldStep is how many are entered in one transaction.
	foldStep = 50_000
)

var (
	bucketLog = []byte("log")
	keyFolded = []byte("folded") // the last id that was entered by a fold that has not ended
)

func appendSent(dst []byte, rule *mapping.Rule, changes []syncd.Change, now time.Time) []byte {
	dst = slices.Grow(dst, logHeader+len(changes)*sizeOfSent)
	dst = binary.BigEndian.AppendUint32(append(dst, logSent), uint32(now.Unix()))
	for i := range changes {
		dst = append(dst, changes[i].PointID[:]...)
		dst = binary.BigEndian.AppendUint64(dst, hash(versionOf(rule, &changes[i])))
	}
	return dst
}

func seenRecord(seen []uuid.UUID) []byte {
	record := make([]byte, 0, logHeader+len(seen)*sizeOfSeen)
	record = append(record, logSeen, 0, 0, 0, 0)
	for i := range seen {
		record = append(record, seen[i][:]...)
	}
	return record
}

// log appends a record.
func (l *Ledger) log(record []byte) error {
	return l.guarded(func() error { return l.put(record) })
}

// put runs guarded.
func (l *Ledger) put(record []byte) error {
	return l.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketLog)
		b.FillPercent = 1 // keys only grow
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		return b.Put(binary.BigEndian.AppendUint64(nil, n), record)
	})
}

// logged is one thing of the log.
type logged struct {
	id      uuid.UUID
	version uint64
	at      uint32
	seen    bool
}

// apply changes an entry; ok says whether there is one, before and after.
func (g *logged) apply(e entry, ok bool) (entry, bool) {
	if g.seen {
		return entry{}, false
	}
	if !ok {
		e = entry{}
	}
	return e.sent(g.version, time.Unix(int64(g.at), 0)), true
}

// walk calls f with everything in the log, the oldest first.
func walk(b *bbolt.Bucket, f func(logged)) error {
	return b.ForEach(func(_, record []byte) error {
		if len(record) < logHeader {
			return errEntry
		}
		g := logged{at: binary.BigEndian.Uint32(record[1:]), seen: record[0] == logSeen}
		size := sizeOfSent
		if g.seen {
			size = sizeOfSeen
		}
		rest := record[logHeader:]
		if len(rest)%size != 0 || !g.seen && record[0] != logSent {
			return errEntry
		}
		for ; len(rest) > 0; rest = rest[size:] {
			g.id = uuid.UUID(rest[:16])
			if !g.seen {
				g.version = binary.BigEndian.Uint64(rest[16:])
			}
			f(g)
		}
		return nil
	})
}

// count returns how many things the log holds.
func count(tx *bbolt.Tx) (n int, err error) {
	err = walk(tx.Bucket(bucketLog), func(logged) { n++ })
	return n, err
}

// fold enters what was logged and empties the log, unless the log holds more than limit. It enters in the order of ids, at most
// maxFold at a time, so that every page is written once and memory is bounded. After a crash the next fold resumes where this one
// was cut off.
func (l *Ledger) fold(limit int) error {
	var n int
	var done uuid.UUID
	begun := false
	if err := l.db.View(func(tx *bbolt.Tx) (err error) {
		if last := tx.Bucket(bucketMeta).Get(keyFolded); len(last) == len(done) {
			done, begun = uuid.UUID(last), true
		}
		n, err = count(tx)
		return err
	}); err != nil || n == 0 || n > limit {
		return err
	}
	passes := (n + maxFold - 1) / maxFold
	for pass := range passes {
		some, err := l.pass(pass, passes)
		if err != nil {
			return err
		}
		if begun { // what a fold that was cut off has entered already
			some = slices.DeleteFunc(some, func(g logged) bool { return bytes.Compare(g.id[:], done[:]) <= 0 })
		}
		if err := l.enter(some); err != nil {
			return err
		}
	}
	return l.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bucketLog); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketLog); err != nil {
			return err
		}
		return tx.Bucket(bucketMeta).Delete(keyFolded)
	})
}

// pass reads one part of the log, by the ids' first bytes, in the order of ids and of their logging.
func (l *Ledger) pass(pass, passes int) (some []logged, err error) {
	from, to := uint64(pass)<<32/uint64(passes), uint64(pass+1)<<32/uint64(passes)
	err = l.db.View(func(tx *bbolt.Tx) error {
		return walk(tx.Bucket(bucketLog), func(g logged) {
			if first := uint64(binary.BigEndian.Uint32(g.id[:])); first >= from && first < to {
				some = append(some, g)
			}
		})
	})
	slices.SortStableFunc(some, func(a, b logged) int { return bytes.Compare(a.id[:], b.id[:]) })
	return some, err
}

// enter changes the entries, and notes with every transaction how far it came.
func (l *Ledger) enter(some []logged) error {
	for len(some) > 0 {
		n := min(foldStep, len(some))
		for n < len(some) && some[n].id == some[n-1].id { // one document's changes stay together
			n++
		}
		step := some[:n]
		some = some[n:]
		if err := l.db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucketEntries)
			for len(step) > 0 {
				id := step[0].id // bbolt keeps keys and values until the transaction ends
				var e entry
				value := b.Get(id[:])
				ok := value != nil
				had := ok
				if ok {
					var err error
					if e, err = decode(value); err != nil {
						return err
					}
				}
				for len(step) > 0 && step[0].id == id {
					e, ok = step[0].apply(e, ok)
					step = step[1:]
				}
				var err error
				switch {
				case ok:
					err = b.Put(id[:], e.append(make([]byte, 0, 2*binary.MaxVarintLen32+8)))
				case had:
					err = b.Delete(id[:])
				}
				if err != nil {
					return err
				}
				if len(step) == 0 {
					if err := tx.Bucket(bucketMeta).Put(keyFolded, id[:]); err != nil {
						return err
					}
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// all bounds nothing.
const all = math.MaxInt
