package spec

import "log/slog"

// Redacted stands wherever a secret would be shown.
const Redacted = "[redacted]"

// Secret is a text that never shows itself: not by fmt in any verb, not in slog, JSON or YAML. Reveal gives it to the
// one place that needs it.
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

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is String, for JSON, YAML and whatever else asks for text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
