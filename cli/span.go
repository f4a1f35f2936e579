package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/syncd-io/syncd/spec"
)

// spanFlag is a flag for a time span, which is written as in a configuration: a plain number is seconds.
type spanFlag struct{ span *time.Duration }

func (f spanFlag) Type() string { return "duration" }

func (f spanFlag) String() string {
	if f.span == nil {
		return "0"
	}
	return f.span.String()
}

func (f spanFlag) Set(value string) error {
	span, _, ok := spec.ParseSpan(value)
	if !ok {
		return fmt.Errorf("it must be %s", spec.SpanForms)
	}
	*f.span = span
	return nil
}

// spanVar adds a flag for a time span.
func spanVar(fs *pflag.FlagSet, span *time.Duration, name string, value time.Duration, usage string) {
	*span = value
	fs.Var(spanFlag{span}, name, usage)
	if value <= 0 {
		fs.Lookup(name).DefValue = "0" // which help leaves out
	}
}
