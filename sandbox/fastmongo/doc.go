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
//   - Close returns when the listener, all connections and all goroutines are gone;
//   - change streams: events have the order of the changes, and a time that goes up; a reply's token is behind all that the reply
//     holds, and nothing is missing behind it; what the oplog has forgotten is an error (286), never a gap.
//
// # Change streams
//
// With Config.ReplicaSet the server is a replica set of one: it has an oplog, change streams, retryable writes and transactions.
//
//	s, err := fastmongo.Start(ctx, fastmongo.Config{ReplicaSet: "rs", Oplog: fastmongo.Oplog{Entries: 1000}})
//	client, err := mongo.Connect(options.Client().ApplyURI(s.URI()))
//
// What a test writes with Put, Insert, Delete, Rename, Drop and DropDatabase is an event as what a client writes is. Without
// ReplicaSet $changeStream fails as on a standalone server (40573); [Quirks] has servers that lack parts of it.
//
// What can go wrong with a stream:
//
//	s.Inject(fastmongo.StreamError("getMore", 2, 136))  // the next two getMores of streams fail, other cursors' do not
//	s.Inject(fastmongo.StreamError("aggregate", 1, 260)) // opening one fails
//	s.Inject(fastmongo.StreamError("getMore", 1, 189, fastmongo.ResumableLabel)) // the driver resumes by itself
//	s.Inject(fastmongo.NotAuthorized("aggregate", "getMore")) // rights were taken away
//	s.Inject(fastmongo.Fault{Streams: true, Silent: true})    // one command is never answered
//	s.Inject(fastmongo.Fault{Streams: true, Reset: true})     // the connection is cut
//	s.TruncateOplog()             // 286 for tokens and times from before, and for streams that had not read it all
//	s.KillCursors()               // 43, or 237 where a getMore waits
//	s.CloseConnections()
//	s.GoDown(); s.ComeUp(ctx)     // a restart, which keeps documents and the oplog
//	s.Election(3 * time.Second)   // 11602 where a getMore waits, then no primary for three seconds
//	s.HoldStreams(true)           // no majority: writes go on, streams are silent, and so is hello's majorityOpTime
//	s.WriteNoop()                 // time goes on, nothing happens; Oplog.Noop does so all the time
//
// The command configureFailPoint (failCommand, failGetMoreAfterCursorCheckout) does the same for tests that run on other servers
// too. The collection local.oplog.rs has the oplog's times.
//
// The form of events, tokens and errors is that of MongoDB's sources and of what was measured on it: in a transaction's events
// txnNumber and lsid stand before _id, and in a rename's event to does. A token's bytes are MongoDB's, but for the document's key,
// which is not in it.
//
// Where it differs from MongoDB: there are no secondary indexes, no read concern and no second member. Of updates it knows $set,
// $unset, $inc and $push, and pipelines of $set and $unset; of a stream's stages $match, $project, $unset and
// $changeStreamSplitLargeEvent; of expanded events only create. Write conflicts of transactions come up at the commit. Images are
// kept as long as their events. Collations other than the simple one are refused. Sessions end nothing.
package fastmongo
