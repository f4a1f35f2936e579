// Package storetest holds what every store.Store must do, as tests, and a store in memory for the tests of engines.
package storetest
