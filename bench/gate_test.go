package main

import "testing"

func TestGateLines(t *testing.T) {
	for _, test := range []struct {
		name string
		gate gate
		want string
	}{
		{"the median decides, not the least or the most", gate{name: "no-op", limit: 0.55, values: []float64{0.9, 0.5, 0.52}},
			"gate  no-op  0.520 ≤ 0.55 (min 0.500, median 0.520 of 3)  pass"},
		{"the limit itself passes", gate{name: "start", unit: "ms", limit: 100, values: []float64{100}},
			"gate  start  100 ≤ 100 ms (min 100, median 100 of 1)  pass"},
		{"over the limit", gate{name: "no-op", limit: 0.55, values: []float64{0.1, 0.56, 0.6}},
			"gate  no-op  0.560 ≤ 0.55 (min 0.100, median 0.560 of 3)  fail"},
		{"between two in the middle", gate{name: "a", limit: 3, values: []float64{4, 1, 3, 2}},
			"gate  a  2.50 ≤ 3 (min 1.00, median 2.50 of 4)  pass"},
		{"at least", gate{name: "NDJSON", unit: "MB/s", limit: 150, least: true, values: []float64{149, 12.34, 200}},
			"gate  NDJSON  149 ≥ 150 MB/s (min 12.3, median 149 of 3)  fail"},
		{"not measured", gate{name: "verify", limit: 0.7, reason: "there is no old program"},
			"gate  verify  ≤ 0.7  not measured: there is no old program"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.gate.String(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestOnlyWhatWasMeasuredFails(t *testing.T) {
	var s gates
	s.decide(gate{name: "good", limit: 1, values: []float64{1}})
	s.decide(gate{name: "unknown", limit: 1, reason: "it was not"})
	s.decide(gate{name: "bad", limit: 1, values: []float64{2}})
	if len(s.failed) != 1 || s.failed[0] != "bad" {
		t.Errorf("failed: %q", s.failed)
	}
}
