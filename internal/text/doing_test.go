package text_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/syncd-io/syncd/internal/text"
)

func TestDoingSaysItOnce(t *testing.T) {
	cause := errors.New("no such file")
	counting := fmt.Errorf("counting collection page: %w", cause)
	for _, c := range []struct {
		err  error
		want string
	}{
		{cause, "counting collection page: no such file"},
		{counting, "counting collection page: no such file"},
		{text.Doing(counting, "counting collection page"), "counting collection page: no such file"},
		{fmt.Errorf("counting collection pages: %w", cause), "counting collection page: counting collection pages: no such file"},
		{fmt.Errorf("a file: %w", counting), "counting collection page: a file: counting collection page: no such file"},
		{errors.New("counting collection page"), "counting collection page: counting collection page"},
	} {
		got := text.Doing(c.err, "counting collection %s", "page")
		if got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
