// Package postgres runs PostgreSQL: version 15 as Debian has it (apt install postgresql-15), or version 16 with the extension
// pgvector, which bookworm has no package of, from the wheel pgserver (PyPI).
package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/syncd-io/syncd/integration/process"
)

//go:embed requirements.txt
var requirements []byte

// Kind is which PostgreSQL to run.
type Kind string

// The kinds.
const (
	Debian   Kind = "PostgreSQL 15"                // its texts are ordered as English dictionaries order words
	PGVector Kind = "PostgreSQL 16, with pgvector" // its texts are ordered by their bytes
)

// Server is a running server.
type Server struct {
	kind    Kind
	addr    string
	dir     string
	bin     string
	process *process.Process
}

// nobody is who runs a server that root starts: PostgreSQL refuses root.
const nobody = 65534

// Start makes a cluster in an empty folder and starts a server on it. settings are such as wal_level=logical.
func Start(ctx context.Context, kind Kind, settings ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "syncd-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{kind: kind, dir: dir}
	if err = s.prepare(ctx); err == nil {
		err = s.start(ctx, settings)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

func (s *Server) prepare(ctx context.Context) error {
	var err error
	if s.addr, err = process.FreeAddr(ctx); err != nil {
		return err
	}
	locale := []string{"--locale=C.UTF-8"}
	switch s.kind {
	case Debian:
		s.bin = "/usr/lib/postgresql/15/bin"
		if _, err := os.Stat(filepath.Join(s.bin, "postgres")); err != nil {
			return fmt.Errorf("PostgreSQL 15 is not installed; it takes apt-get install postgresql-15: %w", err)
		}
		locale = append(locale, "--locale-provider=icu", "--icu-locale=en-US")
	case PGVector:
		packages, err := process.Pip(ctx, "pgserver", requirements)
		if err != nil {
			return err
		}
		// Whoever runs the server may not look into the folder of who fetched it.
		for _, part := range []string{"pgserver", "pgserver.libs"} { // programs find their libraries beside them
			if out, err := exec.CommandContext(ctx, "cp", "-a", filepath.Join(packages, part), s.dir).CombinedOutput(); err != nil { //nolint:gosec // for tests
				return fmt.Errorf("copying PostgreSQL: %w\n%s", err, out)
			}
			if err := os.Chmod(filepath.Join(s.dir, part), 0o755); err != nil { //nolint:gosec // others run it
				return err
			}
		}
		s.bin = filepath.Join(s.dir, "pgserver", "pginstall", "bin")
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { //nolint:gosec // whoever runs the server goes through it
		return err
	}
	if err := os.Mkdir(s.data(), 0o700); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if err := os.Chown(s.data(), nobody, nobody); err != nil {
			return err
		}
	}
	argv := s.argv(append([]string{"initdb", "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"}, locale...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // for tests
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a cluster: %w\n%s", err, out)
	}
	return nil
}

// argv is a command of PostgreSQL, as somebody who is not root.
func (s *Server) argv(command ...string) []string {
	command[0] = filepath.Join(s.bin, command[0])
	if os.Getuid() != 0 {
		return command
	}
	id := strconv.Itoa(nobody)
	return append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--"}, command...)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// ending runs a server that ends when standard input does, as all children of a test: PostgreSQL does not by itself.
const ending = `exec 3<&0; "$@" </dev/null & pid=$!; cat <&3 >/dev/null; kill -INT $pid; wait $pid`

func (s *Server) start(ctx context.Context, settings []string) error {
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	argv := s.argv("postgres", "-D", s.data(), "-p", port)
	for _, setting := range append([]string{"listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical", "fsync=off", "shared_buffers=64MB", "max_connections=200", "max_replication_slots=50", "max_wal_senders=50"}, settings...) {
		argv = append(argv, "-c", setting)
	}
	started, err := process.Start(ctx, process.Config{
		Name: string(s.kind), Path: "sh", Args: append([]string{"-c", ending, "sh"}, argv...), Ready: s.ready,
	})
	if err == nil {
		s.process = started
	}
	return err
}

func (s *Server) ready(ctx context.Context) error {
	c, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// Restart starts a server that has ended, on its data, at its address.
func (s *Server) Restart(ctx context.Context, settings ...string) error {
	return s.start(ctx, settings)
}

// DSN is the connection string of a database.
func (s *Server) DSN(database string) string {
	return "postgres://postgres@" + s.addr + "/" + database + "?sslmode=disable"
}

// Stop ends the server, and keeps its data.
func (s *Server) Stop() error { return s.process.Stop() }

// Kill ends the server without warning, and keeps its data.
func (s *Server) Kill() error {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing PostgreSQL: %w", err)
	}
	_ = s.process.Stop() // it says that its child was killed
	return nil
}

// Close ends the server and removes its data.
func (s *Server) Close() error { return errors.Join(s.process.Stop(), os.RemoveAll(s.dir)) }

// Log is the end of what the server has printed.
func (s *Server) Log() string { return s.process.Log() }
