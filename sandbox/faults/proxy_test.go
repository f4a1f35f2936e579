package faults

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// proxy stands between the program and a server and does to the connections what faults of the network do. What a fault is
// looked up for every piece of data, so that one that comes or goes takes effect on connections that are there.
//
// Shopify's toxiproxy does the same, but v2.5.0 may wait for ever when a toxic is taken away from a connection at work, and
// it ends connections that are there in good order where they are to be reset.
type proxy struct {
	addr string // it listens on

	mu       sync.Mutex
	upstream string
	listener net.Listener // nil while it is down
	faults   []*networkFault
	changed  chan struct{} // closed and made anew whenever faults changes
	links    map[*link]struct{}
	running  sync.WaitGroup
}

// networkFault is a fault that is there. bytes, of a cut, is what may still pass.
type networkFault struct {
	fault
	mu    sync.Mutex
	bytes int
}

// link is a connection of the program and the one to the server that belongs to it.
type link struct {
	near, far *net.TCPConn
	gone      chan struct{}
	once      sync.Once
}

// end closes both connections, in good order or by a reset.
func (l *link) end(abruptly bool) {
	l.once.Do(func() {
		close(l.gone)
		for _, c := range []*net.TCPConn{l.near, l.far} {
			if abruptly {
				_ = c.SetLinger(0)
			}
			_ = c.Close()
		}
	})
}

func newProxy(host string) (*proxy, error) {
	p := &proxy{addr: net.JoinHostPort(host, "0"), changed: make(chan struct{}), links: map[*link]struct{}{}}
	return p, p.start()
}

// start lets connections in. Of two faults that have stopped it, the first that ends starts it again.
func (p *proxy) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.addr)
	if err != nil {
		return err
	}
	p.listener, p.addr = listener, listener.Addr().String()
	p.running.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			p.connect(near.(*net.TCPConn))
		}
	})
	return nil
}

// stop cuts all connections and lets none in.
func (p *proxy) stop() {
	p.mu.Lock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for l := range p.links {
		l.end(true)
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *proxy) setUpstream(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.upstream = addr
}

func (p *proxy) connect(near *net.TCPConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	far, err := net.Dial("tcp", p.upstream)
	if err != nil || p.listener == nil {
		_ = near.SetLinger(0)
		_ = near.Close()
		if far != nil {
			_ = far.Close()
		}
		return
	}
	l := &link{near: near, far: far.(*net.TCPConn), gone: make(chan struct{})}
	p.links[l] = struct{}{}
	var ways sync.WaitGroup
	ways.Go(func() { p.carry(l, l.near, l.far, true) })
	ways.Go(func() { p.carry(l, l.far, l.near, false) })
	p.running.Go(func() {
		ways.Wait()
		l.end(false)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	})
}

// add makes a fault, and returns how to end it.
func (p *proxy) add(f fault) (remove func()) {
	n := &networkFault{fault: f, bytes: f.amount}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, n)
	p.change()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.faults = slices.DeleteFunc(p.faults, func(f *networkFault) bool { return f == n })
		p.change()
	}
}

// change tells whoever waits that the faults are others. The caller holds mu.
func (p *proxy) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// on returns the faults of one way as they are, and what tells of a change.
func (p *proxy) on(up bool) (faults []*networkFault, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		if f.up == up {
			faults = append(faults, f)
		}
	}
	return faults, p.changed
}

var errCut = errors.New("cut")

// carry takes data one way until the link ends.
func (p *proxy) carry(l *link, from, to *net.TCPConn, up bool) {
	data := make([]byte, 16<<10)
	for {
		n, err := from.Read(data)
		if n > 0 && p.pass(l, to, data[:n], up) != nil {
			return
		}
		if errors.Is(err, io.EOF) {
			faults, _ := p.on(up)
			for _, f := range faults {
				if f.kind == slowClose && !l.wait(ms(f.amount)) {
					return
				}
			}
			_ = to.CloseWrite()
			return
		}
		if err != nil {
			l.end(true)
			return
		}
	}
}

// wait reports whether the link was still there after d.
func (l *link) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.gone:
		return false
	}
}

// pass does to a piece of data what the faults are, and writes what is left of it.
func (p *proxy) pass(l *link, to io.Writer, data []byte, up bool) error {
	for held := true; held; {
		var faults []*networkFault
		var changed <-chan struct{}
		held = false
		faults, changed = p.on(up)
		for _, f := range faults {
			switch f.kind {
			case latency:
				if !l.wait(ms(f.amount)) {
					return errCut
				}
			case bandwidth:
				if !l.wait(time.Duration(len(data)) * time.Second / time.Duration(f.amount<<10)) {
					return errCut
				}
			case reset:
				l.end(true)
				return errCut
			case cutAfter:
				f.mu.Lock()
				room := min(f.bytes, len(data))
				f.bytes -= room
				f.mu.Unlock()
				if room < len(data) {
					_, _ = to.Write(data[:room])
					l.end(false)
					return errCut
				}
			case slicer:
				for len(data) > f.amount {
					if _, err := to.Write(data[:f.amount]); err != nil {
						return fmt.Errorf("%w: %w", errCut, err)
					}
					data = data[f.amount:]
				}
			case timeout:
				if l.wait(ms(f.amount)) {
					l.end(false)
				}
				return errCut
			case halfOpen:
				// When the network works again the sender's system sends what was lost: it comes late.
				select {
				case <-changed:
					held = true
				case <-l.gone:
					return errCut
				}
			}
			if held {
				break
			}
		}
	}
	if _, err := to.Write(data); err != nil {
		l.end(true)
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return nil
}
