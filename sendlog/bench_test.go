package sendlog

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/mapping"
)

// filled makes a record of n documents that no run will see.
func filled(b *testing.B, n int) Config {
	b.Helper()
	c := Config{Path: filepath.Join(b.TempDir(), "a.db"), Index: "i", Max: 2}
	l := open(b, c)
	batch := make([]syncd.Change, 5000)
	for n > 0 {
		batch = batch[:min(n, len(batch))]
		for i := range batch {
			batch[i].PointID = uuid.New()
		}
		if err := l.Sent(&mapping.Rule{}, batch); err != nil {
			b.Fatal(err)
		}
		n -= len(batch)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkJudge is what a run pays for each document that is present.
func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{0, 5, 100_000, 1_100_000} {
		b.Run(fmt.Sprintf("recorded=%d", n), func(b *testing.B) {
			c := filled(b, n)
			rule := rules(b, false, "page")[0]
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l := open(b, c)
			runtime.GC()
			runtime.ReadMemStats(&after)
			defer l.Close()
			doc := change(b, rule, "507f1f77bcf86cd799439011", "", syncd.Present)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Judge(rule, &doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen is what a run pays at its start.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{5, 1_000_000} {
		b.Run(fmt.Sprintf("recorded=%d", n), func(b *testing.B) {
			c := filled(b, n)
			for b.Loop() {
				if err := open(b, c).Close(); err != nil {
					b.Fatal(err)
				}
			}
			if info, err := os.Stat(c.Path); err == nil {
				b.ReportMetric(float64(info.Size())/1e6, "MB/file")
			}
		})
	}
}

// BenchmarkSent is what a run pays for each write of 5,000 events.
func BenchmarkSent(b *testing.B) {
	for _, n := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("recorded=%d", n), func(b *testing.B) {
			l := open(b, filled(b, n))
			defer l.Close()
			batch := make([]syncd.Change, 5000)
			for b.Loop() {
				for i := range batch {
					batch[i].PointID = uuid.New()
				}
				if err := l.Sent(&mapping.Rule{}, batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/5000, "ns/event")
		})
	}
}
