package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
	"github.com/syncd-io/syncd/store/bolt"
)

// addCompletions has the shell complete what the commands' flags and arguments name: files of configurations, and the
// collections of the one that is given. What can't be found out is left out in silence, as a shell expects.
func (a *app) addCompletions(root *cobra.Command) {
	for _, c := range root.Commands() {
		a.addCompletions(c)
	}
	f := root.Flags()
	if f.Lookup("config") == nil {
		return
	}
	_ = root.MarkFlagFilename("config", "yaml", "yml")
	for _, name := range []string{"collection", "collections"} {
		if f.Lookup(name) != nil {
			_ = root.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
				if name == "collection" {
					return a.collectionNames(c), cobra.ShellCompDirectiveNoFileComp
				}
				return further(a.collectionNames(c), begun), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
			})
		}
	}
}

// collectionFirst completes the arguments COLLECTION ID: what ids there are is not looked up.
func (a *app) collectionFirst(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.collectionNames(c), cobra.ShellCompDirectiveNoFileComp
}

// collectionNames are the collections of the configuration that a command is given, each with its content type as a
// description. run.collections does not choose among them: it is what is being written.
func (a *app) collectionNames(c *cobra.Command) (names []string) {
	file, err := a.configPath(c.Flags().Lookup("config").Value.String(), nil)
	if args := c.Flags().Args(); err != nil && len(args) == 1 {
		file, err = args[0], nil
	}
	if err != nil {
		return nil
	}
	cfg, _ := config.Load(config.Input{
		Path: file, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true,
		Overrides: []config.Override{{Path: []string{"run", "collections"}, Value: "null"}},
	})
	if cfg == nil {
		return nil
	}
	for _, r := range cfg.Mapping.Rules {
		names = append(names, text.Line(r.Collection.Name)+"\t"+text.Line(r.ContentType))
	}
	return names
}

// further completes the last name of a list with commas: by those that the list does not have yet.
func further(names []string, begun string) (out []string) {
	head := begun[:strings.LastIndex(begun, ",")+1]
	given := strings.Split(head, ",")
	for _, n := range names {
		if name, _, _ := strings.Cut(n, "\t"); !slices.Contains(given, name) {
			out = append(out, head+n)
		}
	}
	return out
}

// keptJobs are the jobs that the state folder has.
func (a *app) keptJobs(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	dir := c.Flags().Lookup("dir").Value.String()
	if dir == "" {
		set := a.env(envStateDir)
		if file, err := a.configPath(c.Flags().Lookup("config").Value.String(), nil); err == nil {
			if cfg, _ := config.Load(config.Input{Path: file, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true}); cfg != nil {
				set = cfg.Run.StateDir
			}
		}
		var err error
		if dir, err = job.StateDir(set, a.env); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	entries, _ := bolt.List(dir) // without, there is nothing to complete
	for _, e := range entries {
		names = append(names, text.Line(e.Name))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
