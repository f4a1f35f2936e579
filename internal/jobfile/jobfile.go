// Package jobfile names the files that a state folder keeps of jobs.
package jobfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// prefix sets the files of jobs apart from other files of the folder, and from names that mean something to an operating system.
const prefix = "job-"

// maxName is the length of a job's escaped name in bytes.
const maxName = 200

// Path is a job's file with that suffix. Every job has one of its own: a byte that is no letter, digit, hyphen or underscore is
// escaped as % and two hexadecimal digits, and a name that is too long ends in a hash, behind %~.
func Path(dir, job, suffix string) string {
	var b strings.Builder
	for _, c := range []byte(job) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	name := b.String()
	if len(name) > maxName {
		sum := sha256.Sum256([]byte(job))
		name = name[:maxName-34] + "%~" + hex.EncodeToString(sum[:16])
	}
	return filepath.Join(dir, prefix+name+suffix)
}

// Is reports whether a file, by its name, is a job's with that suffix.
func Is(name, suffix string) bool {
	name = filepath.Base(name)
	return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
}

// Job is the job of a file with that suffix, as far as its name says it.
func Job(path, suffix string) string {
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), prefix), suffix)
	if job, err := url.PathUnescape(name); err == nil {
		return job
	}
	return name
}
