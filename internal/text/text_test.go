package text

import "testing"

func TestShort(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 99_999: "99999", 100_000: "100k", 999_499: "999k", 1_000_000: "1.0M", 12_400_000: "12.4M", 999_900_000: "999.9M", 1_000_000_000: "1.0G", 123_456_000_000: "123.5G",
	} {
		if got := Short(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestCost(t *testing.T) {
	for dollars, want := range map[float64]string{0.25: "about $0.25", 0.009: "less than $0.01", 0.01: "about $0.01", 1234.5: "about $1234.50", 0: "about $0.00"} {
		if got := Cost(dollars); got != want {
			t.Errorf("%v is %q, want %q", dollars, got, want)
		}
	}
}
