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

// A short secret is in many words. It is hidden where it stands for itself.
func TestScrubberOfShortSecrets(t *testing.T) {
	for secret, texts := range map[string][][2]string{
		"a": {
			{"a broker is not available, at kafka:9092", ""},
			{`wrong password "a"`, `wrong password "[redacted]"`},
			{"sasl.password=a, sasl.username=ada", "sasl.password=[redacted], sasl.username=ada"},
			{"dialing mongodb://ada:a@h/a?x=a", "dialing mongodb://ada:[redacted]@h/a?x=[redacted]"},
			{"password:a", "password:[redacted]"},
			{"Basic YQ==", "Basic [redacted]"}, // what an encoder makes of it is no word
		},
		"pw1":  {{"pw12 and xpw1 of pw1 pw1", "pw12 and xpw1 of [redacted] [redacted]"}, {"pw1", "[redacted]"}},
		"é":    {{"un café", ""}, {"pw=%C3%A9", "pw=[redacted]"}, {`"é"`, `"[redacted]"`}},
		"test": {{"the test", "the [redacted]"}, {"untested", "un[redacted]ed"}},
	} {
		s := NewScrubber(secret)
		for _, text := range texts {
			want := text[1]
			if want == "" {
				want = text[0]
			}
			if got := s.Replace(text[0]); got != want {
				t.Errorf("%q in %q: %q, want %q", secret, text[0], got, want)
			}
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
