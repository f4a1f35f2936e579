package main

import (
	"slices"
	"testing"
	"time"
)

func ms(values ...int) []figure {
	out := make([]figure, len(values))
	for i, v := range values {
		out[i] = figure{cpu: time.Duration(v) * time.Millisecond, wall: time.Duration(v) * time.Millisecond}
	}
	return out
}

func noop(loops, old bool) *result {
	r := &result{benchCase: benchCases[0], load: load{Documents: 10}}
	if loops {
		r.series = []series{{name: "loop: scan", figures: ms(10, 40)}, {name: "loop: uuid", figures: ms(20, 20)}, {name: "loop: get", figures: ms(30, 20)}}
	}
	if old {
		r.series = append(r.series, series{name: "old syncd", figures: ms(60, 40)})
	}
	r.series = append(r.series, series{name: "syncd", figures: ms(30, 20)})
	return r
}

// Loops are compared stage by stage: their CPU adds up, and of their wall times the longest counts.
func TestLoopsAreAddedByRepetition(t *testing.T) {
	got := noop(true, false).loops()
	if len(got) != 2 || got[0].cpu != 60*time.Millisecond || got[1].cpu != 80*time.Millisecond ||
		got[0].wall != 30*time.Millisecond || got[1].wall != 40*time.Millisecond {
		t.Errorf("loops: %+v", got)
	}
}

func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name    string
		results map[string]*result
		failed  []string
	}{
		{"nothing chosen", nil, nil},
		{"good", map[string]*result{"no-op": noop(true, true)}, nil},
		{"no old program is no failure", map[string]*result{"no-op": noop(true, false)}, nil},
		{"worse than the old one", map[string]*result{"no-op": func() *result {
			r := noop(true, true)
			r.series[3].figures = ms(40, 36)
			return r
		}()}, []string{"no-op, 10 documents: CPU ÷ old syncd"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bench
			b.judge(test.results)
			if !slices.Equal(b.failed, test.failed) {
				t.Errorf("failed %q, want %q", b.failed, test.failed)
			}
		})
	}
}

func TestLoads(t *testing.T) {
	documents, sizes := []int{10, 1_000_000}, []int{2000, 500, 100_000}
	if got, want := loads(benchCases[0], documents, sizes, 500_000_000), []load{{Documents: 10, Size: 2000}, {Documents: 1_000_000, Size: 2000}}; !slices.Equal(got, want) {
		t.Errorf("no-op: %+v", got)
	}
	got := loads(benchCases[2], documents, sizes, 500_000_000)
	want := []load{{Documents: 10, Size: 2000}, {Documents: 250_000, Size: 2000}, {Documents: 1_000_000, Size: 500}, {Documents: 5000, Size: 100_000}}
	if !slices.Equal(got, want) {
		t.Errorf("all missing: %+v", got)
	}
}

func TestInterleaveTakesTurns(t *testing.T) {
	var order []int
	measurement := func(i int) func() (figure, error) {
		return func() (figure, error) {
			order = append(order, i)
			return figure{rss: int64(i)}, nil
		}
	}
	got, err := interleave(3, measurement(0), measurement(1))
	if err != nil || !slices.Equal(order, []int{0, 1, 1, 0, 0, 1}) || len(got[1]) != 3 || got[1][2].rss != 1 {
		t.Errorf("order %v, figures %v, error %v", order, got, err)
	}
}

func TestFirstEvents(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	got := firstEvents([]time.Time{at(-5), at(100), at(400), at(1250)}, []figure{{start: start}, {start: at(1000)}, {start: at(2000)}})
	if !slices.Equal(got, []float64{0.1, 0.25}) {
		t.Errorf("first events after %v s", got)
	}
}

func TestProcessor(t *testing.T) {
	for _, test := range []struct{ name, info, model, sha string }{
		{"x86", "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu aes sha_ni xsave\n", "AMD EPYC", "with SHA extensions"},
		{"x86 without", "model name : Old\nflags : fpu aes\n", "Old", "without SHA extensions"},
		{"ARM", "Features\t: fp asimd aes sha1 sha2\nCPU part\t: 0xd0c\n", "unknown model", "with SHA extensions"},
		{"another system", "", "unknown model", "SHA extensions unknown"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if model, sha := processor(test.info); model != test.model || sha != test.sha {
				t.Errorf("%q, %q", model, sha)
			}
		})
	}
}

func TestFiguresOfLessThanTheWorkAreRefused(t *testing.T) {
	missing := load{Documents: 1000, Size: 100, Absent: 3}.missing()
	if missing < 2 || missing > 30 { // about 12
		t.Fatalf("%d of 1000 documents are missing", missing)
	}
	r := &result{benchCase: benchCases[1], load: load{Documents: 1000, Size: 100, Absent: 3}, series: []series{
		{name: "loop: scan", documents: 1000, figures: ms(1, 1)}, {name: "loop: produce", documents: 11, figures: ms(1, 1)},
		{name: "loop: script", documents: 1000, figures: ms(1, 1)}, {name: "syncd", documents: 1000, figures: ms(1, 1)},
	}}
	want := 22 + 5*missing // the loop's; the script's, syncd's, and syncd's once more for its allocations
	if err := r.complete(want); err != nil {
		t.Error(err)
	}
	for _, events := range []int{0, want - 1, want + 1} {
		if r.complete(events) == nil {
			t.Errorf("%d events pass, though %d are right", events, want)
		}
	}
}
