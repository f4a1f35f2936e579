package file

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// envelope is a line of format envelope, as appendEnvelope writes it.
type envelope struct {
	Collection  string          `json:"collection"`
	ContentType string          `json:"content_type"`
	ID          string          `json:"id"`
	IDBytes     []byte          `json:"id_base64"`
	Value       json.RawMessage `json:"value"`
	ValueBytes  []byte          `json:"value_base64"`
	Headers     []struct {
		Name       string `json:"name"`
		Value      string `json:"value"`
		ValueBytes []byte `json:"value_base64"`
	} `json:"headers"`
}

// deadLetters is the ability DeadLetters. A line without an envelope does not say why it is there, and is left out.
func (s *Sink) deadLetters(ctx context.Context, _ []syncd.Target) iter.Seq2[syncd.DeadLetter, error] {
	return func(yield func(syncd.DeadLetter, error) bool) {
		if err := s.readLetters(ctx, func(l syncd.DeadLetter) bool { return yield(l, nil) }); err != nil {
			yield(syncd.DeadLetter{}, fmt.Errorf("reading the dead letters in %s: %w", s.config.Path, err))
		}
	}
}

func (s *Sink) readLetters(ctx context.Context, yield func(syncd.DeadLetter) bool) error {
	switch {
	case s.config.Path == stdout:
		return errors.New("what was written to standard output can't be read back")
	case s.config.Format != formatEnvelope:
		return syncd.Hint(errors.New("lines of format value hold neither ids nor reasons"), "set errors.dead_letter.file.format: envelope")
	}
	f, err := os.Open(s.config.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			if l, ok := letterOf(line); ok {
				l.Place = fmt.Sprintf("%s:%d", s.config.Path, n)
				if !yield(l) {
					return nil
				}
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// letterOf is the dead letter of a line; ok is false where it is none.
func letterOf(line []byte) (l syncd.DeadLetter, ok bool) {
	var e envelope
	if json.Unmarshal(line, &e) != nil {
		return l, false // cut off, or another's
	}
	headers := make([]codec.Header, len(e.Headers))
	for i, h := range e.Headers {
		headers[i] = codec.Header{Name: h.Name, Value: h.Value}
		if h.ValueBytes != nil {
			headers[i].Value = string(h.ValueBytes)
		}
	}
	value := []byte(e.Value)
	if e.ValueBytes != nil {
		value = e.ValueBytes
	}
	l, ok = codec.ReadLetter(headers, nil, value)
	l.Collection, l.ContentType, l.ID = e.Collection, e.ContentType, e.ID
	if e.IDBytes != nil {
		l.ID = string(e.IDBytes)
	}
	return l, ok
}
