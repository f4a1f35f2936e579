package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// oldProgram returns the path of the program to compare with, which name is or is a git revision to build it from; and what
// removes what was built.
func oldProgram(ctx context.Context, name string) (path string, remove func(), err error) {
	if info, err := os.Stat(name); err == nil && !info.IsDir() {
		path, err := filepath.Abs(name)
		return path, func() {}, err
	}
	dir, err := os.MkdirTemp("", "syncd-old-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "syncd")
	for _, step := range [][]string{
		{"git", "archive", "--output", filepath.Join(dir, "source.tar"), name},
		{"mkdir", filepath.Join(dir, "source")},
		{"tar", "-xf", filepath.Join(dir, "source.tar"), "-C", filepath.Join(dir, "source")},
		{"go", "-C", filepath.Join(dir, "source"), "build", "-o", path, "./cmd/syncd"},
	} {
		if out, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			remove()
			return "", nil, fmt.Errorf("building %q, which is no program, as a git revision: %w\n%s", name, err, out)
		}
	}
	return path, remove, nil
}
