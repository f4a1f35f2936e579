package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release.
var version = ""

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, versionLine())
			return err
		},
	}
}

// built is the version of the program, and that of Go.
func built() (program, goVersion string) {
	program = version
	if info, ok := debug.ReadBuildInfo(); ok {
		goVersion = info.GoVersion
		if program == "" {
			program = info.Main.Version
		}
	}
	return program, goVersion
}

// versionLine is what version and --version print.
func versionLine() string {
	program, goVersion := built()
	return fmt.Sprintf("syncd %s %s", program, goVersion)
}
