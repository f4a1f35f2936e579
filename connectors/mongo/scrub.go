package mongo

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// scrubber takes the secrets of one connection string out of texts that others wrote: the whole string, the user info, the
// password, and the secrets among the options, each as it stands and in every form that an encoder gives it.
type scrubber struct{ replacer *strings.Replacer }

// Options, in lower case, whose values are secrets.
var secretOptions = []string{
	"tlscertificatekeyfilepassword", "sslclientcertificatekeypassword", "proxypassword", "authmechanismproperties",
}

func newScrubber(uri string) scrubber {
	var secrets []string
	add := func(s string) {
		if s != "" {
			secrets = append(secrets, forms(s)...)
		}
	}
	add(uri)
	_, rest, ok := strings.Cut(uri, "://")
	if !ok {
		rest = uri
	}
	// Where an unescaped @ or / makes it unclear what the user info is, all readings count.
	authority, _, _ := strings.Cut(rest, "/")
	for _, text := range []string{rest, authority} {
		for _, at := range []int{strings.Index(text, "@"), strings.LastIndex(text, "@")} {
			if at < 0 {
				continue
			}
			if _, password, ok := strings.Cut(text[:at], ":"); ok {
				add(text[:at])
				add(password)
			}
		}
	}
	_, query, _ := strings.Cut(rest, "?")
	for _, arg := range strings.FieldsFunc(query, isOptionSeparator) {
		name, value, _ := strings.Cut(arg, "=")
		if !slices.Contains(secretOptions, strings.ToLower(name)) {
			continue
		}
		add(value)
		for property := range strings.SplitSeq(value, ",") {
			if _, v, ok := strings.Cut(property, ":"); ok && !isPublicProperty(property) {
				add(v)
			}
		}
	}
	slices.SortStableFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	secrets = slices.Compact(secrets)
	pairs := make([]string, 0, 2*len(secrets))
	for _, s := range secrets {
		pairs = append(pairs, s, spec.Redacted)
	}
	return scrubber{strings.NewReplacer(pairs...)}
}

// isPublicProperty tells authentication properties that are no secrets, and so short or common that taking them out would
// only make errors unreadable.
func isPublicProperty(property string) bool {
	name, _, _ := strings.Cut(property, ":")
	switch strings.ToUpper(name) {
	case "SERVICE_NAME", "SERVICE_REALM", "SERVICE_HOST", "CANONICALIZE_HOST_NAME", "ENVIRONMENT", "TOKEN_RESOURCE", "ALLOWED_HOSTS":
		return true
	}
	return false
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
		out = append(out, url.QueryEscape(f), url.PathEscape(f), user, quoted[1:len(quoted)-1])
	}
	return out
}

func (s scrubber) text(t string) string { return s.replacer.Replace(t) }

// scrub returns an error with the text of err without secrets. It hides err itself, whose text must not reappear, and
// still answers errors.Is for it.
func (s scrubber) scrub(err error) error {
	if err == nil {
		return nil
	}
	return &scrubbed{text: s.text(err.Error()), is: func(target error) bool { return errors.Is(err, target) }}
}

type scrubbed struct {
	text string
	is   func(error) bool
}

func (e *scrubbed) Error() string        { return e.text }
func (e *scrubbed) Is(target error) bool { return e.is(target) }
