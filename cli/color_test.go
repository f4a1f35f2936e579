package cli

import (
	"os"
	"testing"
)

// TestNoColors checks that nothing but a terminal is painted on: what the scripts see stays as it is.
func TestNoColors(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := &app{}
	if got := a.painter(f)(red, "x"); got != "x" {
		t.Errorf("a file is painted on: %q", got)
	}
}
