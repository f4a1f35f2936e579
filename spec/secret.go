package spec

import (
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
)

// Redacted stands wherever a secret would be shown.
const Redacted = "[redacted]"

// Secret is a text that never shows itself: not by fmt in any verb, not in slog, JSON or YAML. Reveal gives it to the
// one place that needs it.
//
// Three ways around it are left, since nobody is asked there: fmt prints a struct's unexported fields as they are, so a
// struct with secrets in such fields must not be printed as a whole; encoding/json does the same with the keys of a map; and
// so does fmt with %p of a text and %w outside of Errorf, which go vet refuses.
type Secret string

// Reveal returns the secret itself; the caller must not log it or put it in an error.
func (s Secret) Reveal() string { return string(s) }

// String returns Redacted, or "" for the empty secret so that "not set" can be seen.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// GoString is String in quotes, for printers other than fmt.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format is String for every verb of fmt; without it %x and %d would show the text, since they don't ask for a string.
func (s Secret) Format(f fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		text = s.GoString()
	}
	fmt.Fprintf(f, fmt.FormatString(f, 's'), text) // with the width that was asked for
}

// MarshalText is String, for JSON, XML and whatever else asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML is String.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Only what has exactly this form is taken for an address whose hosts may be shown: after an unescaped @ or / in a password,
// nobody can tell where the hosts begin.
var address = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*://)` +
	`(?:([^\s:/?#@\[\]]+)(:[^\s:/?#@]*)?@)?` +
	`((?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?(?:,(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?)*)` +
	`(/?)([^@]*)$`)

// The path of such an address is the name of a database, of which topics may be named.
var (
	postgres = regexp.MustCompile(`^(?i)postgres(?:ql)?://$`)
	name     = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// Outline is what may be shown of a secret that is the address of a server: its scheme, its user name if a password
// follows, its hosts, and the database of a PostgreSQL server. Of any other secret that is Redacted. It is for settings whose name says that they hold an
// address: a password, whatever it looks like, must not be outlined.
func (s Secret) Outline() string {
	m := address.FindStringSubmatch(string(s))
	if m == nil || m[6] != "" && m[5] == "" && m[6][0] != '?' && m[6][0] != '#' {
		return s.String()
	}
	scheme, user, password, hosts, slash, tail := m[1], m[2], m[3], m[4], m[5], m[6]
	var b strings.Builder
	b.WriteString(scheme)
	switch {
	case password != "":
		b.WriteString(user + ":" + Redacted + "@")
	case user != "":
		b.WriteString(Redacted + "@")
	}
	b.WriteString(hosts)
	database, _, options := strings.Cut(tail, "?")
	switch {
	case postgres.MatchString(scheme) && slash != "" && name.MatchString(database):
		slash += database
		if options {
			slash += "?" + Redacted
		}
	case tail != "": // a path or an option may be a token
		slash = "/" + Redacted
	}
	return b.String() + slash
}

var (
	// In prose an address ends at a blank. A text that begins with one is taken for it as a whole, since a password that
	// nobody encoded may hold anything.
	wholeInfo   = regexp.MustCompile(`(?s)^\s*([A-Za-z][A-Za-z0-9+.-]*://)(.*)@`)
	userInfo    = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s"'<>]*)@`)
	secretParam = regexp.MustCompile(`(?i)([?&;][^=&\s]*(?:key|token|secret|passw|pwd|sig|credential)[^=&\s]*=)[^&;\s#]+`)
)

// ScrubURLs takes the passwords of addresses out of a text that is no secret itself: what stands before an @, but for a user
// name with a password, and parameters whose name says that they are secrets.
func ScrubURLs(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	info := userInfo
	if wholeInfo.MatchString(text) {
		info = wholeInfo
	}
	text = info.ReplaceAllStringFunc(text, func(match string) string {
		m := info.FindStringSubmatch(match)
		user, _, found := strings.Cut(m[2], ":")
		if found && user != "" && !strings.ContainsAny(user, "/?#@ \t\r\n") {
			return m[1] + user + ":" + Redacted + "@"
		}
		return m[1] + Redacted + "@"
	})
	return secretParam.ReplaceAllString(text, "${1}"+Redacted)
}
