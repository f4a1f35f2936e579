package postgres

import (
	"slices"
	"testing"

	"github.com/syncd-io/syncd"
)

func TestPositions(t *testing.T) {
	for _, o := range []syncd.Offset{"7431 1 16/B374D848", "7431 2 0/0", "7431 1 16/B374D848 16/B3750000 12"} {
		p, err := parsePosition(o)
		if err != nil || p.offset() != o {
			t.Errorf("%q is %+v, %v", o, p, err)
		}
	}
	for _, o := range []syncd.Offset{
		"", "7431", "7431 1", " 1 0/1", "7431 x 0/1", "7431 1 01", "7431 1 0/1 ", "7431 1 0/1 0/2", "7431 1 0/1 0/0 1", "7431 1 0/1 0/2 x", "7431 1 0/1 0/2 1 ",
		"7431 01 0/1", "7431 1 0/1x", "7431 1 0/1 0/2 1 1", "7431 1 0/01",
	} {
		if p, err := parsePosition(o); err == nil {
			t.Errorf("%q is %+v", o, p)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("7431 1 16/B374D848")
	f.Add("7431 1 16/B374D848 16/B3750000 12")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePosition(syncd.Offset(s)); err == nil && string(p.offset()) != s {
			t.Errorf("%q is %+v, which is %q", s, p, p.offset())
		}
	})
}

func TestRowMessages(t *testing.T) {
	for _, test := range []struct {
		data     string
		row, old []string
		key      bool
	}{
		{"I\x00\x00\x00\x07N\x00\x03t\x00\x00\x00\x02abnt\x00\x00\x00\x00", []string{"ab", "-", ""}, nil, false},
		{"U\x00\x00\x00\x07N\x00\x02t\x00\x00\x00\x01au", []string{"a", "?"}, nil, false},
		{"U\x00\x00\x00\x07K\x00\x02t\x00\x00\x00\x01bnN\x00\x02t\x00\x00\x00\x01an", []string{"a", "-"}, []string{"b", "-"}, true},
		{"U\x00\x00\x00\x07O\x00\x01t\x00\x00\x00\x01bN\x00\x01t\x00\x00\x00\x01a", []string{"a"}, []string{"b"}, false},
		{"D\x00\x00\x00\x07K\x00\x01t\x00\x00\x00\x01b", nil, []string{"b"}, true},
		{"D\x00\x00\x00\x07O\x00\x01n", nil, []string{"-"}, false},
	} {
		var m rowMessage
		if err := m.parse([]byte(test.data)); err != nil || m.kind != test.data[0] || m.relation != 7 || m.oldKey != test.key || !slices.Equal(cellTexts(m.row), test.row) || !slices.Equal(cellTexts(m.old), test.old) {
			t.Errorf("%q is %+v, %v", test.data, m, err)
		}
		for n := range len(test.data) {
			if err := m.parse([]byte(test.data[:n])); err == nil {
				t.Errorf("%q, cut at %d, can be read", test.data, n)
			}
		}
		if err := m.parse([]byte(test.data + "x")); err == nil {
			t.Errorf("%q can be read with more behind it", test.data)
		}
	}
}

func cellTexts(cells []cell) (out []string) {
	for _, c := range cells {
		switch {
		case c.unchanged:
			out = append(out, "?")
		case c.text == nil:
			out = append(out, "-")
		default:
			out = append(out, string(c.text))
		}
	}
	return out
}

func FuzzRowMessage(f *testing.F) {
	f.Add([]byte("U\x00\x00\x00\x07K\x00\x02t\x00\x00\x00\x01bnN\x00\x02t\x00\x00\x00\x01au"))
	f.Add([]byte("D\x00\x00\x00\x07O\x00\x01n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var m rowMessage
		_ = m.parse(data)
	})
}

// TestSplitCounts: as many parts as a table of that size is worth.
func TestSplitCounts(t *testing.T) {
	for _, test := range []struct {
		rows  int64
		cpus  int
		least int
		want  int
	}{{0, 2, 0, 1}, {49_999, 8, 24, 1}, {50_000, 2, 0, 8}, {50_000, 2, 24, 24}, {10_000_000, 2, 24, 40}, {1 << 40, 2, 0, 1024}, {60_000, 1000, 0, 1024}, {60_000, 2, 4000, 1024}} {
		if got := splitsFor(test.rows, test.cpus, test.least); got != test.want {
			t.Errorf("%d rows on %d CPUs: %d splits, want %d", test.rows, test.cpus, got, test.want)
		}
	}
}
