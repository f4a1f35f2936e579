// Command bench measures syncd beside the loops that a careful programmer would write by hand with the same client
// libraries, and beside the algorithm of the described system, on the same servers in one run.
//
// The servers run in a process of their own, so that what is measured is the client: a MongoDB-protocol server that makes
// documents on the fly, a Qdrant-protocol server that answers from the ids themselves, and a Kafka broker. Every figure of a
// process (CPU, wall time, peak memory) is the operating system's account of that process alone.
package main
