package mongo

import (
	"slices"
	"strings"

	"github.com/syncd-io/syncd/internal/dial"
)

// scrubber takes the secrets of one connection string out of texts that others wrote: the whole string, the user info, the
// password, and the secrets among the options.
type scrubber struct{ dial.Scrubber }

// Options, in lower case, whose values are secrets.
var secretOptions = []string{
	"tlscertificatekeyfilepassword", "sslclientcertificatekeypassword", "proxypassword", "authmechanismproperties",
}

func newScrubber(uri string) scrubber {
	var secrets []string
	add := func(s string) { secrets = append(secrets, s) }
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
	return scrubber{dial.NewScrubber(secrets...)}
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

func (s scrubber) scrub(err error) error { return s.Error(err) }
