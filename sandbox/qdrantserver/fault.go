package qdrantserver

import "sync"

// faultScript holds the failures that a test has asked for. Scripts are used up in the order in which they were
// added, whether they are for one method or for any.
type faultScript struct {
	mu     sync.Mutex
	faults []fault
}

type fault struct {
	method string // empty: any method
	left   int
	err    error
}

func (f *faultScript) add(method string, n int, err error) {
	if n <= 0 || err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, fault{method: method, left: n, err: err})
}

// take is the error that this call of a method must answer with, or nil.
func (f *faultScript) take(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.faults {
		next := &f.faults[i]
		if next.method != "" && next.method != method {
			continue
		}
		err := next.err
		if next.left--; next.left == 0 {
			f.faults = append(f.faults[:i], f.faults[i+1:]...)
		}
		return err
	}
	return nil
}
