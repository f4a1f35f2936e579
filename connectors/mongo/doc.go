// Package mongo is the source that reads a MongoDB database, through the official driver.
//
// A collection is divided at sampled ids into splits, each read by one cursor in the order of _id. While the engine handles
// what a server sent, the next is asked for.
// Changes are followed by change streams, one for the database where the user's rights reach so far.
//
// Invariants:
//   - a read is in the order of _id and loses nothing: ranges are set by min and max on the _id index, never by $gt or $lt,
//     which compare within one BSON type only, so that documents with ids of other types would be lost in silence;
//   - min and max are used only where this server was seen to obey them; elsewhere a collection is one split, and a read
//     that starts in the middle begins at the start and skips;
//   - splits are bounded by ids that were there, never by arithmetic on ids, and the last one ends behind the last _id
//     that there was then, so that a run ends though documents keep coming;
//   - an offset is the key of the change in front of it, and a split without bounds can be read without Splits;
//   - order is the server's. Where this package compares ids itself, it is for a document's place relative to a bound, and
//     not in text whose collation it doesn't know;
//   - a lost cursor, a failover or a cut connection continues behind the last document, and loses or repeats nothing;
//   - a read has at most two replies of the server in memory beside the batch that it builds, and its goroutine ends with it;
//   - a position in a stream is the server's own, passed on byte by byte, with a sum: a damaged one is lost, never another place;
//   - behind every position lie all the changes that were not handed over with it; a piece of an event has none;
//   - what a stream can't tell (an image that is missing, an event that is too large) is read by its key, or the position is lost:
//     it is never taken for a delete, and never passed over;
//   - errors are told apart by code, label and type, never by their text;
//   - the connection string is a secret: neither it nor its password is part of an error or a notice;
//   - configuration is checked without connecting, and without asking DNS.
package mongo
