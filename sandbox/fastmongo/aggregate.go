package fastmongo

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

type stage struct {
	name string
	spec value
}

func readPipeline(v value) ([]stage, error) {
	if v.Type != bsoncore.TypeArray {
		return nil, fail(codeTypeMismatch, "'pipeline' option must be specified as an array")
	}
	var out []stage
	for rest := body(v.Data); ; {
		e, ok := nextElement(&rest)
		if !ok {
			return out, nil
		}
		d, ok := e.Value().DocumentOK()
		if !ok {
			return nil, fail(codeTypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		parts, _ := d.Elements()
		if len(parts) != 1 {
			return nil, fail(40323, "A pipeline stage specification object must contain exactly one field.")
		}
		out = append(out, stage{parts[0].Key(), parts[0].Value()})
	}
}

func aggregate(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	s := c.server
	pipeline, err := readPipeline(lookup(r.body, "pipeline"))
	if err != nil {
		return dst, err
	}
	if len(pipeline) > 0 && pipeline[0].name == "$changeStream" {
		return s.watch(r, pipeline, dst)
	}
	for rest := body(r.body); ; {
		e, ok := nextElement(&rest)
		if !ok {
			break
		}
		switch key := e.Key(); key {
		case "aggregate", "pipeline", "hint", "collation":
		default:
			if !ignoredFields[key] {
				return dst, fail(40415, "BSON field 'aggregate.%s' is an unknown field.", key)
			}
		}
	}
	docs, err := s.results(query{ns: r.ns(), hint: lookup(r.body, "hint"), txn: r.txn}, pipeline)
	if err != nil {
		return dst, err
	}
	most := firstBatch
	if n := lookup(lookup(r.body, "cursor").Data, "batchSize"); n.IsNumber() {
		most = int(toInt(n))
	}
	return s.replyCursor(dst, "firstBatch", 0, &cursor{ns: r.ns(), walk: &results{docs}, left: -1}, most, false)
}

func (s *Server) knows(name string) error {
	switch name {
	case "$match", "$sort", "$project", "$limit", "$skip", "$count", "$group", "$collStats", "$unionWith":
		return nil
	case "$sample":
		if !s.quirks.Load().NoSample {
			return nil
		}
	}
	if name == "$changeStream" && !s.quirks.Load().NoChangeStreams {
		return fail(40602, "$changeStream is only valid as the first stage in a pipeline")
	}
	return fail(40324, "Unrecognized pipeline stage name: '%s'", name)
}

// results carries out a pipeline on the documents of q.
func (s *Server) results(q query, pipeline []stage) ([]bsoncore.Document, error) {
	for _, st := range pipeline {
		if err := s.knows(st.name); err != nil {
			return nil, err
		}
	}
	docs, err := s.source(q, &pipeline)
	for _, st := range pipeline {
		if err != nil {
			return nil, err
		}
		if st.name != "$unionWith" {
			docs, err = st.apply(docs)
			continue
		}
		var inner []stage
		if inner, err = readPipeline(lookup(st.spec.Data, "pipeline")); err == nil {
			coll, _ := lookup(st.spec.Data, "coll").StringValueOK()
			database, _, _ := strings.Cut(q.ns, ".")
			var more []bsoncore.Document
			more, err = s.results(query{ns: database + "." + coll, txn: q.txn}, inner)
			docs = append(docs, more...)
		}
	}
	return docs, err
}

// source carries out the stages that read the collection, and takes them off the pipeline: counting and sampling need not
// read it all.
func (s *Server) source(q query, pipeline *[]stage) ([]bsoncore.Document, error) {
	rest := *pipeline
	defer func() { *pipeline = rest }()
	next := func(name string) (value, bool) {
		if len(rest) == 0 || rest[0].name != name {
			return value{}, false
		}
		spec := rest[0].spec
		rest = rest[1:]
		return spec, true
	}
	if spec, ok := next("$collStats"); ok {
		return s.collStatsStage(q.ns, spec)
	}
	if len(rest) > 0 && rest[0].name == "$sample" {
		n, err := sampleSize(rest[0].spec)
		coll := s.lookupIn(q.txn, q.ns)
		if err != nil || coll == nil {
			return nil, err
		}
		next("$sample")
		docs := coll.sample(n)
		s.count.documents.Add(int64(len(docs)))
		return docs, nil
	}
	if spec, ok := next("$match"); ok {
		q.filter = spec.Data
	}
	if n, name, ok, err := s.fastCount(q, rest); err != nil || ok {
		rest = nil
		if n == 0 || err != nil {
			return nil, err
		}
		return []bsoncore.Document{marshal(bson.D{{Key: "_id", Value: 1}, {Key: name, Value: n}})}, nil
	}
	if len(rest) > 0 && rest[0].name == "$sort" {
		if _, by, err := sortOrder(rest[0].spec.Data); err == nil && by == nil {
			spec, _ := next("$sort")
			q.sort = spec.Data
		}
	}
	if len(rest) > 0 && rest[0].name == "$project" {
		spec, _ := next("$project")
		q.projection = spec.Data
	}
	cur, err := s.plan(q)
	if err != nil {
		return nil, err
	}
	return s.collect(cur)
}

// fastCount answers the pipeline that drivers count with, [$match, $skip, $limit, {$group: {_id: 1, n: {$sum: 1}}}], without
// keeping documents and, where the index can tell, without visiting any.
func (s *Server) fastCount(q query, rest []stage) (n int64, name string, ok bool, err error) {
	var limits []stage
	for len(rest) > 0 && (rest[0].name == "$skip" || rest[0].name == "$limit") {
		limits, rest = append(limits, rest[0]), rest[1:]
	}
	if len(rest) != 1 || rest[0].name != "$group" {
		return 0, "", false, nil
	}
	if name, ok = constantSum(rest[0].spec); !ok {
		return 0, "", false, nil
	}
	if n, err = s.countMatching(q); err != nil {
		return 0, "", false, err
	}
	for _, l := range limits {
		if l.name == "$skip" {
			n = max(0, n-toInt(l.spec))
		} else {
			n = min(n, toInt(l.spec))
		}
	}
	return n, name, true, nil
}

// constantSum recognises {_id: <constant>, n: {$sum: 1}}.
func constantSum(spec value) (name string, ok bool) {
	d, ok := spec.DocumentOK()
	if !ok {
		return "", false
	}
	id := lookup(d, "_id")
	if !id.IsNumber() && id.Type != bsoncore.TypeNull {
		return "", false
	}
	for rest := body(d); ; {
		e, more := nextElement(&rest)
		if !more {
			return name, name != ""
		}
		if e.Key() == "_id" {
			continue
		}
		sum := lookup(e.Value().Data, "$sum")
		if name != "" || e.Value().Type != bsoncore.TypeEmbeddedDocument || !sum.IsNumber() || toInt(sum) != 1 {
			return "", false
		}
		name = e.Key()
	}
}

// countMatching counts what a query matches.
func (s *Server) countMatching(q query) (int64, error) {
	cur, err := s.plan(q)
	if err != nil {
		return 0, err
	}
	if coll := s.lookupIn(q.txn, q.ns); coll != nil && cur.filter.exact() {
		if n, ok := coll.within(cur.filter.bounds); ok {
			if cur.keys {
				s.count.keys.Add(int64(n))
			} else {
				s.count.documents.Add(int64(n)) // MongoDB reads the collection unless a hint or the query names the index
			}
			return int64(n), nil
		}
	}
	n := int64(0)
	err = cur.documents(&s.count, func(bsoncore.Document) bool {
		n++
		return true
	})
	return n, err
}

func sampleSize(spec value) (int, error) {
	n := lookup(spec.Data, "size")
	if spec.Type != bsoncore.TypeEmbeddedDocument || !n.IsNumber() {
		return 0, fail(28745, "$sample stage must specify a size")
	}
	if toInt(n) <= 0 {
		return 0, fail(28747, "size argument to $sample must be a positive integer")
	}
	return int(toInt(n)), nil
}

func (s *Server) collStatsStage(ns string, spec value) ([]bsoncore.Document, error) {
	if s.lookup(ns) == nil {
		return nil, fail(codeNamespaceNotFound, "Unable to retrieve count in $collStats stage :: caused by :: Collection [%s] not found.", ns)
	}
	stats := s.stats(ns)
	d := bson.D{{Key: "ns", Value: ns}, {Key: "host", Value: s.Addr()}, {Key: "localTime", Value: time.Now()}}
	if lookup(spec.Data, "storageStats").Type != 0 {
		d = append(d, bson.E{Key: "storageStats", Value: stats})
	}
	if lookup(spec.Data, "count").Type != 0 {
		d = append(d, bson.E{Key: "count", Value: stats[1].Value})
	}
	return []bsoncore.Document{marshal(d)}, nil
}

// marshal is for documents of this package, which can be encoded.
func marshal(d bson.D) bsoncore.Document {
	b, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return b
}

// apply carries out a stage on documents in memory.
func (st stage) apply(docs []bsoncore.Document) ([]bsoncore.Document, error) {
	switch st.name {
	case "$match":
		f, err := compileFilter(st.spec.Data)
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(docs, func(d bsoncore.Document) bool { return !f.match(d) }), nil
	case "$project":
		p, err := compileProjection(st.spec.Data)
		if err != nil {
			return nil, err
		}
		for i, d := range docs {
			docs[i] = p.append(nil, d)
		}
		return docs, nil
	case "$sort":
		o, by, err := sortOrder(st.spec.Data)
		if err != nil {
			return nil, err
		}
		if o == ascending || o == descending {
			by = sorting{{path: []string{"_id"}, down: o == descending}}
		}
		slices.SortStableFunc(docs, by.compare)
		return docs, nil
	case "$skip":
		return docs[min(int64(len(docs)), max(0, toInt(st.spec))):], nil
	case "$limit":
		if toInt(st.spec) <= 0 {
			return nil, fail(15958, "the limit must be positive")
		}
		return docs[:min(int64(len(docs)), toInt(st.spec))], nil
	case "$sample":
		n, err := sampleSize(st.spec)
		if err != nil {
			return nil, err
		}
		rand.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		return docs[:min(n, len(docs))], nil
	case "$count":
		name, ok := st.spec.StringValueOK()
		if !ok || name == "" {
			return nil, fail(40156, "the count field must be a non-empty string")
		}
		if len(docs) == 0 {
			return nil, nil
		}
		return []bsoncore.Document{marshal(bson.D{{Key: name, Value: len(docs)}})}, nil
	case "$group":
		name, ok := constantSum(st.spec)
		if !ok {
			return nil, fail(238, "$group other than {_id: <constant>, n: {$sum: 1}} is not implemented here")
		}
		if len(docs) == 0 {
			return nil, nil
		}
		return []bsoncore.Document{marshal(bson.D{{Key: "_id", Value: 1}, {Key: name, Value: len(docs)}})}, nil
	}
	return nil, fail(40602, "%s is only valid as the first stage in a pipeline", st.name)
}

// count is the command. Without a query MongoDB answers it from metadata.
func count(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	s := c.server
	q := query{ns: r.ns(), filter: lookup(r.body, "query").Data, hint: lookup(r.body, "hint")}
	var n int64
	if coll := s.lookup(q.ns); len(body(q.filter)) <= 1 && q.hint.Type == 0 {
		if coll != nil {
			n = int64(coll.count())
		}
	} else {
		var err error
		if n, err = s.countMatching(q); err != nil {
			return dst, err
		}
	}
	if skip := lookup(r.body, "skip"); skip.IsNumber() {
		n = max(0, n-toInt(skip))
	}
	if limit := lookup(r.body, "limit"); limit.IsNumber() && toInt(limit) > 0 {
		n = min(n, toInt(limit))
	}
	return reply(dst, bson.D{{Key: "n", Value: n}, fine})
}

// distinct reads top-level fields.
func distinct(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	key, _ := lookup(r.body, "key").StringValueOK()
	cur, err := c.server.plan(query{ns: r.ns(), filter: lookup(r.body, "query").Data})
	if err != nil {
		return dst, err
	}
	var values []value
	size := 0
	err = cur.documents(&c.server.count, func(d bsoncore.Document) bool {
		if v := lookup(d, key); v.Type != 0 {
			values = append(values, value{Type: v.Type, Data: bytes.Clone(v.Data)})
			size += len(v.Data)
		}
		return size <= maxDocument
	})
	if err != nil {
		return dst, err
	}
	if size > maxDocument {
		return dst, fail(17217, "distinct too big, 16mb cap")
	}
	slices.SortStableFunc(values, compare)
	values = slices.CompactFunc(values, func(a, b value) bool { return compare(a, b) == 0 })
	start, dst := bsoncore.AppendDocumentStart(dst)
	array, dst := bsoncore.AppendArrayElementStart(dst, "values")
	for i, v := range values {
		dst = append(appendIndex(dst, v.Type, i), v.Data...)
	}
	dst, _ = bsoncore.AppendArrayEnd(dst, array)
	dst = bsoncore.AppendDoubleElement(dst, "ok", 1)
	dst, _ = bsoncore.AppendDocumentEnd(dst, start)
	return dst, nil
}
