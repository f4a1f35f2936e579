package process

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// fetchTime bounds one download.
const fetchTime = 10 * time.Minute

// Maven returns a folder with the jars that a pom.xml depends on.
func Maven(ctx context.Context, name string, pom []byte) (string, error) {
	return fetched(ctx, name, "pom.xml", pom, "Maven (mvn)", func(file, dir string) []string {
		return []string{"mvn", "-q", "-B", "-f", file, "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies", "-DoutputDirectory=" + dir}
	})
}

// Pip returns a folder with the packages of a requirements.txt, for PYTHONPATH.
func Pip(ctx context.Context, name string, requirements []byte) (string, error) {
	return fetched(ctx, name, "requirements.txt", requirements, "Python 3.11 or newer with pip", func(file, dir string) []string {
		return []string{
			"python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", "--no-deps",
			"--only-binary", ":all:", "--target", dir, "--requirement", file,
		}
	})
}

// fetched returns the folder, in the user's cache, that a command fills from a list. The folder's name has the list's digest,
// so another version goes to another folder; a half-filled folder has no such name. Later calls need no network. One of
// several processes fetches at a time: Maven's own folder is no place for two.
func fetched(ctx context.Context, name, list string, content []byte, needs string, command func(file, dir string) []string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	parent := filepath.Join(cache, "syncd-test")
	dir := filepath.Join(parent, fmt.Sprintf("%s-%x", name, sha256.Sum256(content))[:len(name)+13])
	if _, err := os.Stat(filepath.Join(dir, list)); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	lock, err := os.Create(filepath.Join(parent, "lock"))
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	defer lock.Close() //nolint:errcheck // with it the lock is gone
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("fetching %s: waiting for another to have fetched: %w", name, err)
	}
	if _, err := os.Stat(filepath.Join(dir, list)); err == nil { // another has
		return dir, nil
	}
	fresh, err := os.MkdirTemp(parent, "fetching-")
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	defer func() { _ = os.RemoveAll(fresh) }() // nothing is there after the rename
	file := filepath.Join(fresh, list)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return "", fmt.Errorf("fetching %s: %w", name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	argv := command(file, fresh)
	if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil { //nolint:gosec // the commands stand above
		if errors.Is(err, exec.ErrNotFound) {
			return "", fmt.Errorf("fetching %s needs %s: %w", name, needs, err)
		}
		return "", fmt.Errorf("%s could not be fetched: %w\n%s", name, err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(filepath.Join(dir, list)); there != nil {
			return "", fmt.Errorf("fetching %s: %w", name, err)
		}
		// Another process was faster.
	}
	return dir, nil
}
