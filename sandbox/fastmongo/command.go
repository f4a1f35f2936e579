package fastmongo

import (
	"context"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// command is one that the server knows.
type command struct {
	run func(ctx context.Context, c *conn, r *request, dst []byte) ([]byte, error)

	// handshake marks those that set up, watch and end connections: they need no login, and faults spare them.
	handshake bool
}

var commands = map[string]command{
	"hello":            {run: hello, handshake: true},
	"isMaster":         {run: hello, handshake: true},
	"ismaster":         {run: hello, handshake: true},
	"saslStart":        {run: saslStart, handshake: true},
	"saslContinue":     {run: saslContinue, handshake: true},
	"authenticate":     {run: authenticate, handshake: true},
	"ping":             {run: nothingToDo, handshake: true},
	"endSessions":      {run: nothingToDo, handshake: true},
	"logout":           {run: nothingToDo, handshake: true},
	"buildInfo":        {run: buildInfo, handshake: true},
	"buildinfo":        {run: buildInfo, handshake: true},
	"connectionStatus": {run: connectionStatus},
	"killSessions":     {run: nothingToDo},
	"refreshSessions":  {run: nothingToDo},

	"find":        {run: find},
	"getMore":     {run: getMore},
	"killCursors": {run: killCursors},
	"aggregate":   {run: aggregate},
	"count":       {run: count},
	"distinct":    {run: distinct},

	"insert": {run: insert},
	"update": {run: update},
	"delete": {run: remove},

	"commitTransaction": {run: commitTransaction},
	"abortTransaction":  {run: abortTransaction},

	"configureFailPoint": {run: configureFailPoint, handshake: true},

	"create":           {run: create},
	"collMod":          {run: collMod},
	"renameCollection": {run: renameCollection},
	"drop":             {run: drop},
	"dropDatabase":     {run: dropDatabase},
	"listCollections":  {run: listCollections},
	"listDatabases":    {run: listDatabases},
	"listIndexes":      {run: listIndexes},
	"collStats":        {run: collStats},
	"dbStats":          {run: dbStats},
}

func nothingToDo(_ context.Context, _ *conn, _ *request, dst []byte) ([]byte, error) {
	return reply(dst, bson.D{fine})
}

func hello(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	s := c.server
	d := bson.D{{Key: "helloOk", Value: true}, {Key: "ismaster", Value: !s.away()}}
	if r.name == "hello" {
		d[1].Key = "isWritablePrimary"
	}
	if set := s.cfg.ReplicaSet; set != "" {
		d = append(d, bson.D{
			{Key: "setName", Value: set}, {Key: "setVersion", Value: 1}, {Key: "secondary", Value: s.away()},
			{Key: "hosts", Value: bson.A{s.Addr()}}, {Key: "me", Value: s.Addr()}, {Key: "lastWrite", Value: s.oplog.lastWrite()},
		}...)
		if !s.away() {
			d = append(d, bson.E{Key: "primary", Value: s.Addr()})
		}
	}
	d = append(d, bson.D{
		{Key: "maxBsonObjectSize", Value: maxDocument}, {Key: "maxMessageSizeBytes", Value: maxMessage}, {Key: "maxWriteBatchSize", Value: maxWrites},
		{Key: "localTime", Value: time.Now()}, {Key: "logicalSessionTimeoutMinutes", Value: 30}, {Key: "connectionId", Value: c.id},
		{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 25}, {Key: "readOnly", Value: false},
	}...)
	if lookup(r.body, "saslSupportedMechs").Type != 0 && s.auth != nil {
		d = append(d, bson.E{Key: "saslSupportedMechs", Value: c.server.auth.mechanisms()})
	}
	return reply(dst, append(d, fine))
}

func buildInfo(_ context.Context, _ *conn, _ *request, dst []byte) ([]byte, error) {
	return reply(dst, bson.D{
		{Key: "version", Value: "8.0.0"}, {Key: "versionArray", Value: bson.A{8, 0, 0, 0}}, {Key: "gitVersion", Value: "fastmongo"},
		{Key: "modules", Value: bson.A{}}, {Key: "bits", Value: 64}, {Key: "maxBsonObjectSize", Value: maxDocument}, fine,
	})
}

func connectionStatus(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	users, roles := bson.A{}, bson.A{}
	if c.server.auth != nil {
		users = append(users, bson.D{{Key: "user", Value: c.login.user}, {Key: "db", Value: c.login.db}})
		roles = append(roles, bson.D{{Key: "role", Value: "root"}, {Key: "db", Value: authDatabase}})
	}
	info := bson.D{{Key: "authenticatedUsers", Value: users}, {Key: "authenticatedUserRoles", Value: roles}}
	if truthy(lookup(r.body, "showPrivileges")) {
		info = append(info, bson.E{Key: "authenticatedUserPrivileges", Value: bson.A{bson.D{
			{Key: "resource", Value: bson.D{{Key: "db", Value: ""}, {Key: "collection", Value: ""}}},
			{Key: "actions", Value: bson.A{"find", "listCollections", "listIndexes", "collStats", "dbStats", "insert", "update", "remove", "changeStream"}},
		}}})
	}
	return reply(dst, bson.D{{Key: "authInfo", Value: info}, fine})
}

func create(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if err := checkNamespace(r.ns()); err != nil {
		return dst, fail(73, "%v", err)
	}
	if c.server.lookup(r.ns()) != nil {
		return dst, fail(48, "Collection %s already exists.", r.ns())
	}
	made, err := c.server.writable(r.ns(), true)
	if err != nil {
		return dst, err
	}
	made.keepImages(lookup(r.body, imagesOption))
	return reply(dst, bson.D{fine})
}

// imagesOption makes a collection keep documents as they were before and after changes.
const imagesOption = "changeStreamPreAndPostImages"

// collMod changes whether a collection keeps images.
func collMod(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	of, err := c.server.writable(r.ns(), false)
	switch {
	case err != nil:
		return dst, err
	case of == nil:
		return dst, fail(codeNamespaceNotFound, "ns does not exist: %s", r.ns())
	}
	of.keepImages(lookup(r.body, imagesOption))
	return reply(dst, bson.D{fine})
}

func renameCollection(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	from, _ := lookup(r.body, "renameCollection").StringValueOK()
	to, _ := lookup(r.body, "to").StringValueOK()
	if err := c.server.Rename(from, to, truthy(lookup(r.body, "dropTarget"))); err != nil {
		return dst, err
	}
	return reply(dst, bson.D{fine})
}

// drop succeeds for what is not there, as MongoDB 7 does.
func drop(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	d := bson.D{}
	if c.server.Drop(r.ns()) {
		d = append(d, bson.E{Key: "nIndexesWas", Value: 1}, bson.E{Key: "ns", Value: r.ns()})
	}
	return reply(dst, append(d, fine))
}

func dropDatabase(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	c.server.DropDatabase(r.db)
	return reply(dst, bson.D{{Key: "dropped", Value: r.db}, fine})
}

func listCollections(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	var docs []bson.D
	for _, ns := range c.server.namespaces(r.db) {
		d := bson.D{{Key: "name", Value: ns[len(r.db)+1:]}, {Key: "type", Value: "collection"}}
		if !truthy(lookup(r.body, "nameOnly")) {
			d = append(d, bson.E{Key: "options", Value: c.server.options(ns)}, bson.E{Key: "info", Value: c.server.info(ns)},
				bson.E{Key: "idIndex", Value: idIndex})
		}
		docs = append(docs, d)
	}
	return c.server.replyDocuments(dst, r, r.db+".$cmd.listCollections", docs, lookup(r.body, "filter").Data)
}

var idIndex = bson.D{{Key: "v", Value: 2}, {Key: "key", Value: bson.D{{Key: "_id", Value: 1}}}, {Key: "name", Value: "_id_"}}

func listIndexes(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if c.server.lookup(r.ns()) == nil {
		return dst, fail(codeNamespaceNotFound, "ns does not exist: %s", r.ns())
	}
	return c.server.replyDocuments(dst, r, r.ns(), []bson.D{idIndex}, nil)
}

// replyDocuments replies with a cursor over documents that match a query.
func (s *Server) replyDocuments(dst []byte, r *request, ns string, docs []bson.D, query bsoncore.Document) ([]byte, error) {
	f, err := compileFilter(query)
	if err != nil {
		return dst, err
	}
	w := &results{}
	for _, d := range docs {
		raw, err := bson.Marshal(d)
		if err != nil {
			return dst, err
		}
		if f.match(raw) {
			w.docs = append(w.docs, raw)
		}
	}
	most := firstBatch
	if n := lookup(lookup(r.body, "cursor").Data, "batchSize"); n.IsNumber() {
		most = int(toInt(n))
	}
	return s.replyCursor(dst, "firstBatch", 0, &cursor{ns: ns, walk: w, left: -1}, most, false)
}

func listDatabases(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	list, total, last := bson.A{}, int64(0), ""
	for _, ns := range c.server.namespaces("") {
		db, _, _ := strings.Cut(ns, ".")
		if db == last {
			continue
		}
		last = db
		_, size := c.server.sizes(db)
		total += size
		list = append(list, bson.D{{Key: "name", Value: db}, {Key: "sizeOnDisk", Value: size}, {Key: "empty", Value: size == 0}})
	}
	return reply(dst, bson.D{{Key: "databases", Value: list}, {Key: "totalSize", Value: total}, fine})
}

func (s *Server) sizes(db string) (count, size int64) {
	for _, ns := range s.namespaces(db) {
		if c := s.lookup(ns); c != nil {
			count += int64(c.count())
			size += c.size()
		}
	}
	return count, size
}

func dbStats(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	n, size := c.server.sizes(r.db)
	collections := len(c.server.namespaces(r.db))
	return reply(dst, bson.D{
		{Key: "db", Value: r.db}, {Key: "collections", Value: collections}, {Key: "views", Value: 0}, {Key: "objects", Value: n},
		{Key: "avgObjSize", Value: average(size, n)}, {Key: "dataSize", Value: float64(size)}, {Key: "storageSize", Value: float64(size)},
		{Key: "indexes", Value: collections}, {Key: "indexSize", Value: 0.0}, {Key: "totalSize", Value: float64(size)}, {Key: "scaleFactor", Value: 1}, fine,
	})
}

func average(size, n int64) float64 { return float64(size) / float64(max(1, n)) }

func collStats(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	d := append(bson.D{{Key: "ns", Value: r.ns()}}, c.server.stats(r.ns())...)
	return reply(dst, append(d, fine))
}

// stats are those of the command and of $collStats' storageStats. A collection that does not exist is empty.
func (s *Server) stats(ns string) bson.D {
	var n, size int64
	if c := s.lookup(ns); c != nil {
		n, size = int64(c.count()), c.size()
	}
	d := bson.D{{Key: "size", Value: size}, {Key: "count", Value: n}}
	if n > 0 {
		d = append(d, bson.E{Key: "avgObjSize", Value: size / n})
	}
	return append(d, bson.D{
		{Key: "storageSize", Value: size}, {Key: "freeStorageSize", Value: int64(0)}, {Key: "capped", Value: false}, {Key: "nindexes", Value: 1},
		{Key: "indexSizes", Value: bson.D{{Key: "_id_", Value: int64(0)}}}, {Key: "totalIndexSize", Value: int64(0)},
		{Key: "totalSize", Value: size}, {Key: "scaleFactor", Value: 1},
	}...)
}
