package fastmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// oplogNamespace is the collection in which MongoDB shows its oplog.
const oplogNamespace = "local.oplog.rs"

// oplogView is that collection: each entry's time, kind and namespace, but not what it changed.
type oplogView struct{ log *oplog }

func (v oplogView) count() int {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	return len(v.log.records)
}

func (v oplogView) size() int64 {
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	return int64(v.log.bytes)
}

func (oplogView) within(bounds) (int, bool) { return 0, false }

func (v oplogView) walk(_ bounds, o order) (walk, error) {
	v.log.mu.Lock()
	records := slices.Clone(v.log.records)
	v.log.mu.Unlock()
	if o == backward {
		slices.Reverse(records)
	}
	return &oplogWalk{records}, nil
}

func (oplogView) sample(int) []bsoncore.Document { return nil }

type oplogWalk struct{ records []*record }

func (w *oplogWalk) each(visit func(*row) verdict) (bool, error) {
	for len(w.records) > 0 {
		r := row{doc: w.records[0].describe()}
		v := visit(&r)
		if v != stopBefore {
			w.records = w.records[1:]
		}
		if v != goOn {
			return false, nil
		}
	}
	return true, nil
}

// lastWrite is what a member of a replica set tells about its oplog's end.
func (o *oplog) lastWrite() bson.D {
	last, visible := o.times()
	at := func(t uint64) bson.D {
		return bson.D{{Key: "ts", Value: timestamp(t)}, {Key: "t", Value: int64(1)}}
	}
	date := func(t uint64) bson.DateTime { return bson.DateTime(int64(t>>32) * 1000) }
	return bson.D{
		{Key: "opTime", Value: at(last)}, {Key: "lastWriteDate", Value: date(last)},
		{Key: "majorityOpTime", Value: at(visible)}, {Key: "majorityWriteDate", Value: date(visible)},
	}
}
