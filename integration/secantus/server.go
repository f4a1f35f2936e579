// Package secantus runs SecantusDB (PyPI), a server for MongoDB's protocol that keeps its collections in WiredTiger, the
// storage engine of MongoDB itself. It needs Python 3.11 or newer, with pip for the first time.
package secantus

import (
	"context"
	_ "embed"
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

// Server is a running server.
type Server struct {
	addr    string
	process *process.Process
}

// Start fetches the server if need be, and starts it with its data in an empty folder and with arguments of its own.
func Start(ctx context.Context, dir string, args ...string) (*Server, error) {
	packages, err := process.Pip(ctx, "secantusdb", requirements)
	if err != nil {
		return nil, err
	}
	s := &Server{}
	if s.addr, err = process.FreeAddr(ctx); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "main.py")
	if err := os.WriteFile(file, program, 0o600); err != nil {
		return nil, fmt.Errorf("preparing SecantusDB: %w", err)
	}
	s.process, err = process.Start(ctx, process.Config{
		Name: "SecantusDB", Path: "python3",
		Args:  append([]string{file, "--host", host, "--port", port, "--storage-path", filepath.Join(dir, "data"), "--log-level", "WARNING"}, args...),
		Env:   []string{"PYTHONPATH=" + packages},
		Ready: s.ready,
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) ready(ctx context.Context) error {
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	return client.Ping(ctx, nil)
}

// URI is the server's connection string, without a database.
func (s *Server) URI() string { return "mongodb://" + s.addr + "/" }

// Close ends the server.
func (s *Server) Close() error { return s.process.Stop() }

// Log is the end of what the server has printed.
func (s *Server) Log() string { return s.process.Log() }
