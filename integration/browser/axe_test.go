package browser

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const (
	axeURL    = "https://registry.npmjs.org/axe-core/-/axe-core-4.14.1.tgz"
	axeSHA512 = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
)

// axe is the script of axe-core. A test that can't get it is left out.
func axe(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "syncd-test", "axe-core-4.14.1.tgz")
	archive, err := os.ReadFile(path)
	if err != nil || digest(archive) != axeSHA512 {
		client := http.Client{Timeout: time.Minute}
		r, err := client.Get(axeURL)
		if err != nil {
			t.Skipf("axe-core can't be downloaded: %v", err)
		}
		defer r.Body.Close()
		if archive, err = io.ReadAll(io.LimitReader(r.Body, 64<<20)); err != nil || r.StatusCode != http.StatusOK {
			t.Skipf("axe-core can't be downloaded: %s, %v", r.Status, err)
		}
		if got := digest(archive); got != axeSHA512 {
			t.Fatalf("%s has the digest %s", axeURL, got)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, archive, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(unzipped); ; {
		f, err := files.Next()
		if err != nil {
			t.Fatalf("axe-core has no script: %v", err)
		}
		if f.Name == "package/axe.min.js" {
			script, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			return string(script)
		}
	}
}

func digest(b []byte) string {
	sum := sha512.Sum512(b)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// findings are what axe-core finds wrong with a page.
type findings struct {
	Passes     int // rules
	Violations []struct {
		ID, Help, Impact string
		Nodes            []struct{ HTML, FailureSummary string }
	}
}

func (f findings) String() (out string) {
	for _, v := range f.Violations {
		out += fmt.Sprintf("%s (%s): %s\n", v.ID, v.Impact, v.Help)
		for _, n := range v.Nodes[:min(3, len(v.Nodes))] {
			out += "    " + n.HTML + "\n    " + n.FailureSummary + "\n"
		}
	}
	return out
}
