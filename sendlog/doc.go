// Package sendlog keeps a small local record of documents that were sent and have not been seen in the index since, so that
// a run need not send for ever what the indexer never indexes, such as documents without text. It also counts the deletes of
// orphans, so that a run need not delete for ever what the indexer never removes.
//
// Invariants:
//   - the record never says what is in the index: the index does, and an entry is removed when the index shows the document;
//   - a document is left alone only if it was sent Config.Max times in the version that it still has;
//   - an orphan is left alone only if its delete was sent Config.Max times; a delete counts as a version of its own, so that
//     neither the delete of a document nor its insertion afterwards is held up by what was sent before;
//   - the entry of a delete is removed 90 days after it was last sent, when the record is opened to be written;
//   - if the record is lost, those documents are sent again as often, and nothing else happens;
//   - a record belongs to one index, and one process uses it at a time;
//   - what was sent is in the file when Sent returns, and survives the end of the process; memory does not grow with the record.
//
// The record is a bbolt file in which a point id leads to an entry.
package sendlog
