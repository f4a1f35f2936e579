//go:build ferretdb_sqlite

package mongoserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// newMu guards ferretdb.New, which writes to a variable of the whole program; two
// servers started at once would race.
var newMu sync.Mutex

// Server is a running server. Its methods may be called from several goroutines.
type Server struct {
	uri, addr string
	cancel    context.CancelFunc
	closed    func() error
}

// Start starts a server. ctx bounds the start only; Close ends the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("starting an embedded MongoDB server: %w", err)
	}
	addr := cfg.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	if err := checkAddr(addr); err != nil {
		return nil, fmt.Errorf("starting an embedded MongoDB server: %w", err)
	}
	dir, remove, err := makeDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("starting an embedded MongoDB server: %w", err)
	}

	listener := ferretdb.ListenerConfig{TCP: addr}
	if cfg.CertFile != "" {
		listener = ferretdb.ListenerConfig{TLS: addr, TLSCertFile: cfg.CertFile, TLSKeyFile: cfg.KeyFile, TLSCAFile: cfg.CAFile}
	}
	newMu.Lock()
	db, err := ferretdb.New(&ferretdb.Config{
		Listener:  listener,
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: sqliteURL(dir),
	})
	newMu.Unlock()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting an embedded MongoDB server on %s: %w", addr, err), remove())
	}

	runCtx, cancel := context.WithCancel(context.Background())
	s := &Server{uri: db.MongoDBURI(), cancel: cancel}
	if u, err := url.Parse(s.uri); err == nil {
		s.addr = u.Host
	}
	done := make(chan error, 1)
	go func() { done <- db.Run(runCtx) }()
	s.closed = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, remove())
	})
	return s, nil
}

// URI returns the connection string of the server, without a database.
func (s *Server) URI() string { return s.uri }

// Addr returns the host:port the server listens on.
func (s *Server) Addr() string { return s.addr }

// Close stops the server and waits until it has stopped. Clients that are still
// connected get three seconds (FerretDB's own grace) before they are cut off, so
// disconnect them first where time matters. Close may be called again.
func (s *Server) Close() error {
	if err := s.closed(); err != nil {
		return fmt.Errorf("stopping the embedded MongoDB server: %w", err)
	}
	return nil
}

// checkAddr refuses what FerretDB must not be asked for: an address others can
// reach, since the server knows no login, and one that is taken, since FerretDB
// leaves its backend open when it can't listen and a finalizer of that backend
// then panics at some later garbage collection.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("reading the address: %s is not a loopback address", addr)
	}
	if port == "0" {
		return nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("trying the address: %w", err)
	}
	return l.Close()
}

// makeDir returns the absolute path of the data directory and what is to be done
// with it in the end.
func makeDir(dir string) (path string, remove func() error, err error) {
	if dir == "" {
		if path, err = os.MkdirTemp("", "syncd-mongo-"); err != nil {
			return "", nil, fmt.Errorf("creating a data directory: %w", err)
		}
		return path, func() error { return os.RemoveAll(path) }, nil
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", nil, fmt.Errorf("finding the data directory: %w", err)
	}
	// FerretDB hands the path on as a part of a SQLite URI without escaping it.
	if strings.ContainsAny(path, "?#%") {
		return "", nil, fmt.Errorf("finding the data directory: %s contains one of ?, # and %%", path)
	}
	if err = os.MkdirAll(path, 0o700); err != nil {
		return "", nil, fmt.Errorf("creating a data directory: %w", err)
	}
	return path, func() error { return nil }, nil
}

// sqliteURL returns FerretDB's name for a directory of SQLite files.
func sqliteURL(dir string) string {
	pragmas := url.Values{"_pragma": {
		"busy_timeout(10000)", // before WAL, or switching to it can fail as busy
		"journal_mode(wal)",
		"synchronous(off)", // a crash of the machine may cost a sandbox its data
	}}
	return "file:" + filepath.ToSlash(dir) + "/?" + pragmas.Encode()
}
