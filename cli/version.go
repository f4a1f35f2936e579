package cli

import (
	"fmt"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker for a release.
var version = ""

func (a *app) versionCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				program, goVersion := built()
				return a.tell(Version{program, goVersion})
			}
			_, err := fmt.Fprintln(a.stdout, versionLine())
			return err
		},
	}
	a.formatFlag(c)
	return c
}

// Version is the version of the program, for programs.
type Version struct {
	Version string `json:"version" doc:"The program's version."`
	Go      string `json:"go_version" doc:"The version of Go that it was built with."`
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
