package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// mongoSource is the plugin that --mongo uses.
const mongoSource = "mongo"

// countBudget is how long counting may take altogether. An exact count reads an index from end to end, so that of a large
// collection is not waited for.
const countBudget = 3 * time.Second

// foundCollection is a collection that the source has.
type foundCollection struct {
	name        string
	contentType string
	guessed     bool  // the content type is a plural made singular
	count       int64 // -1 if it is not known
}

// look asks the source for its collections.
func (c *initChoices) look(cmd *cobra.Command, a *app, mongo string) error {
	plugin, ok := a.registry.Lookup(syncd.KindSource, mongoSource)
	if !ok {
		return usageError("this program has no source %q", mongoSource)
	}
	c.variable = "MONGODB_URI"
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
		c.variable = name
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
	text := func(flag, value string) *spec.Node {
		return &spec.Node{Type: spec.Text, Text: value, Pos: at(flag), Key: at(flag), Rewrote: true}
	}
	diags := spec.Decode(&spec.Node{Kind: spec.Map, Entries: []spec.Entry{
		{Name: "uri", Value: text("--mongo", uri)}, {Name: "database", Value: text("--database", c.database)},
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
	c.found, err = listCollections(cmd.Context(), source, c.database)
	if cerr := source.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("closing the source: %w", cerr)
	}
	return err
}

// listCollections lists the collections that can be read, proposes content types, and counts for as long as that is cheap.
func listCollections(ctx context.Context, source syncd.Source, database string) ([]foundCollection, error) {
	can := source.Abilities()
	if can.Collections == nil {
		return nil, errors.New("the source can't list its collections")
	}
	all, err := can.Collections(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, name := range all {
		if !strings.HasPrefix(name, "system.") && !strings.ContainsAny(name, "$\x00") && strings.TrimSpace(name) != "" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, syncd.Hint(fmt.Errorf("the database %s holds no collections", database), "upper and lower case count in its name")
	}
	found := proposeContentTypes(names)
	if can.Count == nil {
		return found, nil
	}
	ctx, cancel := context.WithTimeout(ctx, countBudget)
	defer cancel()
	for i := range found {
		n, err := can.Count(ctx, syncd.Collection{Name: found[i].name})
		if err == nil {
			found[i].count = n
		}
		if ctx.Err() != nil {
			break
		}
	}
	return found, nil
}
