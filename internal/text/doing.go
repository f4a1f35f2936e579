package text

import (
	"fmt"
	"strings"
)

// Doing says what was being done when err came up, unless err begins with just that: whoever did it may have said so, and one who
// reads it twice looks for two failures.
func Doing(err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...) + ": "
	if strings.HasPrefix(err.Error(), what) {
		return err
	}
	return fmt.Errorf("%s%w", what, err)
}
