// Package attempts keeps a small local record of documents that were sent and have not been seen in the index since, so that
// a run need not send for ever what the indexer never indexes, such as documents without text.
//
// Invariants:
//   - it never says what is in the index: the index does, and an entry goes as soon as the index shows the document;
//   - a document is left alone only if it was sent at least so many times in the version that it still has;
//   - losing the record costs no more than that those documents are sent again as often;
//   - a record belongs to one index, and one process uses it at a time;
//   - with nothing recorded, looking at a document costs one comparison, and no disk is touched.
//
// The record is a bbolt file. A point id (16 bytes) leads to the number of sends (uvarint), the hash of the document's
// version when it was last sent (8 bytes), and the time of that (uvarint, seconds since 1970). Point ids are random, so that
// entering those of one write would touch most pages of the file; what a run sends and sees is therefore appended to a log,
// in one small transaction a write, and entered in the order of the ids when the record is closed (see fold).
package attempts
