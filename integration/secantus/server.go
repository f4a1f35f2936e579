// Package secantus runs SecantusDB (PyPI), a server for MongoDB's protocol that keeps its collections in WiredTiger, the
// storage engine of MongoDB itself. It needs Python 3.11 or newer, with pip for the first time.
package secantus

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/syncd-io/syncd/integration/process"
)

//go:embed requirements.txt
var requirements []byte

//go:embed main.py
var program []byte

// Durable is an argument of the server by which a write is on the disk before it is acknowledged. Without it the log is kept in
// memory for a moment, also at the end of a transaction.
const Durable = "--sync-on-commit"

// Server is a running server.
type Server struct {
	addr     string
	dir      string
	packages string
	process  *process.Process
}

// Start fetches the server if need be, and starts it with its data in an empty folder. args are those of its command line.
func Start(ctx context.Context, dir string, args ...string) (*Server, error) {
	packages, err := process.Pip(ctx, "secantusdb", requirements)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, packages: packages}
	if s.addr, err = process.FreeAddr(ctx); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.program(), program, 0o600); err != nil {
		return nil, fmt.Errorf("preparing SecantusDB: %w", err)
	}
	if err := s.start(ctx, args); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) program() string { return filepath.Join(s.dir, "main.py") }

func (s *Server) start(ctx context.Context, args []string) error {
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return err
	}
	started, err := process.Start(ctx, process.Config{
		Name: "SecantusDB", Path: "python3",
		Args:  append([]string{s.program(), "--host", host, "--port", port, "--storage-path", filepath.Join(s.dir, "data"), "--log-level", "WARNING"}, args...),
		Env:   []string{"PYTHONPATH=" + s.packages},
		Ready: s.ready,
	})
	if err == nil {
		s.process = started
	}
	return err
}

// Restart starts a server that has ended, on its data, at its address.
func (s *Server) Restart(ctx context.Context, args ...string) error { return s.start(ctx, args) }

const codeUnauthorized = 13

func (s *Server) ready(ctx context.Context) error {
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	err = client.Ping(ctx, nil)
	if refused, ok := errors.AsType[mongo.CommandError](err); ok && refused.Code == codeUnauthorized {
		return nil // it wants a login
	}
	return err
}

// URI is the server's connection string, without a database.
func (s *Server) URI() string { return "mongodb://" + s.addr + "/" }

// URIAs is that of a user of the database admin.
func (s *Server) URIAs(user, password string) string {
	return "mongodb://" + user + ":" + password + "@" + s.addr + "/?authSource=admin"
}

// Close ends the server.
func (s *Server) Close() error { return s.process.Stop() }

// Kill ends the server without warning. Unless it was started with Durable, it may have lost what it had acknowledged, and what its
// change streams had told.
func (s *Server) Kill() error { return s.process.Kill() }

// Log is the end of what the server has printed.
func (s *Server) Log() string { return s.process.Log() }
