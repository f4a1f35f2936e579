// Command acme-syncd is syncd with a source, a checker, a stage and a sink more: a program with plugins of your own is a main like
// this one.
package main

import (
	"os"

	"github.com/syncd-io/syncd/checkers/qdrant"
	"github.com/syncd-io/syncd/cli"
	"github.com/syncd-io/syncd/connectors/file"
	"github.com/syncd-io/syncd/connectors/mongo"

	"example.com/acme/syncd/folder"
	"example.com/acme/syncd/hide"
	"example.com/acme/syncd/idlist"
	"example.com/acme/syncd/tally"
)

func main() {
	os.Exit(cli.Main(
		mongo.Plugin(), file.Plugin(), folder.Plugin(),
		qdrant.Plugin(), idlist.Plugin(),
		hide.Plugin(),
		tally.Plugin(),
	))
}
