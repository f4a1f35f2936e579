// Command acme-syncd is syncd with one sink more: a program with plugins of your own is a main like this one.
package main

import (
	"os"

	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/cli"
	"github.com/syncd-io/syncd/connectors/file"
	"github.com/syncd-io/syncd/connectors/mongo"

	"example.com/acme/syncd/tally"
)

func main() {
	os.Exit(cli.Main(mongo.Plugin(), file.Plugin(), qdrant.Plugin(), tally.Plugin()))
}
