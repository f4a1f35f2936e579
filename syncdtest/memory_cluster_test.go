package syncdtest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// TestMemoryCluster has the cluster in memory pass the suite of all clusters.
func TestMemoryCluster(t *testing.T) {
	var mu sync.Mutex
	brokers := map[string]*syncdtest.MemoryBroker{} // by topic
	var committed []string
	syncdtest.TestCluster(t, syncdtest.ClusterHarness{
		Session: 200 * time.Millisecond,
		Open: func(_ *testing.T, o syncd.ClusterOptions) syncdtest.ClusterProcess {
			mu.Lock()
			defer mu.Unlock()
			b := brokers[o.Topic]
			if b == nil {
				b = syncdtest.NewMemoryBroker(o.Lanes)
				b.Committed = func(changes []syncd.Change) {
					mu.Lock()
					defer mu.Unlock()
					for _, c := range changes {
						committed = append(committed, c.ID)
					}
				}
				brokers[o.Topic] = b
			}
			p := b.Process(o)
			return syncdtest.ClusterProcess{Cluster: p, Cut: func() func() { p.Stop(); return p.Continue }}
		},
		Committed: func(*testing.T) []string {
			mu.Lock()
			defer mu.Unlock()
			return append([]string(nil), committed...)
		},
	})
}
