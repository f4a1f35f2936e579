package qdrant

import (
	"errors"
	"fmt"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/dial"
	"github.com/syncd-io/syncd/internal/qdrantconn"
)

// redact takes the key out of what a server says, which may quote what it was sent.
func (c *checker) redact(text string) string {
	return dial.NewScrubber(c.conf.APIKey.Reveal()).Replace(text)
}

// fail makes an error of text.
func (c *checker) fail(hint, text string, causes ...error) error {
	err := qdrantconn.Failure(c.redact(text), causes...)
	if hint == "" {
		return err
	}
	return syncd.Hint(err, "%s", hint)
}

// explain turns the final error of a request into one for people. doing is a gerund phrase.
func (c *checker) explain(doing string, err error) error {
	text := doing + ": " + qdrantconn.Reason(err)
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return c.fail("look at Qdrant's log; retry.max_elapsed and timeout say how long syncd tries", text, syncd.ErrUnavailable, err)
	case codes.Unauthenticated:
		return c.unauthorized(doing, err)
	case codes.PermissionDenied:
		return c.forbidden(doing, err)
	case codes.ResourceExhausted:
		if limited, ok := errors.AsType[*qdrant.QdrantResourceExhaustedError](err); ok {
			hint := fmt.Sprintf("Qdrant asks to wait for %d s, longer than a run waits; run it again then", limited.RetryAfterS)
			if limited.RetryAfterS <= 0 {
				hint = "raise the limit in the collection's strict mode, or lower concurrency: it names no time to wait"
			}
			return c.fail(hint, text, syncd.ErrUnavailable, err)
		}
		return c.fail("raise the limit in the collection's strict mode, or lower concurrency", text, err)
	case codes.Internal, codes.Unknown, codes.Aborted: // doubtful, see qdrantconn.Classify
		return c.fail("look at Qdrant's log, and at the log of what stands in front of it", text, err)
	}
	return c.fail("", text, err)
}

func (c *checker) unauthorized(doing string, err error) error {
	hint := "set api_key to Qdrant's API key"
	if c.conf.APIKey != "" {
		hint = "compare api_key with Qdrant's service.api_key: it was sent and not accepted"
	}
	return c.fail(hint, doing+": the API key was refused: "+qdrantconn.Reason(err), err)
}

func (c *checker) forbidden(doing string, err error) error {
	return c.fail("use a key or token that is still valid and may read the collection "+c.conf.Collection,
		doing+": the API key does not allow it: "+qdrantconn.Reason(err), err)
}

// noCollection is the error for a collection that does not exist where that is not an empty index.
func (c *checker) noCollection(err error) error {
	return c.fail("create it, correct collection, or set on_missing_collection: empty to take it for an empty index",
		"asking Qdrant at "+c.ep.Addr()+": there is no collection \""+c.conf.Collection+"\"", err)
}
