// Package kafkatest tests what takes more than one process at a Kafka broker, whichever that is.
package kafkatest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Proxy stands between a broker, which tells its clients to connect there, and the clients. It tells these apart by the client.id of
// the first request of a connection.
type Proxy struct {
	upstream string
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	cuts   map[string]chan struct{} // by client.id; closed at the end of the cut
}

// Listen starts a proxy at addr, which waits for a broker.
func Listen(addr string) (*Proxy, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("starting a proxy for Kafka: %w", err)
	}
	return &Proxy{listener: l, conns: map[net.Conn]struct{}{}, cuts: map[string]chan struct{}{}}, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Serve has the proxy stand before a broker.
func (p *Proxy) Serve(upstream string) {
	p.upstream = upstream
	p.running.Go(func() {
		for {
			near, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.link(near) })
		}
	})
}

// Cut holds up everything that a client and the broker send to one another, on connections to come too, until mend is called.
func (p *Proxy) Cut(client string) (mend func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts[client] = make(chan struct{})
	return func() { p.mend(client) }
}

func (p *Proxy) mend(client string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if over := p.cuts[client]; over != nil {
		delete(p.cuts, client)
		close(over)
	}
}

// Close ends all connections.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		_ = c.Close()
	}
	for _, over := range p.cuts {
		close(over)
	}
	clear(p.cuts)
	p.mu.Unlock()
	p.running.Wait()
	if err != nil {
		return fmt.Errorf("stopping a proxy for Kafka: %w", err)
	}
	return nil
}

// keep has Close end a connection. It reports false where that is done already.
func (p *Proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) end(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// link carries what is sent on a client's connection.
func (p *Proxy) link(near net.Conn) {
	defer p.end(near)
	if !p.keep(near) {
		return
	}
	first, client, err := firstRequest(near)
	if err != nil {
		return
	}
	p.pass(client)
	far, err := net.Dial("tcp", p.upstream)
	if err != nil {
		return
	}
	defer p.end(far)
	if !p.keep(far) {
		return
	}
	if _, err := far.Write(first); err != nil {
		return
	}
	p.running.Go(func() {
		defer p.end(near)
		p.carry(near, far, client)
	})
	p.carry(far, near, client)
}

func (p *Proxy) carry(to, from net.Conn, client string) {
	defer func() { _ = to.Close() }()
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		p.pass(client)
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until a client is not cut off.
func (p *Proxy) pass(client string) {
	for {
		p.mu.Lock()
		over := p.cuts[client]
		p.mu.Unlock()
		if over == nil {
			return
		}
		<-over
	}
}

// firstRequest reads a request, which is returned as it is, and who sends it.
func firstRequest(c net.Conn) (request []byte, client string, err error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, "", err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n < 10 || n > 1<<20 {
		return nil, "", errors.New("no request of Kafka's protocol")
	}
	request = append(size[:], make([]byte, n)...)
	if _, err := io.ReadFull(c, request[4:]); err != nil {
		return nil, "", err
	}
	id := request[12:] // behind the size, the request's kind and version, and its number
	if length := int(int16(binary.BigEndian.Uint16(id))); length > 0 && length <= len(id)-2 {
		client = string(id[2 : 2+length])
	}
	return request, client, nil
}
