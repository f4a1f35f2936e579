package spec

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"
)

// ruleName in a `rule` tag holds text to CheckName.
const ruleName = "name"

// rules are the rules of package validator, and ruleName. To make them takes longer than to read a configuration by them.
var rules = sync.OnceValue(func() *validator.Validate {
	rules := validator.New(validator.WithRequiredStructEnabled())
	err := rules.RegisterValidation(ruleName, func(fl validator.FieldLevel) bool {
		_, problem := NameProblem(fl.Field().String())
		return problem == ""
	})
	if err != nil {
		panic("registering a rule under a name that is free can't fail: " + err.Error())
	}
	return rules
})

// CheckName reports a name that begins or ends with a character that nobody sees, or that is no text, and says whether it did.
// Names are compared byte by byte by every server, so such a name finds nothing, and nothing that is shown of it tells why. n is
// the node that the name was read from, perhaps together with more; nil where there is none.
func (d *Decoder) CheckName(n *Node, name string) bool {
	offset, problem := NameProblem(name)
	if problem == "" {
		return false
	}
	diag := Diagnostic{Severity: Error, Code: CodeBadValue, Message: d.subject() + " " + problem, Hint: "remove it"}
	if n != nil {
		diag.Pos = n.Pos
		if n.Kind == Scalar && n.Text == name {
			diag.Pos = n.At(offset)
		}
		if len(n.From) > 0 {
			diag.Hint += "; the value comes from " + strings.Join(n.From, " and ")
		}
	}
	d.Add(diag)
	return true
}

// CheckKey is CheckName for an entry's own name.
func (d *Decoder) CheckKey(e Entry) bool {
	return d.CheckName(&Node{Kind: Map, Pos: e.Value.where()}, e.Name)
}

// NameProblem says which character at an end of a name keeps it from being found, and at which byte it is; nothing where the
// name is good.
func NameProblem(name string) (offset int, problem string) {
	if !utf8.ValidString(name) {
		return 0, "must be valid UTF-8 text"
	}
	if r, _ := utf8.DecodeRuneInString(name); unseen(r) {
		return 0, "begins with " + describeRune(r)
	}
	if r, size := utf8.DecodeLastRuneInString(name); unseen(r) {
		return len(name) - size, "ends with " + describeRune(r)
	}
	return 0, ""
}

// unseen reports whether a character at the end of a text can't be seen: white space, controls, and what Unicode calls ignorable,
// but for the signs that it counts as formatting though they are visible: they begin numbers in Arabic. Variation selectors, at
// the end of many emoji, are none of these.
func unseen(r rune) bool {
	switch {
	case r == utf8.RuneError, unicode.Is(unicode.Prepended_Concatenation_Mark, r):
		return false
	case unicode.IsSpace(r), unicode.IsControl(r), unicode.In(r, unicode.Zs, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point):
		return true
	}
	return r == '\u2800' // a Braille cell without dots
}

// describeRune names a character that can't be shown.
func describeRune(r rune) string {
	name := "an invisible character"
	switch {
	case r == ' ':
		name = "a blank"
	case r == '\t':
		name = "a tab"
	case r == '\n', r == '\r', r == '\u0085', r == '\u2028', r == '\u2029':
		name = "a line break"
	case r == '\u00a0', r == '\u202f':
		name = "a no-break space"
	case r >= '\u200b' && r <= '\u200d', r == '\u2060', r == '\ufeff':
		name = "a zero-width character"
	case unicode.IsSpace(r):
		name = "a space"
	case unicode.IsControl(r):
		name = "a control character"
	}
	return fmt.Sprintf("%s (U+%04X)", name, r)
}
