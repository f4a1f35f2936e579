package qdrantserver

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// validateName checks the collection name of a request on an existing collection. Qdrant still allows characters
// there that it no longer allows in new names, so that old collections stay reachable.
func validateName(name string) error { return validateNameWithout(name, "/\x00") }

// validateNewName checks the name of a collection to create.
func validateNewName(name string) error { return validateNameWithout(name, "<>:\"/\\|?*\x00\x1f") }

func validateNameWithout(name, forbidden string) error {
	var problems []string
	if n := utf8.RuneCountInString(name); n < 1 || n > 255 {
		problems = append(problems, fmt.Sprintf("collection_name: value %q invalid, must be from 1 to 255 characters", name))
	}
	for _, c := range forbidden {
		if strings.ContainsRune(name, c) {
			problems = append(problems, fmt.Sprintf("collection_name: collection name cannot contain \"%c\" char", c))
			break
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return invalidArgument("Validation error in body: [%s]", strings.Join(problems, "; "))
}

func rangeProblem(value uint64, least, most uint64) string {
	return fmt.Sprintf("value %d invalid, must be from %d to %d", value, least, most)
}

func minimumProblem(value uint64, least uint64) string {
	return fmt.Sprintf("value %d invalid, must be %d or larger", value, least)
}

func validateAtLeastOne(field string, value *uint64) error {
	if value != nil && *value < 1 {
		return validationError(field, minimumProblem(*value, 1))
	}
	return nil
}
