package fastmongo

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// firstBatch is how many documents a server returns first if it is not told.
const firstBatch = 101

// query is what a find asks for, before it is planned.
type query struct {
	ns          string
	filter      bsoncore.Document
	projection  bsoncore.Document
	sort        bsoncore.Document
	min, max    bsoncore.Document
	hint        value // missing, a name or a key pattern
	skip, limit int64
	batchSize   int
	single      bool
	txn         *transaction
}

// Fields of commands that change nothing here. Every other unknown field is an error, as in MongoDB.
var ignoredFields = map[string]bool{
	"$db": true, "lsid": true, "$clusterTime": true, "$readPreference": true, "readConcern": true, "writeConcern": true, "comment": true,
	"maxTimeMS": true, "noCursorTimeout": true, "allowDiskUse": true, "allowPartialResults": true, "let": true, "txnNumber": true,
	"startTransaction": true, "autocommit": true,
	"apiVersion": true, "apiStrict": true, "apiDeprecationErrors": true, "bypassDocumentValidation": true, "cursor": true,
	"ordered": true, "maxTime": true, "oplogReplay": true,
}

func readFind(r *request) (query, error) {
	q := query{ns: r.ns(), batchSize: firstBatch, txn: r.txn}
	for rest := body(r.body); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		v := e.Value()
		switch key := e.Key(); key {
		case "find":
		case "filter":
			q.filter = v.Data
		case "projection":
			q.projection = v.Data
		case "sort":
			q.sort = v.Data
		case "min":
			q.min = v.Data
		case "max":
			q.max = v.Data
		case "hint":
			q.hint = v
		case "skip":
			q.skip = toInt(v)
		case "limit":
			q.limit = toInt(v)
		case "batchSize":
			if toInt(v) < 0 {
				return q, fail(51024, "BSON field 'batchSize' value must be >= 0, actual value '%d'", toInt(v))
			}
			q.batchSize = int(toInt(v))
		case "singleBatch":
			q.single = truthy(v)
		case "collation":
			if locale, _ := lookup(v.Data, "locale").StringValueOK(); locale != "simple" {
				return q, fail(238, "collation %q is not implemented here", locale)
			}
		case "returnKey", "showRecordId", "tailable", "awaitData":
			if truthy(v) {
				return q, fail(238, "%s is not implemented here", key)
			}
		default:
			if !ignoredFields[key] {
				return q, fail(40415, "BSON field 'FindCommandRequest.%s' is an unknown field.", key)
			}
		}
	}
	if q.skip < 0 {
		return q, fail(51024, "BSON field 'skip' value must be >= 0, actual value '%d'", q.skip)
	}
	if q.limit < 0 {
		return q, fail(51024, "BSON field 'limit' value must be >= 0, actual value '%d'", q.limit)
	}
	return q, nil
}

// plan makes a cursor of a query.
func (s *Server) plan(q query) (*cursor, error) {
	c := &cursor{ns: q.ns, skip: q.skip, left: -1}
	if q.limit > 0 {
		c.left = q.limit
	}
	var err error
	if c.filter, err = compileFilter(q.filter); err != nil {
		return nil, err
	}
	s.count.inKeys.Add(int64(c.filter.inKeys))
	if c.projection, err = compileProjection(q.projection); err != nil {
		return nil, err
	}
	o, bySort, err := sortOrder(q.sort)
	if err != nil {
		return nil, err
	}
	coll := s.lookupIn(q.txn, q.ns)
	if coll == nil {
		c.walk = nothing{}
		return c, nil
	}
	hinted, err := s.useHint(&q)
	if err != nil {
		return nil, err
	}
	b := c.filter.bounds
	bounded, err := s.minMax(&b, q, hinted)
	if err != nil {
		return nil, err
	}
	// Any of these makes MongoDB read the _id index; if nothing but _id is asked for, it reads nothing else. With min or max
	// it fetches each document that it has to filter.
	c.keys = hinted == ascending || o == ascending || o == descending || c.filter.usesID
	if c.keys && o == natural {
		o = ascending
	}
	if hinted == natural && q.hint.Type != 0 {
		c.keys = false
	}
	c.covered = c.keys && c.projection.onlyID() && len(c.filter.byDoc) == 0 && bySort == nil && (!bounded || len(body(q.filter)) <= 1)
	if c.walk, err = coll.walk(b, o); err != nil {
		return nil, err
	}
	if bySort != nil {
		err = s.sorted(c, bySort)
	}
	return c, err
}

func find(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	q, err := readFind(r)
	if err != nil {
		return dst, err
	}
	cur, err := c.server.plan(q)
	if err != nil {
		return dst, err
	}
	return c.server.replyCursor(dst, "firstBatch", 0, cur, q.batchSize, q.single)
}
