package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	maxClients = 64                     // that are told of events at once
	tick       = time.Second            // between two looks while something is under way
	atMost     = 200 * time.Millisecond // between two looks, however often something changes
	heartbeat  = 15 * time.Second       // between two words that nothing has happened
	sendWithin = 10 * time.Second       // a client that takes longer is left
)

// Removed is the event that a job is no longer there.
type Removed struct {
	Name string `json:"name" doc:"The job's name."`
}

// stream is what all clients are told.
type stream struct {
	clients chan struct{} // holds one for each

	mu   sync.Mutex
	last frame
}

// frame is how everything stands at a moment.
type frame struct {
	at      time.Time
	changed <-chan struct{} // of the host
	worked  <-chan struct{} // and of the works
	events  []event
	moves   bool // something is under way
}

// event is the state of one thing. Key names the thing.
type event struct {
	kind, key string
	data      []byte
}

// frame returns how everything stands, which clients that ask at the same time share.
func (a *API) frame() (frame, error) {
	a.stream.mu.Lock()
	defer a.stream.mu.Unlock()
	changed, worked := a.o.Host.Changed(), a.works.changes()
	if f := a.stream.last; f.changed == changed && f.worked == worked && time.Since(f.at) < tick/2 && f.events != nil {
		return f, nil
	}
	f := frame{at: time.Now(), changed: changed, worked: worked, events: []event{}}
	for _, s := range a.o.Host.Jobs() {
		j := a.job(s).Job
		text, err := json.Marshal(&j)
		if err != nil {
			return f, err
		}
		f.events = append(f.events, event{"job", s.Name, text})
		f.moves = f.moves || s.Live != nil
	}
	for _, w := range a.works.list() {
		text, err := json.Marshal(&w)
		if err != nil {
			return f, err
		}
		f.events = append(f.events, event{"work", w.ID, text})
		f.moves = f.moves || w.Ended == nil
	}
	a.stream.last = f
	return f, nil
}

// events tells how jobs stand, as server-sent events: at first all of them, and then each that has changed.
func (a *API) events(w http.ResponseWriter, r *http.Request) {
	select {
	case a.stream.clients <- struct{}{}:
		defer func() { <-a.stream.clients }()
	default:
		w.Header().Set("Retry-After", "10")
		a.fail(w, r, &Error{Status: http.StatusServiceUnavailable, Code: "too_many", Text: fmt.Sprintf("%d clients are told of events already", maxClients)})
		return
	}
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // the request was read, and the answer takes as long as the client likes
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	told := map[string][]byte{}
	spoke := time.Time{}
	for {
		f, err := a.frame()
		if err != nil {
			return
		}
		text := news(f.events, told)
		if len(text) == 0 && time.Since(spoke) >= heartbeat {
			text = []byte(": nothing new\n\n")
		}
		if len(text) > 0 {
			spoke = time.Now()
			_ = out.SetWriteDeadline(spoke.Add(sendWithin))
			if _, err := w.Write(text); err != nil || out.Flush() != nil {
				return
			}
		}
		if !a.await(r, f, heartbeat-time.Since(spoke)) {
			return
		}
	}
}

// await waits until there may be news, at most so long, and reports whether there is anyone to tell.
func (a *API) await(r *http.Request, f frame, most time.Duration) bool {
	if f.moves {
		most = min(most, tick)
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	changed, worked := f.changed, f.worked
	for {
		select {
		case <-changed:
			changed, worked = nil, nil
			timer.Reset(min(most, atMost))
		case <-worked:
			changed, worked = nil, nil
			timer.Reset(min(most, atMost))
		case <-timer.C:
			return true
		case <-r.Context().Done():
			return false
		case <-a.ctx.Done():
			return false
		}
	}
}

// news writes what differs from what was told, and remembers it as told.
func news(events []event, told map[string][]byte) []byte {
	var b bytes.Buffer
	there := map[string]bool{}
	for _, e := range events {
		id := e.kind + " " + e.key
		there[id] = true
		if !bytes.Equal(told[id], e.data) {
			told[id] = e.data
			write(&b, e.kind, e.data)
		}
	}
	for id := range told {
		if !there[id] {
			delete(told, id)
			kind, name, _ := bytes.Cut([]byte(id), []byte(" "))
			text, _ := json.Marshal(Removed{string(name)}) // a text always has a JSON form
			write(&b, string(kind)+"-removed", text)
		}
	}
	return b.Bytes()
}

// write writes an event. Its data is JSON, and so one line.
func write(b *bytes.Buffer, kind string, data []byte) {
	b.WriteString("event: " + kind + "\ndata: ")
	b.Write(data)
	b.WriteString("\n\n")
}
