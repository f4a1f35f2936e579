// Package mongoserver runs a MongoDB-compatible server inside the calling
// process: FerretDB v1.24 on SQLite, over MongoDB's own wire protocol. It is
// for demos and tests, where asking for an installed mongod is asking too much.
//
// Invariants:
//
//   - Start returns a server that accepts connections; Close returns when its
//     listener, its connections, its goroutines and its SQLite files are closed.
//   - Nothing leaves the machine: FerretDB's telemetry reporter is not part of
//     its embedded form, its state is never written to disk, and Start refuses
//     an address that is not a loopback address.
//   - It needs no login. FerretDB's embedded form has no SCRAM, so a URI with a
//     user name fails to authenticate, whatever the password.
//
// It is not MongoDB. What a client has to know:
//
//   - find ignores min, max, hint and readConcern without a word: a scan bounded by
//     min and max returns the whole collection, and a hint that names no index is
//     no error, which is how a client can tell.
//   - Sorting by _id puts types in MongoDB's order, but reads the collection into memory.
//   - _id has an index that $in does not use: each find by $in reads the collection.
//   - There is no $sample, $bucketAuto, splitVector, $natural sort, collation,
//     noCursorTimeout, change stream, transaction or SCRAM.
//   - A message that holds Decimal128, JavaScript, MinKey, MaxKey, DBPointer, Symbol,
//     undefined or NaN, be it to store or to compare with, makes the server drop the
//     connection. The driver takes that for a network error and repeats a read until
//     its context ends, so give contexts a deadline.
//   - Infinities, arrays directly in arrays and field names with dots or a leading
//     dollar sign are refused; -0 is stored as 0; there is no limit of 16 MB.
//
// Building it takes the tag ferretdb_sqlite (go build -tags ferretdb_sqlite):
// FerretDB registers its SQLite backend only then. Without the tag the package
// compiles, without compiling FerretDB, and Start returns ErrNotBuilt.
package mongoserver

import "errors"

// ErrNotBuilt says that the program was built without the tag that the server needs.
var ErrNotBuilt = errors.New("starting an embedded MongoDB server: this program was built without it; build it with -tags ferretdb_sqlite")

// Config says where a server listens and keeps its data.
type Config struct {
	// Addr is the host:port to listen on; the host must be a loopback address
	// or "localhost". Empty means 127.0.0.1:0, a free port.
	Addr string

	// CertFile and KeyFile are PEM files of the server's certificate, with which it speaks TLS
	// and nothing else. With CAFile it refuses clients without a certificate of that authority.
	CertFile, KeyFile, CAFile string

	// Dir is a directory for the SQLite files, one for each database. It is created
	// if it doesn't exist, and kept. Empty means a temporary one that Close removes.
	Dir string
}
