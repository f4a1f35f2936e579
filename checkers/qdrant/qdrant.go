// Package qdrant is the checker that asks a Qdrant collection which points it holds, over gRPC.
//
// Invariants:
//   - a point is Missing only if Qdrant answered a request that named it and left it out, or said that the collection
//     does not exist while on_missing_collection allows that; whatever else happens is an error;
//   - a collection that was there and no longer is, is an error: a collection deleted in mid-run must not look like an
//     index that lost every document;
//   - each id is asked once per batch, and an answer about an id that was not asked is an error;
//   - at most concurrency requests are in flight, over all calls of one checker;
//   - a listing ends without an error only at the end of what it was to list, and takes an answer in another order than
//     Qdrant's for an error rather than for an end;
//   - no vector is ever read, and of payload only the keys that were asked for;
//   - no error and no notice shows the API key;
//   - Close leaves no goroutine and no connection behind.
package qdrant

import (
	"context"

	"github.com/syncd-io/syncd"
)

// Plugin declares the checker.
func Plugin() syncd.Plugin {
	return syncd.NewChecker("qdrant", "Asks a Qdrant collection which points it holds.", defaults(),
		func(ctx context.Context, config Config, env syncd.Env) (syncd.Checker, error) {
			c, err := open(ctx, config, env.Logger)
			if err != nil {
				return nil, err
			}
			c.retried, c.adapted = env.Retried, env.Adapted // nothing is asked twice while it opens
			return c, nil
		}).WithLabel("Qdrant").WithVersion("1", syncd.Stable)
}
