package fastmongo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
)

// Config says how a server presents itself. The zero value is a standalone server on a free port, without login.
type Config struct {
	Addr string // host:port to listen on; empty means 127.0.0.1:0

	// ReplicaSet makes the server the primary, and only member, of a replica set of that name: it has an oplog, change streams
	// and transactions.
	ReplicaSet string

	// Oplog bounds the oplog of a replica set.
	Oplog Oplog

	// FullDocumentLast makes events have the order that they have from MongoDB 8.3.4 on: fullDocument stands behind
	// updateDescription, not in front of ns.
	FullDocumentLast bool

	// User and Password, if not empty, must be given by every client (SCRAM-SHA-256 or SCRAM-SHA-1, against the database
	// admin).
	User, Password string

	// Subject, if not empty, is the name of another user, in $external: the subject of the client certificate that logs it
	// in (MONGODB-X509), such as "CN=app,O=example". It needs a TLS that asks clients for certificates.
	Subject string

	// TLS makes the server speak TLS, and nothing else.
	TLS *tls.Config

	// ReplyBytes is how many bytes of documents a reply holds; 0 means MongoDB's 16 MiB.
	ReplyBytes int

	// EventBytes is how large an event of a change stream may be before it is split, or refused where it may not be; 0 means
	// MongoDB's 16 MiB.
	EventBytes int
}

// Server is a running server. Its methods are safe for concurrent use. Namespaces are written database.collection.
type Server struct {
	cfg        Config
	addr       string
	replyBytes int
	auth       *authenticator // nil if no login is needed
	oplog      *oplog         // nil of a standalone server
	sessions   sessions

	ctx    context.Context // the life of all connections
	cancel context.CancelFunc
	conns  sync.WaitGroup

	faults faults
	quirks atomic.Pointer[Quirks]
	hook   atomic.Pointer[func(string, bson.Raw)]
	count  counters
	lastID atomic.Int32 // of connections
	back   atomic.Int64 // when, in nanoseconds, the server is the primary again

	mu          sync.Mutex
	listener    net.Listener
	collections map[string]collection
	uuids       map[string]uuid.UUID // of the collections
	cursors     map[int64]*cursor
	open        map[net.Conn]struct{}
}

// Start starts a server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if (cfg.User == "") != (cfg.Password == "") {
		return nil, errors.New("starting a MongoDB server: a user and a password belong together")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("starting a MongoDB server: %w", err)
	}
	s := &Server{
		cfg: cfg, addr: l.Addr().String(), listener: l, replyBytes: cfg.ReplyBytes,
		collections: map[string]collection{}, uuids: map[string]uuid.UUID{}, cursors: map[int64]*cursor{}, open: map[net.Conn]struct{}{},
	}
	if s.replyBytes <= 0 {
		s.replyBytes = maxDocument
	}
	if cfg.User != "" || cfg.Subject != "" {
		if s.auth, err = newAuthenticator(cfg.User, cfg.Password); err != nil {
			return nil, errors.Join(fmt.Errorf("starting a MongoDB server: %w", err), l.Close())
		}
	}
	s.quirks.Store(&Quirks{})
	s.count.commands = map[string]int64{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if cfg.ReplicaSet != "" {
		s.oplog = newOplog(cfg.Oplog, cfg.FullDocumentLast)
		if cfg.Oplog.Noop > 0 {
			s.conns.Go(func() { s.oplog.noops(s.ctx.Done()) })
		}
	}
	s.conns.Go(func() { s.accept(l) })
	return s, nil
}

// Addr is the host:port that the server listens on.
func (s *Server) Addr() string { return s.addr }

// URI is the server's connection string, without a database; of a server with a login it has user and password, and of one
// with TLS it says so. Whose certificates to trust is for the client to add.
func (s *Server) URI() string {
	u := url.URL{Scheme: "mongodb", Host: s.Addr(), Path: "/"}
	if s.cfg.User != "" {
		u.User = url.UserPassword(s.cfg.User, s.cfg.Password)
	}
	options := url.Values{}
	if s.cfg.ReplicaSet != "" {
		options.Set("replicaSet", s.cfg.ReplicaSet)
	}
	if s.cfg.TLS != nil {
		options.Set("tls", "true")
	}
	u.RawQuery = options.Encode()
	return u.String()
}

// Close ends all connections and waits for them. It may be called again.
func (s *Server) Close() error {
	s.cancel()
	err := s.hangUp()
	s.conns.Wait()
	if err != nil {
		return fmt.Errorf("closing a MongoDB server: %w", err)
	}
	return nil
}

// hangUp closes the listener and all connections, whose own goroutines see that and end.
func (s *Server) hangUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.listener.Close()
	for c := range s.open {
		_ = c.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return // closed
		}
		s.mu.Lock()
		if s.ctx.Err() != nil || s.listener != l {
			s.mu.Unlock()
			_ = nc.Close()
			return
		}
		s.open[nc] = struct{}{}
		s.mu.Unlock()
		c := &conn{server: s, net: nc, id: s.lastID.Add(1)}
		if s.cfg.TLS != nil {
			c.net = tls.Server(nc, s.cfg.TLS) // shakes hands at the first read
		}
		s.conns.Go(func() {
			c.serve(s.ctx)
			_ = nc.Close()
			s.mu.Lock()
			delete(s.open, nc)
			s.mu.Unlock()
		})
	}
}

func (s *Server) lookup(ns string) collection {
	if ns == oplogNamespace && s.oplog != nil {
		return oplogView{s.oplog}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.collections[ns]
}

// Put makes a collection hold exactly these documents, which are encoded as the driver encodes them. _ids of any type are
// taken; each document must have one, and no two may be equal. Cursors of an earlier collection of that name end with
// QueryPlanKilled (175). For change streams this is a drop, where there was a collection, and inserts.
func (s *Server) Put(ns string, docs ...any) error {
	if err := checkNamespace(ns); err != nil {
		return err
	}
	next := &stored{}
	if err := insertAll(next, docs); err != nil {
		return fmt.Errorf("filling %s: %w", ns, err)
	}
	s.replace(ns, next)
	return nil
}

// Generate makes a collection of documents that are made up when they are read.
func (s *Server) Generate(ns string, g Generated) error {
	if err := checkNamespace(ns); err != nil {
		return err
	}
	next, err := newGenerated(g)
	if err != nil {
		return fmt.Errorf("filling %s: %w", ns, err)
	}
	s.replace(ns, next)
	return nil
}

// Insert adds documents to a stored collection, as Put does; one that does not exist is made.
func (s *Server) Insert(ns string, docs ...any) error {
	if err := checkNamespace(ns); err != nil {
		return err
	}
	c, err := s.writable(ns, true)
	if err == nil {
		err = insertAll(c, docs)
	}
	if err != nil {
		return fmt.Errorf("inserting into %s: %w", ns, err)
	}
	return nil
}

// Delete removes the documents with the given _ids from a stored collection and returns how many there were.
func (s *Server) Delete(ns string, ids ...any) (int, error) {
	c, err := s.writable(ns, false)
	if err != nil || c == nil {
		return 0, err
	}
	n := 0
	for _, id := range ids {
		t, b, err := bson.MarshalValue(id)
		if err != nil {
			return n, fmt.Errorf("deleting from %s: %w", ns, err)
		}
		if c.remove(encoded(t, b)) {
			n++
		}
	}
	return n, nil
}

// Stored returns copies of a stored collection's documents in the order of _id.
func (s *Server) Stored(ns string) []bson.Raw {
	if c, ok := s.lookup(ns).(*stored); ok {
		return c.all()
	}
	return nil
}

// Drop removes a collection and reports whether there was one. Its cursors end with QueryPlanKilled (175).
func (s *Server) Drop(ns string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropLocked(ns)
}

func (s *Server) dropLocked(ns string) bool {
	old, ok := s.collections[ns]
	id := s.uuids[ns]
	delete(s.collections, ns)
	delete(s.uuids, ns)
	if c, isStored := old.(*stored); isStored {
		c.drop()
	} else if ok {
		db, coll, _ := strings.Cut(ns, ".")
		s.oplog.append(nil, change{op: opDrop, db: db, coll: coll, uuid: id})
	}
	return ok
}

// DropDatabase removes all collections of a database.
func (s *Server) DropDatabase(db string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := false
	for _, ns := range s.namespacesLocked(db) {
		there = s.dropLocked(ns) || there
	}
	if there {
		s.oplog.append(nil, change{op: opDropDatabase, db: db})
	}
}

// Rename gives a stored collection another name, db.coll, in the place of one that has it already if replace is true.
func (s *Server) Rename(from, to string, replace bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.collections[from].(*stored)
	switch {
	case checkNamespace(to) != nil:
		return fail(73, "%v", checkNamespace(to))
	case !ok:
		return fail(codeNamespaceNotFound, "Source collection %s does not exist", from)
	case s.collections[to] != nil && !replace:
		return fail(48, "target namespace exists")
	}
	s.dropLocked(to)
	delete(s.collections, from)
	s.collections[to], s.uuids[to] = c, s.uuids[from]
	delete(s.uuids, from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteLocked(change{op: opRename, to: to})
	c.db, c.coll, _ = strings.Cut(to, ".")
	return nil
}

func (s *Server) replace(ns string, c collection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(ns)
	s.addLocked(ns, c)
}

func (s *Server) addLocked(ns string, c collection) {
	id := uuid.New()
	s.collections[ns], s.uuids[ns] = c, id
	if fresh, ok := c.(*stored); ok {
		fresh.attach(ns, id, s.noting())
	}
}

// noting is what takes in the changes of collections.
func (s *Server) noting() func(change) {
	if s.oplog == nil {
		return nil
	}
	return func(c change) { s.oplog.append(nil, c) }
}

// writable returns a stored collection; nil if there is none and it is not to be made.
func (s *Server) writable(ns string, create bool) (*stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := s.collections[ns].(type) {
	case *stored:
		return c, nil
	case nil:
		if !create {
			return nil, nil
		}
		fresh := &stored{}
		s.addLocked(ns, fresh)
		return fresh, nil
	}
	return nil, fail(codeIllegalOperation, "%s is made up as it is read and can't be written to", ns)
}

// info is what listCollections tells about a collection.
func (s *Server) info(ns string) bson.D {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.uuids[ns]
	return bson.D{{Key: "readOnly", Value: false}, {Key: "uuid", Value: bson.Binary{Subtype: bson.TypeBinaryUUID, Data: id[:]}}}
}

// options are what listCollections says a collection was made with.
func (s *Server) options(ns string) bson.D {
	c, ok := s.lookup(ns).(*stored)
	if !ok {
		return bson.D{}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !c.images {
		return bson.D{}
	}
	return bson.D{{Key: imagesOption, Value: bson.D{{Key: "enabled", Value: true}}}}
}

// namespaces lists the collections of a database in order, or of all databases if that is empty.
func (s *Server) namespaces(db string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namespacesLocked(db)
}

func (s *Server) namespacesLocked(db string) []string {
	var out []string
	for ns := range s.collections {
		if db == "" || strings.HasPrefix(ns, db+".") {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return out
}

func checkNamespace(ns string) error {
	if ns == oplogNamespace {
		return fmt.Errorf("%s can't be written to", ns)
	}

	if db, coll, ok := strings.Cut(ns, "."); !ok || db == "" || coll == "" {
		return fmt.Errorf("%q is not of the form database.collection", ns)
	}
	return nil
}

func insertAll(c *stored, docs []any) error {
	for i, d := range docs {
		raw, err := bson.Marshal(d)
		if err != nil {
			return fmt.Errorf("document %d: %w", i, err)
		}
		if lookup(raw, "_id").Type == 0 {
			return fmt.Errorf("document %d has no _id", i)
		}
		if !c.insert(raw) {
			return fmt.Errorf("document %d has an _id that equals another", i)
		}
	}
	return nil
}

// Background names functions of the goroutines that serve connections. A client's connection may take a moment to end on
// this side; searches for leaked goroutines leave those that run these out.
func Background() []string {
	const pkg = "github.com/syncd-io/syncd/sandbox/fastmongo."
	return []string{pkg + "(*conn).serve", pkg + "(*Server).accept.func1"}
}
