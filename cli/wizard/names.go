package wizard

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/syncd-io/syncd/mapping"
)

// proposeContentTypes proposes a content type for each collection: that of the described system where it has the collection,
// else the name in snake case and in the singular. No two are the same, since two documents of one id would then have one
// point id.
func proposeContentTypes(names []string) []Collection {
	out := make([]Collection, len(names))
	taken := map[string]bool{}
	take := func(i int, contentType string) bool {
		if contentType == "" || taken[contentType] {
			return false
		}
		taken[contentType] = true
		out[i].ContentType = contentType
		return true
	}
	for i, name := range names {
		out[i] = Collection{Name: name, Count: -1}
		for _, known := range defaultCollections() {
			if known.Name == name {
				take(i, known.ContentType)
			}
		}
	}
	// A name that is taken as it is has precedence over one that would become the same in the singular.
	for i, name := range names {
		if snake := snakeCase(name); out[i].ContentType == "" && singular(snake) == snake {
			take(i, snake)
		}
	}
	for i, name := range names {
		if out[i].ContentType != "" {
			continue
		}
		snake := snakeCase(name)
		if take(i, singular(snake)) {
			out[i].Guessed = singular(snake) != snake
			continue
		}
		for n := 1; !take(i, snake); n++ {
			snake = fmt.Sprintf("%s_%d", snakeCase(name), n+1)
		}
	}
	return out
}

// snakeCase writes workItem, WorkItem and work-item as work_item, and HTTPServer as http_server.
func snakeCase(name string) string {
	var b strings.Builder
	runes := []rune(name)
	gap := false
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			gap = true
			continue
		}
		if unicode.IsUpper(r) && i > 0 {
			// The last capital of several begins a word, unless it ends one: HTTPServer, but userIDs.
			rest := runes[i+1:]
			begins := len(rest) > 0 && unicode.IsLower(rest[0]) &&
				(rest[0] != 's' || len(rest) > 1 && unicode.IsLower(rest[1]))
			gap = gap || !unicode.IsUpper(runes[i-1]) || begins
		}
		if gap && b.Len() > 0 {
			b.WriteByte('_')
		}
		gap = false
		b.WriteRune(unicode.ToLower(r))
	}
	if b.Len() == 0 {
		return "document"
	}
	return b.String()
}

// singular drops the plural of a name's last word where English leaves no doubt, and else returns the name: a content type
// must be the indexer's, and a plain name is easier to correct than a mangled one.
func singular(name string) string {
	head, word := "", name
	if i := strings.LastIndex(name, "_"); i >= 0 {
		head, word = name[:i+1], name[i+1:]
	}
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(word, s) })
	}
	switch {
	case len(word) < 4 || !ends("s") || slices.Contains([]string{"news", "lens", "chaos", "movies", "cookies", "series", "species"}, word):
	case ends("ss", "us", "is", "as", "ics", "ws", "ches", "zes", "uses", "oes") && !ends("tches", "rches", "nches", "iews"):
	case ends("ies"):
		word = strings.TrimSuffix(word, "ies") + "y"
	case ends("sses", "shes", "xes", "tches", "rches", "nches"):
		word = strings.TrimSuffix(word, "es")
	default:
		word = strings.TrimSuffix(word, "s")
	}
	return head + word
}

// defaultCollections are those of the described system.
func defaultCollections() mapping.Collections {
	return mapping.Collections{
		{Name: "page", ContentType: "page"},
		{Name: "workItem", ContentType: "work_item"},
		{Name: "project", ContentType: "project"},
		{Name: "cycle", ContentType: "cycle"},
		{Name: "module", ContentType: "module"},
		{Name: "epic", ContentType: "epic"},
		{Name: "features", ContentType: "feature"},
		{Name: "userStory", ContentType: "user_story"},
	}
}
