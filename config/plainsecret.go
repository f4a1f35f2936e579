package config

import (
	"net/url"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// plainSecrets warns of passwords that stand readable in a file of a repository: who can read the repository, now or later,
// has them.
func (l *loader) plainSecrets() {
	if l.in.Text != nil { // standard input, or the example of a document
		return
	}
	for _, f := range l.parsed {
		if f.root == nil {
			continue
		}
		secrets := l.secrets()
		var found []*spec.Node
		var paths []string
		eachScalar(f.root, nil, func(n *spec.Node, path []string) {
			if isPlainSecret(n, path, secrets) {
				found = append(found, n)
				paths = append(paths, spec.PathString(path))
			}
		})
		if len(found) == 0 || !tracked(f.text.file) { // asked only where it matters
			continue
		}
		for i, n := range found {
			l.diags = append(l.diags, spec.Diagnostic{
				Severity: spec.Warning, Code: spec.CodePlainSecret, Pos: n.Pos, Path: paths[i],
				Message: paths[i] + " is a secret in plain text, in a file that git tracks",
				Hint:    "take it from the environment, as ${NAME}, and change it: the history keeps this one",
			})
		}
	}
}

func eachScalar(n *spec.Node, path []string, f func(n *spec.Node, path []string)) {
	for _, e := range n.Entries {
		eachScalar(e.Value, append(slices.Clone(path), e.Name), f)
	}
	for _, item := range n.Items {
		eachScalar(item, path, f)
	}
	if n.Kind == spec.Scalar {
		f(n, path)
	}
}

// isPlainSecret reports whether the scalar gives a secret away. All properties of a client library count as secrets for
// what is printed, but only those whose names say so are some; and an address is one only with a password in it.
func isPlainSecret(n *spec.Node, path []string, secrets *secretSettings) bool {
	named := len(path) > 1 && secrets.declared(path[:len(path)-1]) && secretName(path[len(path)-1])
	if !secrets.declared(path) && !named {
		return false
	}
	text := literal(n.Raw)
	if strings.Contains(text, "://") || strings.HasSuffix(path[len(path)-1], "uri") {
		return hasPassword(text)
	}
	return strings.TrimSpace(text) != ""
}

// literal is what of a scalar's text stands in the file itself: variables are not, their defaults are.
func literal(text string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if v == "$${" {
			return "${"
		}
		_, fallback, _ := strings.Cut(strings.TrimSuffix(v, "}"), ":-")
		return fallback
	})
}

func hasPassword(address string) bool {
	for _, at := range userInfo.FindAllStringSubmatch(address, -1) {
		if _, password, found := strings.Cut(at[1], ":"); found && password != "" {
			return true
		}
	}
	_, query, _ := strings.Cut(address, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return false
	}
	for name, v := range values {
		if name := strings.ToLower(name); strings.Contains(name, "password") && slices.ContainsFunc(v, func(s string) bool { return s != "" }) {
			return true
		}
	}
	return false
}
