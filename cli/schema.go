package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
)

// schemaCommand prints the schema of what this program's configurations can say, its plugins included.
func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of configuration files, for editors",
		Long: `Print the JSON Schema of configuration files, with the settings of every plugin that this program has.
An editor that knows the YAML language server completes and checks a file that begins with
# yaml-language-server: $schema=syncd.schema.json`,
		Example: `  syncd schema > syncd.schema.json`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			enc := json.NewEncoder(a.stdout)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(config.Schema(a.registry))
		},
	}
}
