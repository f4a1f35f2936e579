package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/syncd-io/syncd/spec"
)

// finish completes what was reported, for people: proposals, the lines that it is about, and no secret in either.
func (l *loader) finish() spec.Diagnostics {
	l.plainSecrets()
	l.hints()
	diags := l.diags.Sorted()
	if len(diags) == 0 {
		return diags
	}
	secrets := l.secrets()
	masks := map[string]*mask{}
	scrub := spec.ScrubURLs
	for _, f := range l.parsed {
		m := newMask(f, secrets)
		masks[f.text.file] = m
		if len(m.texts) > 0 {
			hide, before := strings.NewReplacer(m.texts...), scrub
			scrub = func(text string) string { return hide.Replace(before(text)) }
		}
	}
	excerpt := func(p spec.Pos) spec.Excerpt {
		if m := masks[p.Source]; m != nil && p.Line > 0 {
			return m.excerpt(p)
		}
		return spec.Excerpt{}
	}
	for i := range diags {
		d := &diags[i]
		d.Message, d.Hint = scrub(d.Message), scrub(d.Hint)
		d.Excerpt = excerpt(d.Pos)
		if !d.Related.IsZero() {
			d.RelatedExcerpt = excerpt(d.Related)
		}
	}
	return diags
}

// secretSettings knows which settings are secrets.
type secretSettings struct {
	secret map[string]bool // by path, "*" for free names
	open   map[string]bool // settings that are none
}

func (l *loader) secrets() *secretSettings {
	if l.known == nil {
		l.known = &secretSettings{secret: map[string]bool{}, open: map[string]bool{}}
		l.known.add(Describe(l.in.Registry))
		l.known.add(DescribeServer())
	}
	return l.known
}

func (s *secretSettings) add(settings []spec.Setting) {
	for _, f := range settings {
		path := spec.PathString(f.Path)
		switch shape := f.Shape; {
		case shape.Form == spec.SecretForm, shape.Item != nil && shape.Item.Form == spec.SecretForm:
			s.secret[path] = true
		case shape.Form != spec.BlockForm && shape.Form != spec.OneOfForm:
			s.open[path] = true
		}
		s.add(f.Shape.Fields)
		if f.Shape.Item != nil {
			s.add(f.Shape.Item.Fields)
		}
	}
}

// declared reports whether the setting at path is a secret by its declaration.
func (s *secretSettings) declared(path []string) bool { return s.secret[spec.PathString(path)] }

// hidden reports whether the value at path must not be shown: a secret by its declaration, or by its name where nothing of
// that name is declared. A name that is misspelt is still recognized, since that is when its line is shown.
func (s *secretSettings) hidden(path []string) bool {
	switch {
	case s.declared(path):
		return true
	case s.open[spec.PathString(path)], len(path) == 0, path[0] == "mapping":
		return false
	}
	return secretName(path[len(path)-1])
}

var (
	secretWords = []string{"password", "passphrase", "secret", "token", "api_key", "credential"}
	secretPart  = regexp.MustCompile(`(?i)pass|pwd|secret|token|key$|credential|auth|jaas|uri$|dsn`)
)

func secretName(name string) bool {
	return secretPart.MatchString(name) || spec.Nearest(name, secretWords) != ""
}

// span is a part of a file's text, as offsets.
type span struct{ from, to int }

// mask knows which parts of a file must not be shown.
type mask struct {
	text  *text
	spans []span
	texts []string // the secrets themselves, each before what stands for it: an alias may have put one into a message
}

// shortest is the length from which a secret is looked for in messages; a shorter one would be found in ordinary words.
const shortest = 4

func newMask(f parsedFile, secrets *secretSettings) *mask {
	m := &mask{text: f.text}
	if f.root == nil {
		m.byLines()
	} else {
		m.byNodes(f.root, nil, secrets, false)
	}
	for _, at := range userInfo.FindAllStringSubmatchIndex(f.text.data, -1) {
		m.spans = append(m.spans, span{at[2], at[3]})
	}
	slices.SortFunc(m.spans, func(a, b span) int { return a.from - b.from })
	return m
}

var userInfo = regexp.MustCompile(`://([^\s"'<>]+)@`)

// byNodes finds the scalars below n that must not be shown.
func (m *mask) byNodes(n *spec.Node, path []string, secrets *secretSettings, secret bool) {
	for _, e := range n.Entries {
		p := append(slices.Clone(path), e.Name)
		m.byNodes(e.Value, p, secrets, secret || secrets.hidden(p))
	}
	for _, item := range n.Items {
		m.byNodes(item, path, secrets, secret)
	}
	for _, held := range n.Held { // by secret files
		if len(held) >= shortest {
			m.texts = append(m.texts, held, spec.Redacted)
		}
	}
	// The name of a variable or of a file is no secret, and what it stands for is never shown.
	if n.Kind == spec.Scalar && (secret || n.Secret) && literal(n.Raw) != "" {
		m.spans = append(m.spans, m.extent(n))
		ordinary := len(path) > 1 && secrets.declared(path[:len(path)-1]) && !secretName(path[len(path)-1]) // a property such as acks: "1"
		if len(n.Text) >= shortest && !ordinary {
			m.texts = append(m.texts, n.Text, spec.Redacted)
		}
	}
}

// extent is where a scalar stands: to the end of its quotes, of its text, or, where it goes on in further lines, of all lines
// that are indented below its key.
func (m *mask) extent(n *spec.Node) span {
	from := m.text.at(n.Pos)
	data := m.text.data[from:]
	if n.Quoted && data != "" {
		if end := closingQuote(data); end > 0 {
			return span{from, from + end}
		}
	}
	if strings.HasPrefix(data, n.Raw) {
		return span{from, from + len(n.Raw)}
	}
	line, begin := m.text.line(n.Pos.Line)
	indent := indentation(line)
	to := begin + len(line)
	for number := n.Pos.Line + 1; number <= len(m.text.lines); number++ {
		line, begin := m.text.line(number)
		if strings.TrimSpace(line) != "" && indentation(line) <= indent {
			break
		}
		to = begin + len(line)
	}
	return span{from, to}
}

// closingQuote is the length of the quoted scalar that data begins with, quotes included; 0 if there is no end.
func closingQuote(data string) int {
	quote := data[0]
	for i := 1; i < len(data); i++ {
		switch {
		case data[i] == '\\' && quote == '"':
			i++
		case data[i] == quote && quote == '\'' && strings.HasPrefix(data[i:], "''"):
			i++
		case data[i] == quote:
			return i + 1
		}
	}
	return 0
}

var lineKey = regexp.MustCompile(`["']?([A-Za-z_][\w.-]*)["']?\s*:(?:\s|$)`)

// byLines guesses, in a file whose syntax is broken, where secrets may stand: behind a name that sounds like one, to the end
// of the line, and in the lines that are indented below it.
func (m *mask) byLines() {
	below := -1 // the indentation of a secret's key, whose value may go on
	for number := range m.text.lines {
		line, begin := m.text.line(number + 1)
		indent := len(line) - len(strings.TrimLeft(line, " \t-"))
		if below >= 0 && (indent > below || strings.TrimSpace(line) == "") {
			m.spans = append(m.spans, span{begin + indent, begin + len(line)})
			continue
		}
		below = -1
		for _, k := range lineKey.FindAllStringSubmatchIndex(line, -1) {
			if secretName(line[k[2]:k[3]]) {
				m.spans = append(m.spans, span{begin + k[1], begin + len(line)})
				below = indent
				break
			}
		}
	}
}

// excerpt is the line of a position, with the column moved by what was masked before it.
func (m *mask) excerpt(p spec.Pos) spec.Excerpt {
	line, begin := m.text.line(p.Line)
	end, at := begin+len(line), min(m.text.at(p), begin+len(line))
	column := 0
	var b strings.Builder
	copied := begin
	write := func(to int) {
		if at >= copied && (at < to || at == to && to == end) && column == 0 {
			column = b.Len() + at - copied + 1
		}
		b.WriteString(m.text.data[copied:to])
		copied = to
	}
	for _, s := range m.spans {
		from, to := max(s.from, copied), min(s.to, end)
		if to <= from {
			continue
		}
		write(from)
		if at >= from && at < to && column == 0 {
			column = b.Len() + 1
		}
		b.WriteString(spec.Redacted)
		copied = to
	}
	write(end)
	if column == 0 {
		column = b.Len() + 1
	}
	return spec.Excerpt{Text: b.String(), Column: column}
}
