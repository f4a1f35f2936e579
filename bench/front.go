package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// A front stands before the MongoDB-protocol server and adds what MongoDB's Kafka connector asks for: a change stream, which only
// a replica set has, and in which nothing ever happens; and the pipeline that makes documents look like its events, with which it
// copies a collection and which the server does not have. Everything else passes through.
type front struct {
	listener net.Listener
	server   string // host:port

	mu     sync.Mutex
	copies map[int64]bool // cursors whose documents become events
}

// streamCursor is the change stream's. The server counts its own up from 1.
const streamCursor = 1 << 62

func startFront(ctx context.Context, server string) (*front, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &front{listener: l, server: server, copies: map[int64]bool{}}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = f.serve(ctx, client) }() // what broke, the connector reports
		}
	}()
	return f, nil
}

func (f *front) uri() string { return "mongodb://" + f.listener.Addr().String() + "/" }

func (f *front) close() { _ = f.listener.Close() }

// serve passes requests to the server and replies to the client, one after the other.
func (f *front) serve(ctx context.Context, client net.Conn) error {
	defer func() { _ = client.Close() }()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.server)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	for {
		request, err := readMessage(client)
		if err != nil {
			return err
		}
		var wrap func(bsoncore.Document) ([]byte, error)
		if command, ok := body(request); ok {
			var own bson.D
			if request, own, wrap = f.look(request, command); own != nil {
				reply, err := bson.Marshal(own)
				if err != nil {
					return err
				}
				if _, err := client.Write(opMsg(request, reply)); err != nil {
					return err
				}
				continue
			}
		}
		if _, err := server.Write(request); err != nil {
			return err
		}
		reply, err := readMessage(server)
		if err != nil {
			return err
		}
		if wrap != nil {
			doc, ok := body(reply)
			if !ok {
				return errors.New("the server replied with another kind of message")
			}
			changed, err := wrap(doc)
			if err != nil {
				return err
			}
			reply = opMsg(request, changed)
		}
		if _, err := client.Write(reply); err != nil {
			return err
		}
	}
}

// look returns what to send to the server in the request's place and how to change the reply, or else its own reply.
func (f *front) look(request []byte, command bsoncore.Document) (instead []byte, own bson.D, wrap func(bsoncore.Document) ([]byte, error)) {
	first := command.Index(0)
	stage := func(name string) bool {
		_, err := command.LookupErr("pipeline", "0", name)
		return err == nil
	}
	switch name := first.Key(); {
	case name == "aggregate" && stage("$changeStream"):
		return request, streamReply("firstBatch"), nil
	case name == "getMore" && first.Value().AsInt64() == streamCursor:
		time.Sleep(time.Second)
		return request, streamReply("nextBatch"), nil
	case name == "aggregate" && stage("$replaceRoot"):
		find, err := bson.Marshal(bson.D{{Key: "find", Value: first.Value().StringValue()}, {Key: "$db", Value: command.Lookup("$db").StringValue()}})
		if err != nil {
			return request, nil, nil
		}
		return opMsg(request, find), nil, f.events
	case name == "getMore":
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.copies[first.Value().AsInt64()] {
			return request, nil, f.events
		}
	}
	return request, nil, nil
}

func streamReply(batch string) bson.D {
	return bson.D{{Key: "ok", Value: 1.0}, {Key: "cursor", Value: bson.D{
		{Key: "id", Value: int64(streamCursor)}, {Key: "ns", Value: topic}, {Key: batch, Value: bson.A{}},
		{Key: "postBatchResumeToken", Value: bson.D{{Key: "_data", Value: "8264"}}},
	}}}
}

// events makes the documents of a cursor's reply look like events, as the pipeline of the connector's MongoCopyDataManager does.
func (f *front) events(reply bsoncore.Document) ([]byte, error) {
	cursor, ok := reply.Lookup("cursor").DocumentOK()
	if !ok {
		return reply, nil // an error
	}
	batch := "firstBatch"
	if _, err := cursor.LookupErr(batch); err != nil {
		batch = "nextBatch"
	}
	docs, err := cursor.Lookup(batch).Array().Values()
	if err != nil {
		return nil, err
	}
	id := cursor.Lookup("id").Int64()
	f.mu.Lock()
	f.copies[id] = true
	f.mu.Unlock()
	out := make([]byte, 0, len(reply)+len(docs)*256)
	all, out := bsoncore.AppendDocumentStart(out)
	out = bsoncore.AppendDoubleElement(out, "ok", 1)
	inner, out := bsoncore.AppendDocumentElementStart(out, "cursor")
	out = bsoncore.AppendInt64Element(out, "id", id)
	out = bsoncore.AppendStringElement(out, "ns", cursor.Lookup("ns").StringValue())
	array, out := bsoncore.AppendArrayElementStart(out, batch)
	for i, d := range docs {
		doc := d.Document()
		key := doc.Lookup("_id")
		event := bsoncore.NewDocumentBuilder().
			AppendDocument("_id", bsoncore.NewDocumentBuilder().AppendValue("_id", key).AppendBoolean("copyingData", true).Build()).
			AppendString("operationType", "insert").
			AppendDocument("documentKey", bsoncore.NewDocumentBuilder().AppendValue("_id", key).Build()).
			AppendDocument("fullDocument", doc).
			AppendDocument("__", bsoncore.NewDocumentBuilder().AppendString("db", database).AppendString("coll", collection).Build()).Build()
		out = bsoncore.AppendDocumentElement(out, strconv.Itoa(i), event)
	}
	for _, start := range []int32{array, inner, all} {
		if out, err = bsoncore.AppendDocumentEnd(out, start); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// A message of MongoDB's protocol begins with its length, its number, the number of what it answers and its kind; OP_MSG has
// flags and sections after that, of which drivers send commands and servers reply with one of kind 0, a document.
const (
	headerBytes = 16
	kindOpMsg   = 2013
)

func readMessage(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n < headerBytes || n > 64<<20 {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	m := slices.Grow(length[:], int(n)-4)[:n]
	_, err := io.ReadFull(r, m[4:])
	return m, err
}

// body is the document of an OP_MSG that has nothing else.
func body(m []byte) (bsoncore.Document, bool) {
	if len(m) < headerBytes+5 || binary.LittleEndian.Uint32(m[12:]) != kindOpMsg || m[headerBytes+4] != 0 {
		return nil, false
	}
	doc, _, ok := bsoncore.ReadDocument(m[headerBytes+5:])
	return doc, ok
}

// opMsg is a message with a document, in place of a request or in answer to it.
func opMsg(request, doc []byte) []byte {
	m := make([]byte, 0, headerBytes+5+len(doc))
	m = binary.LittleEndian.AppendUint32(m, uint32(headerBytes+5+len(doc)))
	number := binary.LittleEndian.Uint32(request[4:])
	m = binary.LittleEndian.AppendUint32(m, number)
	m = binary.LittleEndian.AppendUint32(m, number)
	m = binary.LittleEndian.AppendUint32(m, kindOpMsg)
	m = binary.LittleEndian.AppendUint32(m, 0)
	m = append(m, 0)
	return append(m, doc...)
}
