package dial

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// Scrubber takes secrets out of texts that others wrote, such as a server's, which may quote what it was sent. The zero
// Scrubber knows none.
type Scrubber struct{ replacer *strings.Replacer }

// NewScrubber makes a scrubber of secrets, in every form that an encoder gives them; empty ones are left out.
func NewScrubber(secrets ...string) Scrubber {
	var all []string
	for _, s := range secrets {
		if s != "" {
			all = append(all, forms(s)...)
		}
	}
	// The longest comes first, since a secret may be a part of another.
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, s := range slices.Compact(all) {
		pairs = append(pairs, s, spec.Redacted)
	}
	return Scrubber{strings.NewReplacer(pairs...)}
}

// forms lists how a secret may appear in a text: as given, decoded, encoded again, and inside quotes.
func forms(s string) []string {
	out := []string{s}
	if d, err := url.PathUnescape(s); err == nil {
		out = append(out, d)
	}
	if d, err := url.QueryUnescape(s); err == nil {
		out = append(out, d)
	}
	for _, f := range slices.Clone(out) {
		quoted := strconv.Quote(f)
		_, user, _ := strings.Cut(url.UserPassword("", f).String(), ":")
		out = append(out, url.QueryEscape(f), url.PathEscape(f), user, quoted[1:len(quoted)-1], base64.StdEncoding.EncodeToString([]byte(f)))
	}
	return out
}

// Replace returns text with Redacted in place of each secret.
func (s Scrubber) Replace(text string) string {
	if s.replacer == nil {
		return text
	}
	return s.replacer.Replace(text)
}

// Error returns an error with the text of err without secrets. It hides err itself, whose text must not reappear, and still
// answers errors.Is for it.
func (s Scrubber) Error(err error) error {
	if err == nil {
		return nil
	}
	return &scrubbedError{text: s.Replace(err.Error()), is: func(target error) bool { return errors.Is(err, target) }}
}

type scrubbedError struct {
	text string
	is   func(error) bool
}

func (e *scrubbedError) Error() string        { return e.text }
func (e *scrubbedError) Is(target error) bool { return e.is(target) }
