package fastmongo

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"
)

// Limits that the server tells its clients, those of MongoDB.
const (
	maxDocument = 16 << 20
	maxMessage  = 48_000_000
	maxWrites   = 100_000
)

const headerSize = 16

// conn is one client's connection. It is used by its own goroutine only.
type conn struct {
	server *Server
	net    net.Conn
	id     int32
	login  login
}

// request is a command as it arrived.
type request struct {
	name     string // the first element's
	db       string
	body     bsoncore.Document
	sections map[string][]bsoncore.Document // documents that were sent beside the command, by the field that they stand for
	txn      *transaction                   // that the command is part of

	id          int32
	legacy      bool // asked by OP_QUERY, as the first hello is
	wantsAnswer bool
}

// ns is the namespace that the command is about.
func (r *request) ns() string {
	coll, _ := lookup(r.body, r.name).StringValueOK()
	return r.db + "." + coll
}

// buffers are shared by connections: a reply may take 16 MiB, and an idle connection should not hold on to it.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (c *conn) serve(ctx context.Context) {
	in := bufio.NewReaderSize(c.net, 1<<16)
	if c.server.cfg.TLS == nil && wantsTLS(in) {
		return // as MongoDB does; what it says about it stands in its log only
	}
	for ctx.Err() == nil {
		r, err := readRequest(in)
		if err != nil {
			return
		}
		buf := buffers.Get().(*[]byte)
		out, err := c.answer(ctx, r, (*buf)[:0])
		if err == nil && len(out) > 0 {
			_, err = c.net.Write(out)
			c.server.count.bytes.Add(int64(len(out)))
		}
		*buf = out
		buffers.Put(buf)
		if err != nil {
			c.cut(err)
			return
		}
	}
}

// wantsTLS reports whether a client begins with a handshake record (RFC 8446, section 5.1).
func wantsTLS(in *bufio.Reader) bool {
	head, err := in.Peek(2)
	return err == nil && head[0] == 22 && head[1] == 3
}

// errReset asks for the connection to be cut without a word, as a crashed server or a firewall does.
var errReset = errors.New("reset")

func (c *conn) cut(err error) {
	nc := c.net
	if secure, ok := nc.(*tls.Conn); ok {
		nc = secure.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok && errors.Is(err, errReset) {
		_ = tcp.SetLinger(0) // then Close sends a reset
	}
}

func readRequest(in io.Reader) (*request, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return nil, err
	}
	length, id, _, op, _, _ := wiremessage.ReadHeader(header[:])
	if length < headerSize || length > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	// Not reused: cursors keep parts of it.
	rest := make([]byte, length-headerSize)
	if _, err := io.ReadFull(in, rest); err != nil {
		return nil, err
	}
	r := &request{id: id, wantsAnswer: true}
	var err error
	switch op {
	case wiremessage.OpMsg:
		err = r.readMsg(rest)
	case wiremessage.OpQuery:
		err = r.readQuery(rest)
	default:
		err = fmt.Errorf("operation %d is not known here", op)
	}
	if err != nil {
		return nil, err
	}
	if err := r.body.Validate(); err != nil {
		return nil, err
	}
	first, err := r.body.IndexErr(0)
	if err != nil {
		return nil, err
	}
	r.name = first.Key()
	if r.db == "" {
		r.db, _ = lookup(r.body, "$db").StringValueOK()
	}
	return r, nil
}

var errTruncated = errors.New("a message ends early")

func (r *request) readMsg(rest []byte) error {
	flags, rest, ok := wiremessage.ReadMsgFlags(rest)
	if !ok {
		return errTruncated
	}
	r.wantsAnswer = flags&wiremessage.MoreToCome == 0
	if flags&wiremessage.ChecksumPresent != 0 {
		if len(rest) < 4 {
			return errTruncated
		}
		rest = rest[:len(rest)-4]
	}
	for len(rest) > 0 {
		kind, more, ok := wiremessage.ReadMsgSectionType(rest)
		if !ok {
			return errTruncated
		}
		switch kind {
		case wiremessage.SingleDocument:
			if r.body, rest, ok = wiremessage.ReadMsgSectionSingleDocument(more); !ok {
				return errTruncated
			}
		case wiremessage.DocumentSequence:
			name, docs, after, ok := wiremessage.ReadMsgSectionDocumentSequence(more)
			if !ok {
				return errTruncated
			}
			if r.sections == nil {
				r.sections = map[string][]bsoncore.Document{}
			}
			r.sections[name], rest = docs, after
		default:
			return fmt.Errorf("a section of kind %d", kind)
		}
	}
	return nil
}

// readQuery reads the old form of a command, which clients use until they know what the server understands.
func (r *request) readQuery(rest []byte) error {
	r.legacy = true
	_, rest, ok := wiremessage.ReadQueryFlags(rest)
	if !ok {
		return errTruncated
	}
	ns, rest, ok := wiremessage.ReadQueryFullCollectionName(rest)
	if !ok || len(rest) < 8 {
		return errTruncated
	}
	if len(ns) > 5 && ns[len(ns)-5:] == ".$cmd" {
		r.db = ns[:len(ns)-5]
	}
	if r.body, _, ok = wiremessage.ReadQueryQuery(rest[8:]); !ok {
		return errTruncated
	}
	return nil
}

// answer appends the whole reply message, or nothing if none is wanted.
func (c *conn) answer(ctx context.Context, r *request, dst []byte) ([]byte, error) {
	op := wiremessage.OpMsg
	if r.legacy {
		op = wiremessage.OpReply
	}
	start, dst := wiremessage.AppendHeaderStart(dst, r.id, r.id, op)
	if r.legacy {
		dst = wiremessage.AppendReplyFlags(dst, wiremessage.AwaitCapable)
		dst = wiremessage.AppendReplyCursorID(dst, 0)
		dst = wiremessage.AppendReplyStartingFrom(dst, 0)
		dst = wiremessage.AppendReplyNumberReturned(dst, 1)
	} else {
		dst = wiremessage.AppendMsgFlags(dst, 0)
		dst = wiremessage.AppendMsgSectionType(dst, wiremessage.SingleDocument)
	}
	mark := len(dst)
	dst, err := c.run(ctx, r, dst)
	if errors.Is(err, errReset) || ctx.Err() != nil {
		return dst[:0], errReset
	}
	if err != nil {
		if dst, err = reply(dst[:mark], asFailure(err).document()); err != nil {
			return dst[:0], err
		}
	}
	if !r.wantsAnswer {
		return dst[:0], nil
	}
	if log := c.server.oplog; log != nil {
		dst = log.appendTimes(dst, mark)
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-int(start)))
	return dst, nil
}

// run carries a command out and appends its reply document.
func (c *conn) run(ctx context.Context, r *request, dst []byte) ([]byte, error) {
	s := c.server
	s.count.command(r.name)
	if hook := s.hook.Load(); hook != nil {
		(*hook)(r.name, bson.Raw(r.body))
	}
	cmd, known := commands[r.name]
	if f := s.faults.take(r, cmd.handshake, s.isStream); f != nil {
		if err := f.happen(ctx, r); err != nil {
			return dst, err
		}
	}
	switch {
	case !cmd.handshake && s.away():
		return dst, steppedDown(r)
	case !known:
		return dst, fail(59, "no such command: '%s'", r.name)
	case s.auth != nil && !cmd.handshake && !c.login.done:
		return dst, fail(codeUnauthorized, "Command %s requires authentication", r.name)
	}
	if err := s.join(r); err != nil {
		return dst, err
	}
	return s.once(r, dst, func() ([]byte, error) { return cmd.run(ctx, c, r, dst) })
}

func reply(dst []byte, d bson.D) ([]byte, error) {
	b, err := bson.Marshal(d)
	return append(dst, b...), err
}

var fine = bson.E{Key: "ok", Value: 1.0}

// wait returns early, with errReset, when the server closes.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return errReset
	case <-t.C:
		return nil
	}
}
