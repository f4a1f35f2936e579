package qdrantconn

import (
	"time"

	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/retry"
	"github.com/syncd-io/syncd/spec"
)

// TLS is how a plugin connects where TLS is on.
type TLS struct {
	Enabled     bool        `yaml:"enabled" doc:"Use TLS; https in url turns it on as well."`
	CAFile      string      `yaml:"ca_file" doc:"A PEM file of the authorities to trust instead of the system's."`
	CertFile    string      `yaml:"cert_file" doc:"A PEM file of the certificate to show to the server; needs key_file."`
	KeyFile     string      `yaml:"key_file" doc:"A PEM file of the certificate's key."`
	KeyPassword spec.Secret `yaml:"key_password" doc:"The password of key_file, if it is encrypted."`
	ServerName  string      `yaml:"server_name" doc:"The name that the server's certificate must hold, if not the host's."`
	SkipVerify  bool        `yaml:"insecure_skip_verify" doc:"Accept any certificate, also a forger's."`
}

// Retry is how requests are repeated that Qdrant could not answer.
type Retry struct {
	MaxElapsed time.Duration `yaml:"max_elapsed" doc:"The time after which a request is given up, not counting waits that Qdrant asks for; 0 never repeats." rule:"min=0s,max=24h"`
	Initial    time.Duration `yaml:"initial" doc:"The longest pause before the first repetition; it doubles with each." rule:"min=1ms,max=1h"`
	Max        time.Duration `yaml:"max" doc:"The longest pause between two repetitions." rule:"min=1ms,max=1h"`
}

// Policy is that of one request.
func (r Retry) Policy() retry.Policy {
	return retry.Policy{First: r.Initial, Max: r.Max, Jitter: 1, MaxDelay: LongestWait, Elapsed: max(r.MaxElapsed, 1)} // 0 never repeats
}

// DefaultRetry is that of plugins whose configuration says nothing.
var DefaultRetry = Retry{MaxElapsed: time.Minute, Initial: 100 * time.Millisecond, Max: 5 * time.Second}

// Check reports what tags can't say of the settings of a connection to c's address, which stand in n. It reads no file.
func Check(d *spec.Decoder, n *spec.Node, c Address, key spec.Secret, t TLS, r Retry) {
	report := func(hint, format string, args []any, path ...string) {
		at, _ := n.Nearest(path)
		in(d, path, func() { d.Errorf(at, spec.CodeBadValue, hint, format, args...) })
	}
	tls := PathTo(d, "tls")
	ep, err := c.Endpoint()
	off := err == nil && !ep.TLS && !t.Enabled
	if on, said := ep.SchemeTLS(); err == nil && said && on != t.Enabled {
		if at, whole := n.Nearest([]string{"tls", "enabled"}); whole && !at.IsNull() {
			report("remove it: the scheme of url decides", "%s.enabled: %t contradicts url, which begins with %s://",
				[]any{tls, t.Enabled, ep.Scheme}, "tls", "enabled")
		}
	}
	if off {
		for _, name := range dial.TLS(t).Set() {
			report("begin url with https://, or set tls.enabled: true", "%s.%s has no effect, since TLS is off", []any{tls, name}, "tls", name)
		}
	}
	switch name, lacks := dial.TLS(t).Unpaired(); {
	case name == "key_password" && !off:
		report("set cert_file and key_file", "%s.key_password is there, but no key", []any{tls}, "tls", name)
	case name != "" && name != "key_password":
		report("set both or neither", "%s.%s needs %s", []any{tls, name, lacks}, "tls", name)
	}
	if t.SkipVerify && t.CAFile != "" {
		report("remove one of them", "%s.insecure_skip_verify accepts any certificate, so ca_file has no effect", []any{tls}, "tls", "insecure_skip_verify")
	}
	if r.Initial > r.Max {
		report("", "%s must be at least initial, which is %v", []any{PathTo(d, "retry.max"), r.Initial}, "retry", "max")
	}
	if !sendable(key.Reveal()) {
		report("look for a line break at its end", "%s holds characters that a request can't carry", []any{PathTo(d, "api_key")}, "api_key")
	}
}

// in runs f with the decoder at path.
func in(d *spec.Decoder, path []string, f func()) {
	if len(path) == 0 {
		f()
		return
	}
	d.In(path[0], func() { in(d, path[1:], f) })
}

// PathTo is the whole path of a setting below where the decoder is.
func PathTo(d *spec.Decoder, name string) string {
	if p := d.Path(); p != "" {
		return p + "." + name
	}
	return name
}

// sendable reports whether a header can carry s: gRPC allows printable ASCII.
func sendable(s string) bool {
	for _, b := range []byte(s) {
		if b < 0x20 || b > 0x7e {
			return false
		}
	}
	return true
}
