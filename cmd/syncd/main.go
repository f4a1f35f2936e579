// Command syncd sends to Kafka the documents of MongoDB that a vector index lacks.
package main

import (
	"os"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/checkers/pgvector"
	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/cli"
	filesource "github.com/syncd-io/syncd/connectors/file"
	kafkasource "github.com/syncd-io/syncd/connectors/kafka"
	"github.com/syncd-io/syncd/connectors/mongo"
	"github.com/syncd-io/syncd/connectors/postgres"
	filesink "github.com/syncd-io/syncd/sinks/file"
	"github.com/syncd-io/syncd/sinks/kafka"
	pgvectorsink "github.com/syncd-io/syncd/sinks/pgvector"
	qdrantsink "github.com/syncd-io/syncd/sinks/qdrant"
	"github.com/syncd-io/syncd/stages/chunk"
	"github.com/syncd-io/syncd/stages/embed"
)

func main() { os.Exit(cli.Main(plugins()...)) }

// plugins are those that this program has.
func plugins() []syncd.Plugin {
	return []syncd.Plugin{
		mongo.Plugin(),
		filesource.Plugin(),
		postgres.Plugin(),
		kafkasource.Plugin(),
		qdrant.Plugin(),
		chunk.Plugin(),
		embed.Plugin(),
		pgvector.Plugin(),
		kafka.Plugin(),
		filesink.Plugin(),
		qdrantsink.Plugin(),
		pgvectorsink.Plugin(),
	}
}
