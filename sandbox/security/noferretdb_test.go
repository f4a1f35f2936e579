//go:build !ferretdb_sqlite

package security_test

// startFerretDB needs a build tag.
var startFerretDB mongoStarter
