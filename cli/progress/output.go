package progress

import (
	"io"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
)

// Output is standard error: what is written stands above the bars, if there are any. It is safe for concurrent use where the
// writer is.
type Output struct {
	stderr io.Writer
	bars   atomic.Pointer[mpb.Progress]
}

// NewOutput returns an output without bars.
func NewOutput(stderr io.Writer) *Output { return &Output{stderr: stderr} }

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	if bars := o.bars.Load(); bars != nil {
		if done, err := bars.Write(b); err == nil {
			return done, nil
		} // they are just gone
	}
	return o.stderr.Write(b)
}
