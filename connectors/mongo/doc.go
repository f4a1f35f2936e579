// Package mongo is the source that reads a MongoDB database, through the official driver.
//
// Invariants:
//   - a scan is in the order of _id and loses nothing: ranges are set by min and max on the _id index, never by $gt or $lt,
//     which compare within one BSON type only, so that documents with ids of other types would be lost in silence;
//   - min and max are used only where this server was seen to obey them; elsewhere a scan that starts in the middle reads
//     from the start and skips;
//   - a lost cursor, a failover or a cut connection continues behind the last record, and loses or repeats nothing;
//   - errors are told apart by code, label and type, never by their text;
//   - the connection string is a secret: neither it nor its password is part of an error;
//   - configuration is checked without connecting, and without asking DNS.
package mongo
