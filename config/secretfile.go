package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// filePrefix begins a reference to a file, as orchestrators mount secrets: ${file:/run/secrets/password}.
const filePrefix = "file:"

// maxSecretFile bounds what a secret may hold. Certificates are the largest, and a reference to a wrong file should fail
// early.
const maxSecretFile = 64 << 10

// secretFile reads the file that a reference at pos names, relative to the folder of the configuration file, without the line
// ends behind it. What can't be read is reported and not set; a file that does not exist is not reported where the reference
// has a default or what is unset is allowed.
func (p *parser) secretFile(pos spec.Pos, name string, optional bool) (text string, set bool) {
	report := func(code spec.Code, hint, format string, args ...any) {
		p.errorf(pos, code, hint, format, args...)
	}
	if name == "" {
		report(spec.CodeSyntax, "write ${file:/run/secrets/name}", "${file:} names no file")
		return "", false
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(p.file), path)
	}
	text, err := readSecret(path)
	switch perr := (*fs.PathError)(nil); {
	case err == nil:
		return text, true
	case errors.Is(err, fs.ErrNotExist):
		if !optional && !p.unsetOK {
			report(spec.CodeMissingFile, fmt.Sprintf("create it, or give a default: ${%s%s:-…}", filePrefix, name), "there is no file %s", path)
		}
	case errors.As(err, &perr):
		report(spec.CodeMissingFile, "", "the file %s can't be read: %v", path, perr.Err)
	default:
		report(spec.CodeBadValue, "", "the file %s can't be used: %v", path, err)
	}
	return "", false
}

func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for whoever writes it
		return "", errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxSecretFile {
		return "", fmt.Errorf("a secret has at most %d KiB", maxSecretFile>>10)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
