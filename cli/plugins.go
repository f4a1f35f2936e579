package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
)

func (a *app) pluginsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plugins",
		Short: "List the sources, checkers and sinks that this program has",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "KIND\tNAME\tSUMMARY")
			for _, kind := range []syncd.Kind{syncd.KindSource, syncd.KindChecker, syncd.KindSink} {
				for _, p := range a.registry.Plugins() {
					if p.Kind() == kind {
						fmt.Fprintf(w, "%s\t%s\t%s\n", kind, p.Name(), p.Summary())
					}
				}
			}
			return failed(w.Flush())
		},
	}
}
