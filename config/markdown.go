package config

import (
	"bytes"
	"regexp"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// Example is a configuration that stands in a document.
type Example struct {
	// Text is the document with everything else blanked out, so that lines and columns are the document's.
	Text  []byte
	Scope Scope
}

var fence = regexp.MustCompile("^[ \\t]*(`{3,}|~{3,})[ \\t]*([^`]*)$")

// Examples finds the configurations of a Markdown document. They stand in fenced blocks:
//
//	```yaml           a whole configuration, if one of its sections is there; other YAML is passed over
//	```yaml fragment  part of one: what is missing is not missed
//	```yaml ignore    never looked at
func Examples(document []byte) []Example {
	lines := bytes.SplitAfter(document, []byte("\n"))
	var out []Example
	for i := 0; i < len(lines); i++ {
		open := fence.FindSubmatch(bytes.TrimRight(lines[i], "\r\n"))
		if open == nil {
			continue
		}
		begin := i + 1
		for i = begin; i < len(lines); i++ {
			end := fence.FindSubmatch(bytes.TrimRight(lines[i], "\r\n"))
			if end != nil && bytes.HasPrefix(end[1], open[1]) && isBlank(end[2]) {
				break
			}
		}
		words := strings.Fields(strings.ToLower(string(open[2])))
		if len(words) == 0 || words[0] != "yaml" && words[0] != "yml" || slices.Contains(words, "ignore") {
			continue
		}
		e := Example{Text: blanked(lines, begin, i)}
		if slices.Contains(words, "fragment") {
			e.Scope = Fragment
		} else if !isConfiguration(lines[begin:min(i, len(lines))]) {
			continue
		}
		out = append(out, e)
	}
	return out
}

// blanked gives the lines from begin to end, each where it stands.
func blanked(lines [][]byte, begin, end int) []byte {
	var out []byte
	for i, line := range lines {
		switch {
		case i >= begin && i < end:
			out = append(out, line...)
		case bytes.HasSuffix(line, []byte("\n")):
			out = append(out, '\n')
		}
	}
	if out == nil {
		out = []byte{}
	}
	return out
}

// isConfiguration reports whether one of a configuration's sections stands at the block's own indentation.
func isConfiguration(lines [][]byte) bool {
	names := []string{extends}
	for _, f := range spec.Fields(&file{}) {
		if f.Name != "name" { // much YAML begins with a name
			names = append(names, f.Name)
		}
	}
	indent := -1
	for _, line := range lines {
		text := string(line)
		if trimmed := strings.TrimSpace(text); trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if indent < 0 {
			indent = indentation(text)
		}
		key, _, found := strings.Cut(text[min(indent, len(text)):], ":")
		if found && indentation(text) == indent && slices.Contains(names, strings.Trim(key, `"' `)) {
			return true
		}
	}
	return false
}
