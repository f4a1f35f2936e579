package spec

import "slices"

// Code names a kind of problem; codes are stable, so scripts and documentation may refer to them.
type Code string

// The codes. codeTable says what each means; a test holds the two together.
const (
	CodeSyntax            Code = "syntax"
	CodeUnknownAlias      Code = "unknown-alias"
	CodeDuplicateKey      Code = "duplicate-key"
	CodeMissingFile       Code = "missing-file"
	CodeExtendsCycle      Code = "extends-cycle"
	CodeUnsetVariable     Code = "unset-variable"
	CodeUnknownField      Code = "unknown-field"
	CodeMoved             Code = "moved"
	CodeMissingField      Code = "missing-field"
	CodeDeprecated        Code = "deprecated"
	CodeWrongType         Code = "wrong-type"
	CodeOutOfRange        Code = "out-of-range"
	CodeNotOneOf          Code = "not-one-of"
	CodeBadValue          Code = "bad-value"
	CodeLeadingZero       Code = "leading-zero"
	CodeEmptyBlock        Code = "empty-block"
	CodeBeaten            Code = "beaten-by-variable"
	CodeContradiction     Code = "contradiction"
	CodeNoEffect          Code = "no-effect"
	CodeUnknownPlugin     Code = "unknown-plugin"
	CodeOnePlugin         Code = "one-plugin"
	CodeSeed              Code = "seed"
	CodeSeedCollision     Code = "seed-collision"
	CodeUnknownCollection Code = "unknown-collection"
	CodeSimilarCollection Code = "similar-collection"
	CodeTopic             Code = "topic"
	CodePlainSecret       Code = "plain-secret"
)

// CodeInfo describes a code for people.
type CodeInfo struct {
	Code    Code
	Meaning string // what is wrong, one sentence
	Remedy  string // what to do, one sentence
}

// Codes lists every code that this program's diagnostics have, from those of a file to those of its values.
func Codes() []CodeInfo { return slices.Clone(codeTable) }

var codeTable = []CodeInfo{
	{CodeSyntax, "The file is not YAML, or is YAML that a configuration can't be.", "Mend the place that is named; what stands behind it was not looked at."},
	{CodeUnknownAlias, "An alias (*name) has no anchor (&name) in front of it in the file.", "Correct the name, or move the anchor up; anchors do not reach into other files."},
	{CodeDuplicateKey, "A block has one key twice.", "Keep one of the two."},
	{CodeMissingFile, "A file or folder can't be read.", "Correct the name; what extends names is relative to the file that it stands in."},
	{CodeExtendsCycle, "A file extends itself, directly or through others.", "Take one extends out of the circle."},
	{CodeUnsetVariable, "A ${NAME} has no default and no such environment variable is set.", "Set it, write ${NAME:-default}, or check with --allow-unset-env where secrets are not at hand."},
	{CodeUnknownField, "No setting has that name there.", "Correct the name or its indentation."},
	{CodeMoved, "A setting of an earlier version stands elsewhere now.", "Move it to where the message says."},
	{CodeMissingField, "A setting that has no default is not set, or is set to nothing.", "Set it."},
	{CodeDeprecated, "A setting still works, but another has taken its place.", "Use the setting that the message names."},
	{CodeWrongType, "A value has the wrong shape: text for a number, a list for a block, and so on.", "Write what the message asks for; a number in quotes is text."},
	{CodeOutOfRange, "A number, a time span or a length is below or above its limits.", "Stay within the limits that the message names."},
	{CodeNotOneOf, "A value is none of the words that the setting knows.", "Use one of the words that the message lists."},
	{CodeBadValue, "A value breaks a rule of its own setting.", "See the message."},
	{CodeLeadingZero, "A number begins with a zero, which YAML may read as octal.", "Write it without the zero, or as 0o144 where octal is meant."},
	{CodeBeaten, "An environment variable beats a value that a file writes out.", "Unset the variable, or write ${NAME:-value} in the file where it is meant to differ."},
	{CodeEmptyBlock, "A block without a value takes back all that an extended file sets there.", "Remove the key, or write what is to differ below it."},
	{CodeContradiction, "Two settings exclude each other.", "Decide for one of them."},
	{CodeNoEffect, "A setting changes nothing, given the others.", "Remove it, or change the setting that the message names."},
	{CodeUnknownPlugin, "No plugin of this program has that name.", "Correct the name, or use a program that was built with the plugin."},
	{CodeOnePlugin, "A section names more than one plugin.", "Keep one."},
	{CodeSeed, "A seed template can't make point ids: it lacks the document's id, or has a placeholder that does not exist.", "Write what the indexing consumer hashes, byte for byte."},
	{CodeSeedCollision, "Documents of two collections can get the same seed, and with it one point id.", "Give the collections different content types, or put {collection} into the seed."},
	{CodeUnknownCollection, "A collection that is to be read is not in the mapping.", "Correct the name, or add the collection to mapping.collections."},
	{CodeSimilarCollection, "Two collections differ in upper and lower case only.", "Keep the one that the database has; if it has both, the warning can be ignored."},
	{CodeTopic, "The events of a collection would go to a topic that can't exist.", "Correct the topic or the template that it comes from."},
	{CodePlainSecret, "A password or key stands readable in a file that git tracks.", "Take it from the environment, as in ${NAME}, and change it, since the history keeps it."},
}
