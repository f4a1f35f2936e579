package file

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

// Config is what stands under source.file.
type Config struct {
	Path     string `yaml:"path" rule:"required" example:"exports" doc:"Directory with one file per collection, named after it: workItem.bson, page.ndjson, either also with .gz or .zst; or what mongodump wrote, which has a folder for each database."`
	Database string `yaml:"database" rule:"name,min=1" doc:"Name that stands for the database in events, topics and seeds, and of the folder to read in what mongodump wrote."`
	Format   format `yaml:"format" rule:"oneof=auto ndjson bson" doc:"auto goes by the extension: .bson, or .ndjson, .jsonl and .json; the others look for their own extensions only. A file of more than 16 MiB is read by several readers at once. Compressed files (.gz, .zst) are read by one, from the beginning whenever they are read. With run.follow, lines that are appended to uncompressed Extended JSON are followed."`
}

type format string

const (
	formatAuto   format = "auto"
	formatNDJSON format = "ndjson"
	formatBSON   format = "bson"
)

// Plugin declares the source.
func Plugin() syncd.Plugin {
	return syncd.NewSource("file", "Reads exported collections from files: mongodump's BSON or Extended JSON lines.",
		Config{Database: "files", Format: formatAuto}, open).WithVersion("1", syncd.Stable)
}

// DatabaseName is the database that events, topics and seeds name.
func (c *Config) DatabaseName() string { return c.Database }

// CheckConfig checks what tags can't say.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	d.In("database", func() {
		for _, r := range c.Database {
			if r < ' ' {
				d.Errorf(n.Get("database"), spec.CodeBadValue, "", "%s can't hold control characters", d.Path())
				return
			}
		}
	})
}

func open(_ context.Context, cfg Config, env syncd.Env) (syncd.Source, error) {
	info, err := os.Stat(cfg.Path)
	switch {
	case err != nil:
		return nil, syncd.Hint(fmt.Errorf("opening the directory of exported collections: %w", err),
			"source.file.path is relative to where syncd is started")
	case !info.IsDir() && isArchive(cfg.Path):
		return nil, fmt.Errorf("opening the directory of exported collections: %w", archiveError(cfg.Path))
	case !info.IsDir():
		return nil, syncd.Hint(fmt.Errorf("opening the directory of exported collections: %s is not a directory", cfg.Path),
			"source.file.path is the directory; a collection's file is found by its name")
	}
	folder, err := folderOf(cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of exported collections: %w", err)
	}
	return &source{cfg: cfg, folder: folder, log: env.Logger, indexes: newIndexes(cmp.Or(env.Memory, indexBytes)), splitBytes: splitBytes}, nil
}
