package progress

import (
	"time"

	"github.com/syncd-io/syncd/job"
)

// rateOver is how far back the rate looks that is shown, and that tells how long it will take.
const rateOver = 10 * time.Second

// followedRate names the changes of all streams among the rates; no collection has such a name.
const followedRate = "\x00"

// speedometer remembers a few moments of a run.
type speedometer struct {
	past      []moment
	following bool // streams, from the first of them on
}

type moment struct {
	at   time.Time
	done map[string]int64
}

// update adds a moment and returns how fast everything went since rateOver ago, or since the first moment.
func (m *speedometer) update(now time.Time, s job.Snapshot) map[string]float64 {
	n := moment{now, map[string]int64{"": s.Total.Scanned - s.Resumed}}
	for _, c := range s.Collections {
		n.done[c.Name] = c.Counts.Scanned - c.Earlier.Scanned
	}
	for _, s := range s.Streams {
		n.done[followedRate] += s.Counts.Scanned
	}
	if len(m.past) == 0 || m.following != (s.Phase == job.PhaseFollow) {
		m.past, m.following = nil, s.Phase == job.PhaseFollow
		start := moment{s.Started, map[string]int64{}}
		if m.following { // what was done before is not known
			start = n
		}
		m.past = append(m.past, start)
	}
	if last := m.past[len(m.past)-1]; now.Sub(last.at) >= time.Second {
		m.past = append(m.past, n)
	}
	for len(m.past) > 2 && now.Sub(m.past[1].at) >= rateOver {
		m.past = m.past[1:]
	}
	rates := map[string]float64{}
	seconds := now.Sub(m.past[0].at).Seconds()
	for name, done := range n.done {
		if seconds > 0 {
			rates[name] = float64(done-m.past[0].done[name]) / seconds
		}
	}
	return rates
}
