// Package wizard writes a first configuration: from the declarations of all settings, and from the collections that a source has.
package wizard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
)

// Choices are what a first configuration is to say.
type Choices struct {
	Plugins     map[syncd.Kind]string // by name
	Database    string                // that holds the collections; empty is an example's
	Variable    string                // that holds the address of the source; empty names none
	Collections []Collection          // to read; none stands for those of the described system
	Schema      string                // where an editor finds the schema of the file
	All         bool                  // show every setting, and not only those that most people set first
}

// Collection is a collection that the source has.
type Collection struct {
	Name        string
	ContentType string
	Guessed     bool  // the content type is a plural made singular
	Count       int64 // documents; -1 if it is not known
}

// countBudget is how long counting may take altogether. An exact count reads an index from end to end, so that of a large
// collection is not waited for.
const countBudget = 3 * time.Second

// Collections lists the collections that can be read, proposes content types, and counts for as long as that is cheap.
func Collections(ctx context.Context, source syncd.Source, database string) ([]Collection, error) {
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
		n, err := can.Count(ctx, syncd.Collection{Name: found[i].Name})
		if err == nil {
			found[i].Count = n
		}
		if ctx.Err() != nil {
			break
		}
	}
	return found, nil
}
