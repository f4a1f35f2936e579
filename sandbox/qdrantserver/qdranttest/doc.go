// Package qdranttest is a conformance suite for servers that speak Qdrant's gRPC API.
//
// It says in tests what a client may rely on: codes, error texts, orders, defaults and side effects of Qdrant
// 1.19. The embedded server of package qdrantserver has to pass it, and so has a real Qdrant: whatever fails on
// a real one is an error of the suite, and must be corrected here first and then in the embedded server.
//
// Every case makes collections of its own, with names that nothing else uses, and deletes them. Cases do not
// depend on one another or on their order, so the suite can run against a server that others are using.
//
// The times, ids of operations and hardware usage in answers are not compared, since Qdrant makes no promise
// about them.
package qdranttest
