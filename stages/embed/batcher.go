package embed

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/syncd-io/syncd/internal/panics"
)

// text is to be embedded.
type text struct {
	text   string
	tokens int // about
}

// answer is what became of a text: a vector, or why there is none.
type answer struct {
	vector []float32
	tokens int
	err    error // the text's own fault
}

// batcher divides the texts of concurrent calls into requests. A request begins when it is full, or when its first text has waited for
// linger, and fewer than the most are under way. One whose answer has arrived is under way no more, though its vectors are still to be read:
// meanwhile the service has another one to work on.
type batcher struct {
	size, tokens, most int
	linger             time.Duration
	embed              func(ctx context.Context, texts []text, arrived func()) ([]answer, error)

	ctx     context.Context //nolint:containedctx // of the requests, which serve many calls; it ends with close
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	queue  []item
	queued int // tokens
	flying int
	read   int         // requests whose answers are being read
	timer  *time.Timer // nil: not set
	closed bool
}

// item is a text in the queue, and where its answer belongs.
type item struct {
	text
	call *call
	at   int
	due  time.Time // when it has waited long enough
}

// call is one Apply.
type call struct {
	answers []answer
	left    int // texts without an answer
	err     error
	gone    bool          // nobody waits any more
	done    chan struct{} // closed when left is 0 or err is set
}

func (b *batcher) start(size, tokens, most int, linger time.Duration, embed func(context.Context, []text, func()) ([]answer, error)) {
	b.size, b.tokens, b.most, b.linger, b.embed = size, tokens, most, linger, embed
	b.ctx, b.stop = context.WithCancel(context.Background())
}

// ask returns the answers, aligned with texts. An error means that nothing is known about any.
func (b *batcher) ask(ctx context.Context, texts []text) ([]answer, error) {
	c := &call{answers: make([]answer, len(texts)), left: len(texts), done: make(chan struct{})}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errClosed
	}
	due := time.Now().Add(b.linger)
	for i, t := range texts {
		b.queue = append(b.queue, item{t, c, i, due})
		b.queued += t.tokens
	}
	b.dispatch()
	b.mu.Unlock()
	select {
	case <-c.done:
		return c.answers, c.err
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.gone = true
	b.queue = slices.DeleteFunc(b.queue, func(i item) bool {
		if i.call == c {
			b.queued -= i.tokens
		}
		return i.call == c
	})
	return nil, ctx.Err()
}

// dispatch begins the requests that are due. The caller holds mu.
func (b *batcher) dispatch() {
	for b.flying < b.most && b.flying+b.read < 2*b.most && len(b.queue) > 0 {
		if full := len(b.queue) >= b.size || b.queued >= b.tokens; !full {
			if left := time.Until(b.queue[0].due); left > 0 {
				if b.timer == nil {
					b.timer = time.AfterFunc(left, func() {
						b.mu.Lock()
						defer b.mu.Unlock()
						if b.timer = nil; !b.closed {
							b.dispatch()
						}
					})
				}
				return
			}
		}
		n, tokens := 0, 0
		for n < len(b.queue) && n < b.size && (n == 0 || tokens+b.queue[n].tokens <= b.tokens) {
			tokens += b.queue[n].tokens
			n++
		}
		batch := slices.Clone(b.queue[:n])
		b.queue = slices.Delete(b.queue, 0, n)
		b.queued -= tokens
		b.flying++
		b.running.Go(func() { b.request(batch) })
	}
}

// request has a batch embedded, and hands the answers out.
func (b *batcher) request(batch []item) {
	texts := make([]text, len(batch))
	for i := range batch {
		texts[i] = batch[i].text
	}
	arrived := false
	arrive := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if arrived {
			return
		}
		arrived = true
		b.flying--
		b.read++
		if !b.closed {
			b.dispatch()
		}
	}
	var answers []answer
	err := panics.Caught(func() (err error) {
		answers, err = b.embed(b.ctx, texts, arrive)
		return err
	})()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		c := batch[i].call
		if c.gone || c.err != nil || c.left == 0 {
			continue
		}
		if err != nil {
			c.err = err
			close(c.done)
			continue
		}
		c.answers[batch[i].at] = answers[i]
		if c.left--; c.left == 0 {
			close(c.done)
		}
	}
	if arrived {
		b.read--
	} else {
		b.flying--
	}
	if !b.closed {
		b.dispatch()
	}
}

// close ends all requests, and waits for them.
func (b *batcher) close() {
	b.mu.Lock()
	b.closed = true
	if b.timer != nil {
		b.timer.Stop()
	}
	for _, i := range b.queue {
		if c := i.call; !c.gone && c.err == nil && c.left > 0 {
			c.err = errClosed
			close(c.done)
		}
	}
	b.queue = nil
	b.mu.Unlock()
	b.stop()
	b.running.Wait()
}
