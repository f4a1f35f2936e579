// Package bsondoc says what a BSON document looks like to syncd: which text an
// _id has, which JSON an event carries, how a field is found and how a key is
// stored. The MongoDB and the file connector share it, so that a document read
// from a server and the same document read from a dump give the same events.
//
// Invariants:
//
//   - Id texts never change. A point id is derived from the text of the _id, so
//     another text for the same _id would index the document a second time. The
//     tables in this package's tests are that promise; edit them only to add.
//   - No input panics. A [bson.Raw] may come from a damaged file, and the
//     driver's accessors panic or misread on short data, so every read here is
//     checked against the bytes that are really there.
//   - Nothing is repaired in silence. Text that is not UTF-8 and bytes that are
//     not BSON are errors that name the field; they are never replaced or cut.
//   - Nothing is decoded into Go values. Functions append to the caller's slice
//     and allocate only when it is too small, or for an error.
//
// Every function is pure: it keeps no reference to its arguments, except where
// it says that a result aliases them, and it is safe for concurrent use.
package bsondoc
