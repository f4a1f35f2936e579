// Package mongotest says, as tests, which behaviours of a MongoDB server syncd relies on. The same suite runs against
// package fastmongo, against FerretDB, against a server in Java that nobody here wrote, and against any server that
// SYNCD_TEST_MONGO_URI names. What a server can't do stands in Target.Except, with the reason.
//
// [ChangeStreams] says the same of change streams, for servers that have them: package fastmongo, SecantusDB and yours. What a
// server does otherwise stands in StreamTarget.Differs; the checks that are named there must fail.
//
// Invariants:
//   - a case needs nothing but the protocol: all it knows of a server is its address;
//   - an exception is narrow: one case, or one BSON type, and it names one that exists;
//   - a case fails rather than hangs: each has a deadline.
package mongotest
