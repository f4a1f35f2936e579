// Package integration tests the built program on servers that nobody here wrote.
//
//	make integration                    # some minutes, after the first download
//	make integration EVENTS=1000000     # the tests that kill something, with a million events each
//	make integration WRITES=200000      # following, with as many documents and as many writes to them
//
// What it runs:
//
//   - Apache Kafka (Maven Central; package kafka): one node, as KRaft, with listeners in the clear, with SASL (PLAIN, SCRAM),
//     with TLS and client certificates, and with both;
//   - Kafka Connect with MongoDB's connector (Maven Central; package connectworker);
//   - SecantusDB (PyPI; package secantus): MongoDB's protocol on WiredTiger, MongoDB's storage engine;
//   - all-MiniLM-L6-v2 (PyPI; package minilm): a model for embeddings, behind OpenAI's API;
//   - mongo-java-server (Maven Central; the sandbox's package javaserver): MongoDB's protocol in Java;
//   - clients of Kafka Connect (PyPI, Maven Central; package connectclients): kafka-connect-py, kafkaconnect and org.sourcelab's, which
//     drive a service by its REST API.
//
// None of the registries that a build reaches has a mongod or a Qdrant: point the suite at yours, see below. Until then
// Qdrant is the sandbox's, and where a test is about Kafka alone, so is the fast server that makes documents up.
//
// What it tests: the whole backfill (everything is sent and indexed, nothing twice, then what is added, and verify agrees);
// partitions, beside those of Kafka's own producer; headers; topics; every way to log in, and to fail to; a broker that is
// killed in the middle of a run and comes back, or does not; a run that is killed, among documents and among deletes, with both
// kinds of delivery; a job that follows, killed as well; the events of changes, beside those of MongoDB's own connector. Counts are
// those of a consumer of its own, of the kind read_committed.
//
// It needs java 17 or newer, mvn, and python3 3.11 or newer with pip, and fails without them. Servers are fetched once, into
// syncd-test in the user's cache folder; they run in temporary folders, on free ports of the loopback interface.
//
// # On a deployment
//
// The same tests run against servers of yours:
//
//	SYNCD_TEST_MONGO_URI='mongodb://user:password@host/'   instead of the servers that speak MongoDB's protocol
//	SYNCD_TEST_KAFKA='host:9092,host:9092'                 in the clear and without login
//	SYNCD_TEST_QDRANT_URL='http://host:6334'               https turns TLS on; port 6333, of REST, means 6334
//	SYNCD_TEST_QDRANT_API_KEY='…'                          if it takes one, with the right to write
//
// (The sandbox's tests, which ask for less, take host:port as SYNCD_TEST_QDRANT_ADDR.) Any of them may be left out. All
// that is written has a name of its own, which begins with syncd_it_: a database, a Qdrant collection, topics and a consumer
// group for each test. They are deleted when the test ends; of a test that is killed they remain. Tests that kill a broker or
// log in to it start their own even so.
package integration
