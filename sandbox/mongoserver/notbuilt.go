//go:build !ferretdb_sqlite

package mongoserver

import "context"

// Server is a running server.
type Server struct{}

// Start returns ErrNotBuilt: the program was built without the tag ferretdb_sqlite.
func Start(context.Context, Config) (*Server, error) { return nil, ErrNotBuilt }

// URI returns the connection string of the server.
func (*Server) URI() string { return "" }

// Addr returns the host:port the server listens on.
func (*Server) Addr() string { return "" }

// Close stops the server.
func (*Server) Close() error { return nil }
