//go:build ferretdb_sqlite

package security_test

import (
	"testing"

	"github.com/syncd-io/syncd/sandbox/certs"
	"github.com/syncd-io/syncd/sandbox/mongoserver"
)

var startFerretDB mongoStarter = func(t *testing.T, cert *certs.Certificate, clients *certs.Authority) string {
	t.Helper()
	var cfg mongoserver.Config
	if cert != nil {
		cfg.CertFile, cfg.KeyFile = cert.CertFile, cert.KeyFile
	}
	if clients != nil {
		cfg.CAFile = clients.File
	}
	s, err := mongoserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Addr()
}
