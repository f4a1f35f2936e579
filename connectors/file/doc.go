// Package file is the source that reads a directory of exported collections, one file each, without a server: BSON as
// mongodump writes it, or Extended JSON with one document per line as mongoexport writes it. Names, folders and metadata mean
// what they mean to mongodump and mongorestore.
//
// Invariants:
//   - a file is read as a stream: memory is bounded by the largest document (and 64 MiB for indexes), whatever the file says about its sizes;
//   - the order of a read is the order of the file, and a key is a position in it, so a read resumes and a document is
//     fetched without reading what stands before; an offset is the key of the change in front of it;
//   - an uncompressed file is divided between documents, so that several readers read it. Read one after the other its splits are the
//     file as it was when it was divided, with the same keys, and errors name the same lines: a key holds the line's number, so
//     no split needs to count what stands before it. What is appended behind the last split is not read, but for the end of
//     a line that had begun;
//   - a line is the document that the driver reads from it, byte for byte: what reads common Extended JSON without the driver leaves to it
//     whatever it is not sure of;
//   - documents are found by their ids without reading the file for each call: the first one reads it and builds an index, which all
//     calls share for as long as the file is the same. All indexes together take at most 64 MiB; where there is no room for
//     another, its file is read for each call. An index answers what reading the file would;
//   - a compressed file is read from its beginning whenever it is read, so its documents come with a read wherever the caller has
//     bounded their bytes, and keys and offsets are positions in what was compressed;
//   - what a dump has of a collection without its documents (buckets, metadata, an archive) is an error, never an empty collection;
//   - a line that is no document is a change with an error that names file and line, and reading continues; a BSON file
//     can't be read beyond a broken length, so that ends the read and names the byte;
//   - no input makes it panic, loop or allocate without bound;
//   - a file of Extended JSON that is followed gives each line once it has its end, once and in order. An offset is the end of a line,
//     and holds a digest of the bytes in front of it. Where a file was cut off or written anew, the digest differs, and the
//     position is lost. A file that is renamed while it is followed is read until its writer is quiet, and then the one that has its name;
//   - files are never written. One that changes while it is read, or between a run and its resumption, is noticed where it
//     matters: a position that no longer begins a document is an error, as is a file that is shorter than it was, and another file
//     under the name of the one that was divided. A file that was deleted has no documents, unless the folder is missing as
//     well, which is an error.
//
// Two documents of one file may have the same _id; they are two changes.
package file
