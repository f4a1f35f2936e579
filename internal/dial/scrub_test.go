package dial

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/spec"
)

func TestScrubber(t *testing.T) {
	for _, secret := range []string{"s3cret", "s3@c/r%t", "s3%40c%2Fr%25t", "a+b c", `q"uo\te`, "passwörd", "a&b=c;d"} {
		s := NewScrubber("", secret, "other")
		forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), strconv.Quote(secret), base64.StdEncoding.EncodeToString([]byte(secret))}
		if d, err := url.PathUnescape(secret); err == nil {
			forms = append(forms, d)
		}
		for _, form := range forms {
			got := s.Replace("dialing with " + form + ".")
			if want := "dialing with " + spec.Redacted + "."; strings.ReplaceAll(got, `"`, "") != want {
				t.Errorf("%q as %q: %q", secret, form, got)
			}
		}
	}
}

// The longer secret wins where one is a part of another, in whatever order they are given.
func TestScrubberOfOverlappingSecrets(t *testing.T) {
	for _, s := range []Scrubber{NewScrubber("mia", "mia:s3cret"), NewScrubber("mia:s3cret", "mia")} {
		if got := s.Replace("mia:s3cret@h for mia"); got != "[redacted]@h for [redacted]" {
			t.Error(got)
		}
	}
}

func TestScrubberWithoutSecrets(t *testing.T) {
	for _, s := range []Scrubber{{}, NewScrubber(), NewScrubber("")} {
		if got := s.Replace("no secrets"); got != "no secrets" {
			t.Error(got)
		}
	}
}

func TestScrubberOfErrors(t *testing.T) {
	s := NewScrubber("s3cret")
	err := s.Error(fmt.Errorf("dialing with s3cret: %w", context.DeadlineExceeded))
	if err.Error() != "dialing with [redacted]: context deadline exceeded" || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if inner := errors.Unwrap(err); inner != nil {
		t.Errorf("it shows %v", inner)
	}
	if s.Error(nil) != nil {
		t.Error("no error becomes one")
	}
}
