// Package qdrantserver is an embedded, in-memory server that speaks Qdrant's gRPC API.
//
// It exists so that the sandbox, the end-to-end tests and the benchmarks can talk to "a Qdrant" over a real
// connection without a container. It imitates what a client can observe of Qdrant 1.19: status codes, error
// texts, ordering, defaults and side effects. It is not a vector database: there is no search, no disk, no
// cluster. A method that is not imitated answers UNIMPLEMENTED, so that a test can never mistake a stub for
// an answer.
//
// Invariants that the files of this package rely on:
//
//   - A point is immutable once it is stored; an update replaces it. Readers may therefore hand its payload and
//     vectors to gRPC, which marshals after the lock has been given back.
//   - A pointID compares as Qdrant orders ids: every number before every UUID, then by value.
//   - Updates of one collection are applied in the order in which they were accepted, as they are from Qdrant's
//     write-ahead log. An update with wait=true therefore makes all earlier ones visible.
//   - Checks run in Qdrant's order: authentication, validation of the message, conversion of its parts,
//     existence of the collection, strict mode, write access, then the operation with its rate limit. Tests
//     compare which error wins.
//   - The package owns no goroutine but the one that serves; Close ends it.
//
// Package qdranttest holds the conformance suite that this server and a real Qdrant both have to pass.
package qdrantserver
