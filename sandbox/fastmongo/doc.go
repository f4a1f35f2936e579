// Package fastmongo is a server for MongoDB's wire protocol, inside the calling process, for tests and benchmarks. It keeps
// small collections in memory, makes large ones up as they are read ([Generated]), answers faster than any client can
// ask, fails on demand ([Fault]), and counts what it does ([Counters]).
//
// It knows the part of MongoDB that reading a collection takes, and as much of writing as tests need to change one under a
// reader. What it does know, it does as MongoDB does, error codes included; package mongotest holds it to that, together
// with servers that nobody here wrote. What it does not know is an error, never a guess.
//
// Invariants:
//   - _id is ordered and compared as in MongoDB's index under the simple collation, exactly, across all types;
//   - a find that names an order by _id behaves like an index scan: under writes, documents that exist throughout are seen
//     exactly once, and no torn document is ever seen. A find without an order reads in the order of insertion, as of its
//     start, so that a client that forgets to sort is found out;
//   - a reply holds at most Config.ReplyBytes (16 MiB) of documents, but always one document;
//   - Close returns when the listener, all connections and all goroutines are gone.
//
// Where it differs from MongoDB: there are no secondary indexes, no transactions, no read concern and no replication; a
// replica set is only claimed. Collations other than the simple one are refused. Sessions end nothing.
package fastmongo
