// Package postgres is the source that reads the tables and views of a PostgreSQL database, through pgx.
//
// A split is read by one statement in the order of its key. Values come as PostgreSQL's own texts, in a session whose settings make
// them the same everywhere, from snapshots as from the stream, so that a type that this package has never heard of is still the same
// text in both; types.go says what else is made of some of them.
//
// Invariants:
//   - a key is the texts of its columns; ids, offsets and bounds of splits are made of keys, and only the server compares them;
//   - readers of one table see one moment, and so does a statement: nothing moves from what is not read yet to what was;
//   - rows whose key holds NULL are behind all others in the last split, and are errors, never passed over;
//   - a filter is one expression, in parentheses; the server says whether it means something;
//   - a connection that is lost is replaced, and the read goes on behind the last row;
//   - what a policy of row level security would hide is an error;
//   - a position in the stream names its server and its timeline, and is lost where either is another;
//   - only what the reader has said to be durable is confirmed to the server.
package postgres
