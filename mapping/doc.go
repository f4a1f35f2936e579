// Package mapping says which collections are read, what the index calls their documents, and how a document's point id is
// made. It is the only place where a point id is made.
//
// Invariants:
//   - a point id is UUIDv5(namespace, seed) and depends on nothing but the rule and the record;
//   - rendering is deterministic, never panics, and allocates nothing once its buffer has grown;
//   - a rule that compiled can be used by any number of goroutines;
//   - a record that lacks what its seed needs is an error, never a seed with a gap.
package mapping
