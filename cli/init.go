package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

// initChoices are what the user of init wants.
type initChoices struct {
	file     string
	plugins  map[syncd.Kind]string
	database string
	variable string // that holds the address of the source
	found    []foundCollection
}

func (a *app) initCommand() *cobra.Command {
	var source, checker, sink, mongo, database string
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented configuration to start from",
		Long: `Write a commented configuration to start from: every setting of the chosen plugins with its default and what it does.
FILE is syncd.yaml if it is not given, and - is standard output. A file that exists is never changed.

With --mongo it looks at the database and lists its collections with a content type for each. The connection string is not
written into the file, which names an environment variable instead. On the command line everyone on this machine can read
it (ps), so give it by a variable, --mongo env:MONGODB_URI, or by standard input, --mongo -.`,
		Example: `  syncd init
  syncd init configs/mine.yaml --mongo env:MONGODB_URI --database ProjectManagement
  syncd init --sink file`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			choices := initChoices{file: "syncd.yaml", database: database, plugins: map[syncd.Kind]string{}}
			if len(args) == 1 {
				choices.file = args[0]
			}
			for kind, flag := range map[syncd.Kind]string{syncd.KindSource: source, syncd.KindChecker: checker, syncd.KindSink: sink} {
				if mongo != "" && kind == syncd.KindSource && flag == "" {
					flag = mongoSource
				}
				name, err := a.choosePlugin(kind, flag)
				if err != nil {
					return err
				}
				choices.plugins[kind] = name
			}
			if choices.file != stdoutName {
				if _, err := os.Lstat(choices.file); err == nil {
					return exists(choices.file)
				}
			}
			if mongo != "" {
				if choices.plugins[syncd.KindSource] != mongoSource {
					return usageError("--mongo needs the source %s, not %s", mongoSource, choices.plugins[syncd.KindSource])
				}
				if database == "" {
					return usageError("which database? give it with --database NAME")
				}
				var err error
				if err = choices.look(cmd, a, mongo); err != nil {
					return err
				}
			}
			text, err := a.starter(choices)
			if err != nil {
				return err
			}
			if choices.file == stdoutName {
				_, err := io.WriteString(a.stdout, text)
				return err
			}
			if err := writeNew(choices.file, text); err != nil {
				return err
			}
			return a.nextSteps(choices)
		},
	}
	c.Flags().StringVar(&source, "source", "", "the source's plugin")
	c.Flags().StringVar(&checker, "checker", "", "the checker's plugin")
	c.Flags().StringVar(&sink, "sink", "", "the sink's plugin")
	c.Flags().StringVar(&mongo, "mongo", "", "a MongoDB to list the collections of: env:NAME for a variable that holds its connection string, - for standard input, or the string itself")
	c.Flags().StringVar(&database, "database", "", "the database that holds the collections")
	return c
}

// stdoutName stands for standard output in place of a file.
const stdoutName = "-"

// choosePlugin returns the plugin that the user named, or else the first of those that most people begin with, or else the
// first.
func (a *app) choosePlugin(kind syncd.Kind, name string) (string, error) {
	names := a.registry.Names(kind)
	if name != "" {
		if _, ok := a.registry.Lookup(kind, name); !ok {
			return "", usageError("this program has no %s %q; it has: %s", kind, name, strings.Join(names, ", "))
		}
		return name, nil
	}
	if len(names) == 0 {
		return "", fmt.Errorf("this program has no %s", kind)
	}
	for _, usual := range []string{mongoSource, "qdrant", "kafka"} {
		if _, ok := a.registry.Lookup(kind, usual); ok {
			return usual, nil
		}
	}
	return names[0], nil
}

func exists(file string) error {
	return syncd.Hint(fmt.Errorf("%s exists already, and is left as it is", file), "give another name: syncd init FILE")
}

// writeNew writes a file that must not exist. What could be written only in part is removed.
func writeNew(file, text string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // it holds no secret, and whoever runs syncd must read it
	if errors.Is(err, fs.ErrExist) {
		return exists(file)
	}
	if err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(file)
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// nextSteps checks what was written and says how to go on.
func (a *app) nextSteps(choices initChoices) error {
	_, diags := config.Load(config.Input{Path: choices.file, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true})
	needsWork := a.printDiagnostics(diags)
	fmt.Fprintf(a.stdout, "%s is written", choices.file)
	if n := len(choices.found); n > 0 {
		fmt.Fprintf(a.stdout, ", with %s of %s", plural(n, "collection", "collections"), choices.database)
	}
	fmt.Fprint(a.stdout, ". Next:\n")
	step := func(command, why string) { fmt.Fprintf(a.stdout, "  %-44s  # %s\n", command, why) }
	if needsWork {
		step("edit "+choices.file, "mend what is named above")
	} else {
		step("edit "+choices.file, "collections and content types must be those of your index")
	}
	if choices.variable != "" {
		step("export "+choices.variable+"=…", "the connection string, which is not in the file")
	}
	step("syncd validate "+choices.file, "is everything spelt right?")
	step("syncd validate --connect "+choices.file, "do the servers have what a run needs?")
	step("syncd run -c "+choices.file+" --dry-run", "what would be sent?")
	step("syncd run -c "+choices.file, "send it")
	return nil
}
