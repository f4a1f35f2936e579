package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
)

func (a *app) idCommand() *cobra.Command {
	var path, collection string
	var fields []string
	var chunk int
	c := &cobra.Command{
		Use:     "id -c FILE COLLECTION ID...",
		Short:   "Print the seed and the point id of documents, without connecting to anything",
		Example: `  syncd id -c configs/base.yaml workItem 507f1f77bcf86cd799439011`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 && (collection == "" || len(args) == 0) {
				return usageError("id takes a collection and at least one id: syncd id -c FILE COLLECTION ID")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, ids []string) error {
			path, err := a.configPath(path, nil)
			if err != nil {
				return err
			}
			if collection == "" {
				collection, ids = ids[0], ids[1:]
			}
			if chunk < 0 {
				return usageError("--chunk must be at least 0")
			}
			cfg, diags := config.Load(config.Input{Path: path, Environ: a.environ, Registry: a.registry, AllowUnsetEnv: true})
			if a.printDiagnostics(diags) {
				return unusable(path, diags)
			}
			selected, err := cfg.Mapping.Select([]string{collection})
			if err != nil {
				return &codeError{exitUsage, err}
			}
			rule := selected.Rules[0]
			values, err := fieldValues(rule.Fields(), fields)
			if err != nil {
				return err
			}
			var buf []byte
			made := []PointID{}
			for _, id := range ids {
				doc := &syncd.Change{ID: id, Fields: values}
				seed, err := rule.AppendSeed(nil, doc, chunk)
				if err != nil {
					return err
				}
				point, err := rule.PointID(&buf, doc, chunk)
				if err != nil {
					return err
				}
				if made = append(made, PointID{collection, id, chunk, string(seed), point.String()}); !a.json {
					text.Fprintf(a.stdout, "seed:     %s\npoint id: %s\n", text.Of(string(seed)), point)
				}
			}
			if a.json {
				return a.tell(made)
			}
			return nil
		},
	}
	configFlag(c, &path)
	a.formatFlag(c)
	c.Flags().StringVar(&collection, "collection", "", "the documents' collection, which used to be said so")
	_ = c.Flags().MarkHidden("collection")
	c.ValidArgsFunction = a.collectionFirst
	c.Flags().IntVar(&chunk, "chunk", 0, "the `INDEX` of the chunk; 0 stands for the document")
	c.Flags().StringArrayVar(&fields, "field", nil, "a field that the seed uses, as `NAME=TEXT`")
	return c
}

// PointID is the point id of a document, for programs.
type PointID struct {
	Collection string `json:"collection" doc:"The document's collection."`
	ID         string `json:"id" doc:"Its id."`
	Chunk      int    `json:"chunk" doc:"The index of the chunk; 0 stands for the document."`
	Seed       string `json:"seed" doc:"The text that the point id is made of."`
	PointID    string `json:"point_id" doc:"The point id."`
}

// fieldValues aligns NAME=TEXT pairs with the fields that a seed uses.
func fieldValues(names, pairs []string) ([]syncd.Value, error) {
	given := map[string]string{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usageError("--field must be NAME=TEXT, not %q", pair)
		}
		given[name] = text
	}
	out := make([]syncd.Value, len(names))
	for i, name := range names {
		text, ok := given[name]
		if !ok {
			return nil, usageError("the seed uses the field %q: give it with --field %s=TEXT", name, name)
		}
		out[i] = syncd.Value{Text: text, Set: true}
	}
	return out, nil
}
