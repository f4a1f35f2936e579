package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/cli/wizard"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/files"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/spec"
)

// mongoSource is the plugin that --mongo uses.
const mongoSource = "mongo"

func (a *app) initCommand() *cobra.Command {
	var source, checker, sink, mongo, database string
	var all bool
	c := &cobra.Command{
		Use:   "init [FILE]",
		Short: "Write a commented configuration to start from",
		Long: `Write a commented configuration to start from: what most people set first, or with --all every setting of the chosen plugins.
FILE is what the other commands read where none is named: ` + envConfig + `, or else ` + defaultFile + `; - is standard output. A file that exists is never changed.

With --mongo it looks at the database and lists its collections with a content type for each. The connection string is not
written into the file, which names an environment variable instead. On the command line everyone on this machine can read
it (ps), so give it by a variable, --mongo env:MONGODB_URI, or by standard input, --mongo -.`,
		Example: `  syncd init
  syncd init configs/mine.yaml --mongo env:MONGODB_URI --database ProjectManagement
  syncd init --sink file`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, choices := cmp.Or(a.env(envConfig), defaultFile), wizard.Choices{Database: database, All: all, Schema: cmp.Or(schemaID(), localSchema), Plugins: map[syncd.Kind]string{}}
			if len(args) == 1 {
				file = args[0]
			}
			var err error
			if checker, err = a.checkerOf(sink, checker); err != nil {
				return err
			}
			of := map[syncd.Kind]string{syncd.KindSource: source, syncd.KindChecker: checker, syncd.KindSink: sink}
			if mongo != "" && source == "" {
				of[syncd.KindSource] = mongoSource
			}
			for _, kind := range []syncd.Kind{syncd.KindSource, syncd.KindChecker, syncd.KindSink} {
				if choices.Plugins[kind], err = a.choosePlugin(kind, of[kind]); err != nil {
					return err
				}
			}
			if file != stdoutName {
				if _, err := os.Lstat(file); err == nil {
					return exists(file)
				}
			}
			if mongo != "" {
				if choices.Plugins[syncd.KindSource] != mongoSource {
					return usageError("--mongo needs the source %s, not %s", mongoSource, choices.Plugins[syncd.KindSource])
				}
				if database == "" {
					return usageError("which database? give it with --database NAME")
				}
				var err error
				if err = a.look(cmd, &choices, mongo); err != nil {
					return err
				}
			}
			text, err := wizard.Starter(a.registry, choices)
			if err != nil {
				return err
			}
			if file == stdoutName {
				_, err := io.WriteString(a.stdout, text)
				return err
			}
			if err := writeNew(file, text); err != nil {
				return err
			}
			return a.nextSteps(file, choices)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "write every setting, with its default and what it does")
	c.Flags().StringVar(&source, "source", "", "the source's plugin")
	c.Flags().StringVar(&checker, "checker", "", "the checker's plugin")
	c.Flags().StringVar(&sink, "sink", "", "the sink's plugin")
	c.Flags().StringVar(&mongo, "mongo", "", "a MongoDB to list the collections of: env:NAME for a variable that holds its connection string, - for standard input, or the string itself")
	c.Flags().StringVar(&database, "database", "", "the database that holds the collections")
	return c
}

// look asks the source that --mongo names for its collections.
func (a *app) look(cmd *cobra.Command, choices *wizard.Choices, mongo string) error {
	plugin, ok := a.registry.Lookup(syncd.KindSource, mongoSource)
	if !ok {
		return usageError("this program has no source %q", mongoSource)
	}
	choices.Variable = "MONGODB_URI"
	var uri string
	switch name, isVariable := strings.CutPrefix(mongo, "env:"); {
	case isVariable:
		for _, pair := range a.environ {
			if value, found := strings.CutPrefix(pair, name+"="); found {
				uri = value
			}
		}
		if uri == "" {
			return usageError("--mongo %s: the environment variable %s is not set", mongo, name)
		}
		choices.Variable = name
	case mongo == stdoutName:
		line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 64<<10)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the connection string from standard input: %w", err)
		}
		if uri = strings.TrimSpace(line); uri == "" {
			return usageError("--mongo -: standard input is empty")
		}
	default:
		uri = mongo
		if strings.Contains(uri, "@") {
			fmt.Fprintln(a.stderr, "warning: everyone on this machine can read a password on the command line (ps); give it with --mongo env:MONGODB_URI or --mongo -")
		}
	}
	settings := plugin.Config()
	at := func(flag string) spec.Pos { return spec.Pos{Source: "flag " + flag} }
	given := func(flag, value string) *spec.Node {
		return &spec.Node{Type: spec.Text, Text: value, Pos: at(flag), Key: at(flag), Rewrote: true}
	}
	diags := spec.Decode(&spec.Node{Kind: spec.Map, Entries: []spec.Entry{
		{Name: "uri", Value: given("--mongo", uri)}, {Name: "database", Value: given("--database", choices.Database)},
	}}, settings, string(syncd.KindSource), mongoSource)
	if a.printDiagnostics(diags.Sorted()) {
		return usageError("%s can't be looked at", plugin.Label())
	}
	logger, err := a.logger("text", "warn")
	if err != nil {
		return err
	}
	source, err := plugin.OpenSource(cmd.Context(), settings, syncd.Env{Logger: logger})
	if err != nil {
		return err
	}
	choices.Collections, err = wizard.Collections(cmd.Context(), source, choices.Database)
	if cerr := source.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("closing the source: %w", cerr)
	}
	return err
}

// stdoutName stands for standard output in place of a file.
const stdoutName = "-"

// usualPlugins are those that most people begin with.
var usualPlugins = map[syncd.Kind]string{syncd.KindSource: mongoSource, syncd.KindChecker: "qdrant", syncd.KindSink: "kafka"}

// checkerOf is the checker of the index that a sink writes, where it writes one: to ask another makes no sense.
func (a *app) checkerOf(sink, checker string) (string, error) {
	plugin, known := a.registry.Lookup(syncd.KindSink, sink)
	if !known {
		return checker, nil
	}
	if _, indexes := plugin.Config().(syncd.Indexer); !indexes {
		return checker, nil
	}
	if _, same := a.registry.Lookup(syncd.KindChecker, sink); !same || checker == sink {
		return checker, nil
	}
	if checker != "" {
		return "", usageError("the sink %s writes an index that the checker %s does not ask: take --checker %s, or another sink", sink, checker, sink)
	}
	return sink, nil
}

// choosePlugin returns the plugin that the user named, or else the usual one, or else the first.
func (a *app) choosePlugin(kind syncd.Kind, name string) (string, error) {
	names := a.registry.Names(kind)
	if name != "" {
		if _, ok := a.registry.Lookup(kind, name); !ok {
			err := usageError("this program has no %s %q; it has: %s", kind, name, strings.Join(names, ", "))
			if near := spec.Nearest(name, names); near != "" {
				err = syncd.Hint(err, "did you mean %q?", near)
			}
			return "", err
		}
		return name, nil
	}
	if len(names) == 0 {
		return "", fmt.Errorf("this program has no %s", kind)
	}
	if usual := usualPlugins[kind]; slices.Contains(names, usual) {
		return usual, nil
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
		return files.WriteError("the configuration", file, err)
	}
	_, err = f.WriteString(text)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(file)
		return files.WriteError("the configuration", file, err)
	}
	return nil
}

// nextSteps checks what was written and says how to go on.
func (a *app) nextSteps(file string, choices wizard.Choices) error {
	_, diags := config.Load(config.Input{Path: file, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true})
	needsWork := a.printDiagnostics(diags)
	text.Fprintf(a.stdout, "%s is written", file)
	if n := len(choices.Collections); n > 0 {
		text.Fprintf(a.stdout, ", with %s of %s", text.Plural(n, "collection", "collections"), choices.Database)
	}
	fmt.Fprint(a.stdout, ". Next:\n")
	step := func(command, why string) { text.Fprintf(a.stdout, "  %-44s  # %s\n", command, why) }
	if needsWork {
		step("edit "+file, "mend what is named above")
	} else {
		step("edit "+file, "collections and content types must be those of your index")
	}
	if choices.Variable != "" {
		step("export "+choices.Variable+"=…", "the connection string, which is not in the file")
	}
	if schemaID() == "" {
		step("syncd schema > "+filepath.Join(filepath.Dir(file), localSchema), "what an editor completes and checks the file by")
	}
	read := " -c " + file
	if file == a.usualConfig() { // where it is looked for anyway
		read = ""
	}
	step("syncd validate"+read, "is everything spelt right?")
	step("syncd validate"+read+" --connect", "do the servers have what a run needs?")
	if choices.OnlyFollows(a.registry) {
		step("syncd run"+read, "follow the changes, and send them, until told to stop")
		return nil
	}
	step("syncd run"+read+" --dry-run", "what would be sent?")
	step("syncd run"+read, "send it")
	return nil
}
