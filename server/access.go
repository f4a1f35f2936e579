package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/syncd-io/syncd/internal/text"
)

// User is somebody who may use the service. Each way of saying who they are may be empty.
type User struct {
	Name         string
	Operate      bool // drive jobs, and not only look at them
	PasswordHash []byte
	Token        string
	Certificate  string // common name
}

// Access says who may do what. Without users everybody may do everything, which is for listeners that only this machine can connect to:
// then the name of the host that a request is for must be one of a loopback address, so that no page of another site can reach the service
// by a name of its own.
type Access struct {
	users  []User
	log    *slog.Logger
	origin *http.CrossOriginProtection

	decoy   []byte        // takes as long to compare as the hash of a user, so that the time does not tell which users there are
	hashing chan struct{} // bounds what passwords may cost
	key     [32]byte      // of what is remembered of passwords
	mu      sync.Mutex
	proved  map[[32]byte]bool // hashes of what users have proved to know
}

const (
	maxHashing = 4    // passwords that are checked at once
	maxProved  = 1000 // before what is remembered is forgotten
)

// nobody is the hash that the password of an unknown user is compared with, where no user has one.
var nobody = []byte("$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy")

// NewAccess returns the access of these users. What they do, and who is refused, is logged.
func NewAccess(users []User, log *slog.Logger) *Access {
	a := &Access{users: users, log: log, origin: http.NewCrossOriginProtection(), decoy: nobody, hashing: make(chan struct{}, maxHashing), proved: map[[32]byte]bool{}}
	_, _ = rand.Read(a.key[:]) // it never fails
	most := 0
	for _, u := range users {
		if cost, err := bcrypt.Cost(u.PasswordHash); err == nil && cost > most {
			a.decoy, most = u.PasswordHash, cost
		}
	}
	return a
}

type callerKey struct{}

// caller is who makes a request.
type caller struct {
	name    string
	operate bool
}

// Who is the name of the user who makes a request; empty where nobody has to say it.
func Who(ctx context.Context) string {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c.name
}

// CanOperate reports whether who makes a request may drive jobs.
func CanOperate(ctx context.Context) bool {
	c, ok := ctx.Value(callerKey{}).(caller)
	return !ok || c.operate // a handler without access has no users
}

// guard lets a request through to next if who makes it may do that.
func (a *Access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProbe(r) {
			next.ServeHTTP(w, r)
			return
		}
		began := time.Now()
		c, problem := a.admit(r)
		if problem == "" {
			if err := a.origin.Check(r); err != nil {
				problem = "it comes from a page of another site"
			}
		}
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		switch {
		case problem == "" && changes(r) && !c.operate:
			refuse(status, http.StatusForbidden, c.name+" may look at jobs, and not drive them: that takes the role operate")
		case problem == "":
			next.ServeHTTP(status, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
		case problem == unknownCaller:
			w.Header().Set("WWW-Authenticate", `Basic realm="syncd", charset="UTF-8"`)
			refuse(status, http.StatusUnauthorized, problem)
		default:
			refuse(status, http.StatusForbidden, problem)
		}
		if changes(r) || status.status == http.StatusUnauthorized || status.status == http.StatusForbidden {
			a.log.Info("request", "user", text.Line(c.name), "method", text.Line(r.Method), "path", text.Line(r.URL.Path), "status", status.status,
				"from", r.RemoteAddr, "took", time.Since(began).Round(time.Millisecond).String())
		}
	})
}

const unknownCaller = "say who you are: a user and a password, a token or a certificate"

// admit finds out who makes a request, or says why it is refused.
func (a *Access) admit(r *http.Request) (c caller, problem string) {
	if len(a.users) == 0 {
		if !isLoopbackName(r.Host) {
			return c, "it is for " + text.Line(r.Host) + ", which is no name of this service: use 127.0.0.1 or localhost"
		}
		return caller{operate: true}, ""
	}
	i := -1
	switch name, password, basic := r.BasicAuth(); {
	case basic:
		i = a.byPassword(r.Context(), name, password)
	case r.Header.Get("Authorization") != "":
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "Bearer") {
			i = a.byToken(strings.TrimSpace(token))
		}
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		cn := r.TLS.VerifiedChains[0][0].Subject.CommonName
		i = slices.IndexFunc(a.users, func(u User) bool { return u.Certificate != "" && u.Certificate == cn })
	}
	if i < 0 {
		return c, unknownCaller
	}
	return caller{a.users[i].Name, a.users[i].Operate}, ""
}

// byPassword returns the index of the user with that password, or -1. A password that was right is remembered for the life of the process,
// by a hash with a key that only it has, since bcrypt takes long on purpose.
func (a *Access) byPassword(ctx context.Context, name, password string) int {
	i := slices.IndexFunc(a.users, func(u User) bool { return u.Name == name && len(u.PasswordHash) > 0 })
	hash := a.decoy
	if i >= 0 {
		hash = a.users[i].PasswordHash
	}
	known := sha256.Sum256(bytes.Join([][]byte{a.key[:], []byte(name), hash, []byte(password)}, []byte{0}))
	a.mu.Lock()
	proved := a.proved[known]
	a.mu.Unlock()
	if proved {
		return i
	}
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
	case <-ctx.Done():
		return -1
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil || i < 0 {
		return -1
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.proved) >= maxProved {
		clear(a.proved)
	}
	a.proved[known] = true
	return i
}

// byToken returns the index of the user with that token, or -1. It takes the same time for all.
func (a *Access) byToken(token string) int {
	given, found := sha256.Sum256([]byte(token)), -1
	for i, u := range a.users {
		own := sha256.Sum256([]byte(u.Token))
		if u.Token != "" && subtle.ConstantTimeCompare(given[:], own[:]) == 1 {
			found = i
		}
	}
	return found
}

// changes reports whether a request may do more than look: by its method, but for what Kafka Connect's clients ask that way, and for
// profiles, which slow the process down and show its memory.
func changes(r *http.Request) bool {
	switch {
	case strings.HasPrefix(r.URL.Path, "/debug/"):
		return true
	case r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/connector-plugins/") && strings.HasSuffix(strings.TrimRight(r.URL.Path, "/"), "/config/validate"):
		return false
	}
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodOptions
}

// isProbe reports whether a request asks what an orchestrator asks, which has no password.
func isProbe(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz")
}

// isLoopbackName reports whether a host, perhaps with a port, is this machine for itself.
func isLoopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// refuse answers in the form of Kafka Connect's errors, which all clients of the service take.
func refuse(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(struct { // whoever asked may have gone
		Code    int    `json:"error_code"`
		Message string `json:"message"`
	}{code, message})
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(code int) {
	w.status = code
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
