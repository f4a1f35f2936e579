package config

import (
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/syncd-io/syncd/spec"
)

// maxName is the length of a job's name in characters, as the rule of file.Name says.
const maxName = 100

// checkName gives the job a name: the one that is set, else the file's.
func (l *loader) checkName(d *spec.Decoder, tree *spec.Node, f *file) {
	const hint = "1 to 100 characters, no control characters, and no blank at either end"
	at := tree.Get("name")
	if !at.IsNull() {
		if problem := nameProblem(f.Name); problem != "" && !at.Broken && !hasErrorsUnder(d.Diagnostics(), "name") {
			d.In("name", func() {
				if !d.CheckName(at, f.Name) {
					d.Errorf(at, spec.CodeBadValue, hint, "name %s", problem)
				}
			})
		}
		return
	}
	base := filepath.Base(l.in.Path)
	f.Name = strings.TrimSuffix(base, filepath.Ext(base))
	if f.Name == "" {
		f.Name = base // .yaml
	}
	if problem := nameProblem(f.Name); problem != "" && !l.partial() {
		d.In("name", func() {
			d.Errorf(tree, spec.CodeMissingField, "add name: "+hint, "the file's name can't be the job's: it %s", problem)
		})
	}
}

// nameProblem says what keeps a text from being a job's name, or nothing.
func nameProblem(name string) string {
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "must not be empty"
	case n > maxName:
		return "must not have more than 100 characters"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "must not hold control characters"
	}
	_, problem := spec.NameProblem(name)
	return problem
}
