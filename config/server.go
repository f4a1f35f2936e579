package config

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Server is the `server` section, which has a file of its own: how a service of many jobs is reached, and what its jobs may take together.
type Server struct {
	Listen      string          `yaml:"listen" example:"0.0.0.0:8083" doc:"Address and port to listen on; without an address, as in :8083, only this machine can connect. Any other than a loopback address needs tls and users."`
	Writable    bool            `yaml:"writable" doc:"Let clients add, change and delete the files of jobs."`
	StateDir    string          `yaml:"state_dir" doc:"The folder for what people want of jobs: which are paused or stopped; not set, the default of run.state_dir."`
	StopTimeout time.Duration   `yaml:"stop_timeout" rule:"min=1s" doc:"How long a run may take to end when its job is paused, stopped or changed, or the service ends; then what is under way is cut off."`
	Pprof       bool            `yaml:"pprof" doc:"Serve profiles of the process under /debug/pprof, to users with the role operate."`
	TLS         ServerTLS       `yaml:"tls" doc:"The certificate of the service, and whose certificates its clients may show."`
	Users       map[string]User `yaml:"users" doc:"Who may use the service, by name. Without any, everybody may who can connect, which only a loopback address allows."`
	Limits      ServerLimits    `yaml:"limits" doc:"What all jobs may take together."`
}

// ServerTLS is the `server.tls` section.
type ServerTLS struct {
	CertFile     string `yaml:"cert_file" doc:"PEM file of the certificate, with those between it and its authority behind it. It is read again when it changes."`
	KeyFile      string `yaml:"key_file" doc:"PEM file of the certificate's key."`
	ClientCAFile string `yaml:"client_ca_file" doc:"PEM file of the authorities of clients' certificates, for users with certificate."`
}

// Role is what a user may do.
type Role string

// The roles.
const (
	RoleRead    Role = "read"    // look at jobs
	RoleOperate Role = "operate" // drive them as well
)

// User is one of `server.users`.
type User struct {
	Role         Role        `yaml:"role" rule:"required,oneof=read operate" doc:"What the user may do: look at jobs (read), or drive them as well (operate)."`
	PasswordHash spec.Secret `yaml:"password_hash" doc:"The bcrypt hash of the user's password, for basic authentication, as htpasswd -nB writes it."`
	Token        spec.Secret `yaml:"token" rule:"omitempty,min=16" doc:"The token that the user sends as Authorization: Bearer."`
	Certificate  string      `yaml:"certificate" doc:"The common name of the certificate that the user shows."`
}

// ServerLimits is the `server.limits` section.
type ServerLimits struct {
	Memory          int64   `yaml:"memory" rule:"min=0" doc:"The most that run.memory of the jobs that run at once may come to, in bytes; further runs wait for their turn. 0 is no limit."`
	EventsPerSecond float64 `yaml:"events_per_second" rule:"min=0" doc:"Events sent per second by all jobs together; 0 is no limit."`
}

// Authenticated reports whether clients must say who they are.
func (s *Server) Authenticated() bool { return len(s.Users) > 0 }

// Encrypted reports whether the service has a certificate.
func (s *Server) Encrypted() bool { return s.TLS.CertFile != "" }

// serverFile is the whole of a service's file.
type serverFile struct {
	Server Server `yaml:"server" doc:"How a service of many jobs is reached, and what its jobs may take together."`
}

func newServerFile() *serverFile {
	return &serverFile{Server{Listen: "127.0.0.1:8083", StopTimeout: 30 * time.Second}}
}

// DescribeServer lists everything that a service's file can say.
func DescribeServer() []spec.Setting { return spec.Describe(newServerFile()) }

// serverPrefix begins the variables of the environment that are the service's.
const serverPrefix = "server"

// LoadServer reads the file of a service, if in has one, and the settings of the environment and of flags. It is nil where a diagnostic is
// an error.
func LoadServer(in Input) (*Server, spec.Diagnostics) {
	if in.Env == nil {
		in.Env = lookupIn(in.Environ)
	}
	if in.Registry == nil {
		in.Registry, _ = syncd.NewRegistry() // without plugins it can't fail
	}
	l := &loader{in: in}
	if in.Path != "" {
		l.files(in.Path)
	}
	files, _, err := merge(l.layers)
	if err == nil {
		environment, flags := &spec.Node{Kind: spec.Map}, &spec.Node{Kind: spec.Map}
		for _, v := range l.variables() {
			if v.path[0] == serverPrefix {
				set(environment, v.path, scalarFrom(envSource+v.name, v.value))
			}
		}
		for _, o := range in.Overrides {
			set(flags, o.Path, scalarFrom("flag "+o.Flag, o.Value))
		}
		var all *spec.Node
		var diags spec.Diagnostics
		if all, diags, err = merge(append(l.layers, environment, flags)); err == nil {
			l.diags = append(l.diags, diags...)
			all.Pos = files.Pos
			f, d := newServerFile(), spec.NewDecoder()
			d.Decode(all, f)
			l.diags = append(l.diags, d.Diagnostics()...)
			if diags := l.finish(); !diags.HasErrors() {
				return &f.Server, diags
			}
			return nil, l.diags.Sorted()
		}
	}
	return nil, append(l.diags, spec.Diagnostic{Severity: spec.Error, Code: spec.CodeSyntax, Message: err.Error()}).Sorted()
}

// CheckConfig implements spec.SelfChecker. It completes Listen.
func (s *Server) CheckConfig(d *spec.Decoder, n *spec.Node) {
	listen, ok := listenAddress(d, n.Get("listen"), "listen", s.Listen)
	if !ok {
		return
	}
	s.Listen = listen
	host, _, _ := net.SplitHostPort(listen)
	if !isLoopbackHost(host) {
		var lacks []string
		if !s.Encrypted() {
			lacks = append(lacks, "server.tls, with a certificate")
		}
		if !s.Authenticated() {
			lacks = append(lacks, "server.users")
		}
		if len(lacks) > 0 {
			d.In("listen", func() {
				d.Errorf(n.Get("listen"), spec.CodeBadValue, "set "+strings.Join(lacks, " and ")+"; or listen on 127.0.0.1, behind a proxy that does both",
					"%s: others than this machine can connect to %s, where everybody could read and drive the jobs", d.Path(), listen)
			})
		}
	}
	d.In("tls", func() { s.TLS.check(d, n.Get("tls")) })
	d.In("users", func() { s.checkUsers(d, n.Get("users")) })
}

func (t *ServerTLS) check(d *spec.Decoder, n *spec.Node) {
	missing := func(field, beside string) {
		d.Errorf(n, spec.CodeMissingField, "set both", "%s.%s is needed beside %s", d.Path(), field, beside)
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		missing("key_file", "cert_file")
	case t.KeyFile != "" && t.CertFile == "":
		missing("cert_file", "key_file")
	case t.ClientCAFile != "" && t.CertFile == "":
		missing("cert_file", "client_ca_file")
	}
	if t.ClientCAFile == "" {
		return
	}
	if text, err := os.ReadFile(t.ClientCAFile); err == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		if block, _ := pem.Decode(text); block == nil {
			d.In("client_ca_file", func() {
				d.Errorf(n.Get("client_ca_file"), spec.CodeBadValue, "it must be a PEM file", "there is no certificate in the file of %s", d.Path())
			})
		}
	}
}

func (s *Server) checkUsers(d *spec.Decoder, n *spec.Node) {
	tokens, certificates := map[spec.Secret]string{}, map[string]string{}
	for _, e := range entries(n) {
		u, ok := s.Users[e.Name]
		if !ok {
			continue
		}
		d.In(e.Name, func() {
			given := 0
			for _, way := range []bool{u.PasswordHash != "", u.Token != "", u.Certificate != ""} {
				if way {
					given++
				}
			}
			switch {
			case given == 0:
				d.Errorf(e.Value, spec.CodeMissingField, "set password_hash, token or certificate", "%s has no way to say who they are", d.Path())
			case u.Certificate != "" && s.TLS.ClientCAFile == "":
				d.Errorf(e.Value.Get("certificate"), spec.CodeNoEffect, "set server.tls.client_ca_file", "%s.certificate: nobody's certificates are accepted", d.Path())
			}
			if strings.Contains(e.Name, ":") && u.PasswordHash != "" {
				d.Errorf(e.Value, spec.CodeBadValue, "choose another name", "%s: a name for basic authentication can't hold a colon", d.Path())
			}
			if u.PasswordHash != "" {
				if _, err := bcrypt.Cost([]byte(u.PasswordHash.Reveal())); err != nil {
					d.In("password_hash", func() {
						d.Errorf(e.Value.Get("password_hash"), spec.CodeBadValue, "htpasswd -nB NAME makes one", "%s is not a bcrypt hash", d.Path())
					})
				}
			}
			if other := tokens[u.Token]; u.Token != "" && other != "" {
				d.Errorf(e.Value.Get("token"), spec.CodeBadValue, "give each user a token of their own", "%s.token is that of %s, too", d.Path(), other)
			}
			if other := certificates[u.Certificate]; u.Certificate != "" && other != "" {
				d.Errorf(e.Value.Get("certificate"), spec.CodeBadValue, "name each certificate once", "%s.certificate is that of %s, too", d.Path(), other)
			}
			tokens[u.Token], certificates[u.Certificate] = e.Name, e.Name
		})
	}
}

// entries are those of a block, in the order of their names.
func entries(n *spec.Node) []spec.Entry {
	if n == nil {
		return nil
	}
	return slices.SortedFunc(slices.Values(n.Entries), func(a, b spec.Entry) int { return strings.Compare(a.Name, b.Name) })
}

// isLoopbackHost reports whether only this machine can connect to a host.
func isLoopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
