//go:build !ferretdb_sqlite

package mongoserver_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/sandbox/mongoserver"
)

func TestStartNamesTheTag(t *testing.T) {
	_, err := mongoserver.Start(t.Context(), mongoserver.Config{})
	if !errors.Is(err, mongoserver.ErrNotBuilt) || !strings.Contains(err.Error(), "-tags ferretdb_sqlite") {
		t.Errorf("got %v, want ErrNotBuilt, which names the tag", err)
	}
}
