package dial

import (
	"cmp"
	"encoding/base64"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/syncd-io/syncd/spec"
)

// Scrubber takes secrets out of texts that others wrote, such as a server's, which may quote what it was sent. The zero
// Scrubber knows none.
type Scrubber struct {
	replacer *strings.Replacer
	short    []string // secrets that are too short to be looked for everywhere
}

// A secret of at least anywhere bytes is hidden everywhere. A shorter one is found inside ordinary words, so that a text would
// become unreadable, and what is left of the words would tell what it is: it is hidden where it is a word of its own, and one
// that is shorter than word only where a text quotes or assigns a value, or in the user info of an address.
const anywhere, word = 4, 3

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
	var s Scrubber
	var pairs []string
	for _, form := range slices.Compact(all) {
		if len(form) < anywhere {
			s.short = append(s.short, form)
			continue
		}
		pairs = append(pairs, form, spec.Redacted)
	}
	s.replacer = strings.NewReplacer(pairs...)
	return s
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
	text = s.replacer.Replace(text)
	for _, secret := range s.short {
		text = hideShort(text, secret)
	}
	return text
}

// hideShort hides a short secret where it stands for itself.
func hideShort(text, secret string) string {
	var b strings.Builder
	from := 0
	for at := 0; ; {
		i := strings.Index(text[at:], secret)
		if i < 0 {
			break
		}
		start, end := at+i, at+i+len(secret)
		before, _ := utf8.DecodeLastRuneInString(text[:start])
		after, _ := utf8.DecodeRuneInString(text[end:])
		alone := !inWord(before) && !inWord(after)
		if len(secret) < word {
			alone = alone && strings.ContainsRune("\"'`=:", before)
		}
		if at = start + 1; alone {
			b.WriteString(text[from:start] + spec.Redacted)
			from, at = end, end
		}
	}
	return b.String() + text[from:]
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

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
