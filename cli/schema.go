package cli

import (
	"encoding/json"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
)

// release is the version that is being made, or was made last: the newest of CHANGELOG.md.
const release = "0.1.0"

// localSchema is the usual name of a file with the schema.
const localSchema = "syncd.schema.json"

// schemaID is the $id of this program's schema: where the release's is found. A program with plugins of its own has none, since
// what is found there does not know them.
func schemaID() string {
	const module = "github.com/syncd-io/syncd"
	if info, ok := debug.ReadBuildInfo(); !ok || info.Main.Path != module {
		return ""
	}
	return "https://raw.githubusercontent.com/" + strings.TrimPrefix(module, "github.com/") + "/v" + release + "/configs/" + localSchema
}

// schemaCommand prints the schema of what this program's configurations can say, its plugins included.
func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of configuration files, for editors",
		Long: `Print the JSON Schema of configuration files, with the settings of every plugin that this program has.
An editor that knows the YAML language server completes and checks a file that begins with
# yaml-language-server: $schema=syncd.schema.json
or with the schema's $id, which names the release that it belongs to, in place of the file.`,
		Example: `  syncd schema > syncd.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			s := config.Schema(a.registry)
			s.ID = schemaID()
			enc := json.NewEncoder(a.stdout)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(s)
		},
	}
}
