package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// tracked reports whether a file is in the index of the git repository that it stands in. It reads the index itself, since
// git may not be installed and a check should start no other program. Whatever it does not understand (no repository, a
// sparse or split index, another hash) means no: the answer only decides about a warning.
func tracked(path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if git := gitDir(filepath.Join(dir, ".git")); git != "" {
			name, err := filepath.Rel(dir, abs)
			if err != nil {
				return false
			}
			found, err := inIndex(filepath.Join(git, "index"), filepath.ToSlash(name))
			return found && err == nil
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// gitDir is where a repository's .git keeps its data: the folder itself or, in a worktree or submodule, the one that the
// file names.
func gitDir(path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return ""
	case info.IsDir():
		return path
	case info.Size() > 4096:
		return ""
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	dir, found := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
	if !found {
		return ""
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(path), dir)
	}
	return dir
}

// maxIndex bounds an index; that of a million files has about 100 MiB.
const maxIndex = 256 << 20

var errIndex = errors.New("not an index of a kind that is known")

func inIndex(path, name string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxIndex))
	if err != nil {
		return false, err
	}
	return parseIndex(data, name)
}

// parseIndex looks for a name in an index of version 2, 3 or 4, as in git's Documentation/gitformat-index.adoc.
func parseIndex(data []byte, name string) (bool, error) {
	const header, fixed, extended = 12, 62, 0x4000
	if len(data) < header || string(data[:4]) != "DIRC" {
		return false, errIndex
	}
	version, count := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	if version < 2 || version > 4 {
		return false, errIndex
	}
	at := header
	var previous []byte
	for range count {
		if at+fixed > len(data) {
			return false, errIndex
		}
		start := at
		flags := binary.BigEndian.Uint16(data[at+fixed-2:])
		at += fixed
		if flags&extended != 0 {
			at += 2
		}
		if version == 4 { // a name is what it shares with the one before, and the rest
			drop, n := offsetNumber(data[min(at, len(data)):])
			at += n
			if n == 0 || drop > len(previous) {
				return false, errIndex
			}
			previous = previous[:len(previous)-drop]
		} else {
			previous = previous[:0]
		}
		end := bytes.IndexByte(data[min(at, len(data)):], 0)
		if end < 0 {
			return false, errIndex
		}
		previous = append(previous, data[at:at+end]...)
		if string(previous) == name {
			return true, nil
		}
		at += end + 1
		if version < 4 { // padded with NUL to a multiple of eight
			at = start + (at-start+7)/8*8
		}
	}
	return false, nil
}

// offsetNumber reads git's variable-length number: 7 bits a byte, with 1 added before each further byte.
func offsetNumber(data []byte) (value, size int) {
	for i, b := range data {
		if i > 4 {
			break
		}
		if i > 0 {
			value++
		}
		value = value<<7 | int(b&0x7f)
		if b&0x80 == 0 {
			return value, i + 1
		}
	}
	return 0, 0
}
