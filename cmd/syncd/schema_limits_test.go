package main

// Why a JSON Schema can't refuse a configuration.
const (
	variables  = "what a variable holds, and whether it is set, is not in the file"
	otherFiles = "what another file holds, and whether it exists, is not in the file"
	compares   = "it compares settings with one another"
	ownGrammar = "the text has a grammar of its own"
	secondOne  = "each document of a file is looked at by itself"
	legal      = "it is legal, and worth a warning"
)

// beyondSchema names the configurations with a mistake that the schema accepts, each with the reason.
var beyondSchema = map[string]string{
	"event-bson":               "a setting without effect is a warning",
	"event-plain":              "settings without effect are warnings",
	"bad-variable-name":        ownGrammar,
	"batch-bytes":              legal,
	"collection-not-mapped":    compares,
	"contradiction":            compares,
	"empty-block":              legal,
	"extends-cycle":            otherFiles,
	"extends-missing":          otherFiles,
	"filter-operator":          ownGrammar,
	"filter-text":              ownGrammar,
	"full-with-version":        compares,
	"leading-zero":             legal,
	"name":                     ownGrammar,
	"names-blank":              ownGrammar,
	"namespace":                ownGrammar,
	"owner-both":               compares,
	"owner-nothing":            compares,
	"owner-value":              ownGrammar,
	"owner-value-alone":        compares,
	"overlay-missing":          otherFiles,
	"parent-missing":           otherFiles,
	"plain-secret":             legal,
	"prune-unowned":            compares,
	"repeated-collection":      legal,
	"seed-ambiguous":           ownGrammar,
	"seed-chunks":              compares,
	"seed-collision":           compares,
	"seed-escape":              ownGrammar,
	"seed-of-collection":       ownGrammar,
	"seed-single-quotes":       ownGrammar,
	"seed-unknown-placeholder": ownGrammar,
	"seed-wide":                ownGrammar,
	"seed-without-id":          ownGrammar,
	"similar-and-colliding":    compares,
	"similar-collection":       compares,
	"topic":                    ownGrammar,
	"topic-of-name":            compares,
	"two-documents":            secondOne,
	"unset-variable":           variables,
}
