package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the built syncd.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	parallel := false
	flag.Visit(func(f *flag.Flag) { parallel = parallel || f.Name == "test.parallel" })
	if !parallel {
		// A schedule mostly waits: for timeouts, and for a process that is to give up.
		_ = flag.Set("test.parallel", "16")
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "syncd-faults-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		// Some runs are another user's.
		if err := os.Chmod(dir, 0o755); err != nil {
			panic(err)
		}
		program = filepath.Join(dir, "syncd")
		build := exec.Command("go", "build", "-o", program, "./cmd/syncd")
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building syncd: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}
