package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/syncd-io/syncd"
)

// Identity names the file, its size, when it was last written and, where the system has them, its inode: a key is a position
// in it, and means another document, or none, once the file was edited or replaced. Documents that are appended leave earlier
// keys as they were, but nothing short of reading tells them from an edit, so they change the identity as well. The device is
// left out: it may have another number each time that a volume is mounted.
func (s *source) Identity(ctx context.Context, c syncd.Collection) (string, error) {
	id, err := s.identity(ctx, c.Name)
	if err != nil {
		return "", fmt.Errorf("identifying collection %s: %w", c.Name, err)
	}
	return id, nil
}

func (s *source) identity(ctx context.Context, collection string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	at, err := s.locate(collection)
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(at.path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	s.pinned.Store(at.path, info)
	return fmt.Sprintf("%s of %d bytes, written %d%s", path, info.Size(), info.ModTime().UnixNano(), inode(info)), nil
}
