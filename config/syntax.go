package config

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd/spec"
)

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// The library counts the lines of its parser's errors, unlike its scanner's, from 0.
var countedFromZero = regexp.MustCompile(`^did not find expected (<|node content|'-' indicator|key$|',' or)`)

// advice says what a library's message means, and which column of the line it is about.
type advice struct {
	begins  string // of the library's message
	message string // instead of it
	hint    string
	column  func(line string) int // offset in the line, -1 if it can't be told
	open    bool                  // something was opened there, or before
	far     bool                  // the library names the line where the block begins, not where it is broken
}

var syntaxAdvice = []advice{
	{begins: "did not find expected ',' or ']'", message: `a "[" is not closed, or a comma is missing behind it`, column: unclosed('['), open: true},
	{begins: "did not find expected ',' or '}'", message: `a "{" is not closed, or a comma is missing behind it`, column: unclosed('{'), open: true},
	{begins: "found unexpected end of stream", message: "a quote is not closed", column: openQuote, open: true},
	{begins: "mapping values are not allowed", message: `a ":" where no value can follow`, hint: "check the indentation; text that holds a colon and a space needs quotes", column: strayColon},
	{begins: "block sequence entries are not allowed", message: `a "-" where no list can begin`, hint: "begin the list in a line of its own", column: valueWith("-")},
	{begins: "found character that cannot start any token", message: "a value can't begin with this character", hint: "put it in quotes", column: valueWith("@`%")},
	{begins: "found unknown escape character", message: `an unknown escape in "…"`, hint: `in '…' a \ is an ordinary character`, column: badEscape},
	{begins: "could not find expected ':'", message: `a name without ":"`, hint: "write name: value"},
	{begins: "did not find expected key", message: "the indentation, or a missing name", hint: "fields of one block begin in the same column", far: true},
	{begins: "did not find expected '-' indicator", message: "the indentation of a list", hint: "entries of one list begin in the same column", far: true},
	{begins: "did not find expected node content", message: "a value is missing", far: true},
	{begins: "did not find expected <document start>", message: "the indentation, or text behind the end of the configuration", far: true},
	{begins: "found a tab character", message: "a tab where a value would begin", hint: "use spaces", column: func(line string) int { return strings.IndexByte(line, '\t') }},
	{begins: "found undefined tag handle", message: "an unknown tag", hint: `text that begins with "!" needs quotes`, column: valueWith("!")},
	{begins: "document contains excessive aliasing", message: "too many aliases"},
	{begins: "exceeded max depth", message: "blocks inside of blocks, too deep"},
}

// syntaxError reports a YAML error at the best place that can be found: the library names a line, not always the right one,
// and no column.
func (p *parser) syntaxError(data []byte, err error) {
	m := yamlErrorLine.FindStringSubmatch(err.Error())
	number, _ := strconv.Atoi(m[1])
	if countedFromZero.MatchString(m[2]) {
		number++
	}
	found := advice{message: m[2]}
	for _, a := range syntaxAdvice {
		if strings.HasPrefix(m[2], a.begins) {
			found = a
			break
		}
	}
	at := 0
	if number > 0 && number <= len(p.text.yaml) {
		at = p.text.yaml[number-1]
	}
	if found.far || number == 0 {
		at = consumed(data)
	}
	place := p.text.pos(at).Line
	line, begin := p.text.line(place)
	// What is not closed began there or earlier.
	for n := place; found.open && n > 0; n-- {
		if l, b := p.text.line(n); found.column(l) >= 0 {
			line, begin = l, b
			break
		}
	}
	indent := indentation(line)
	switch {
	case strings.HasPrefix(line[indent:], "\t"):
		found.message, found.hint = "a tab in the indentation: YAML allows only spaces there", ""
		at = begin + indent
	case found.column != nil && found.column(line) >= 0:
		at = begin + found.column(line)
	default:
		at = begin + indent
	}
	p.errorf(p.text.pos(at), spec.CodeSyntax, found.hint, "the YAML is broken: %s", found.message)
}

// consumed tells how far the library read until it gave up, to within a few characters.
func consumed(data []byte) int {
	r := &byteReader{data: data}
	dec := yaml.NewDecoder(r)
	for {
		var n yaml.Node
		if err := dec.Decode(&n); err != nil {
			break
		}
	}
	// The library looks ahead; what it could not go on from is before the last line's end.
	return len(strings.TrimRight(string(data[:r.read]), "\r\n "))
}

// byteReader gives one byte at a time, so that nobody reads further than needed.
type byteReader struct {
	data []byte
	read int
}

func (r *byteReader) Read(p []byte) (int, error) {
	if r.read >= len(r.data) || len(p) == 0 {
		return 0, io.EOF
	}
	p[0] = r.data[r.read]
	r.read++
	return 1, nil
}

// outsideQuotes calls f for each byte of a line that is neither in quotes nor in a comment, and returns the offset of a
// quote that is not closed, or -1.
func outsideQuotes(line string, f func(i int)) int {
	for i := 0; i < len(line); i++ {
		c := line[i]
		before := byte(' ')
		if i > 0 {
			before = line[i-1]
		}
		switch {
		case c == '#' && (before == ' ' || before == '\t'):
			return -1
		case (c == '"' || c == '\'') && strings.IndexByte(" \t[{,:-", before) >= 0:
			end := i + 1
			for end < len(line) && line[end] != c {
				if line[end] == '\\' && c == '"' {
					end++
				}
				end++
			}
			if end >= len(line) {
				return i
			}
			i = end
		default:
			f(i)
		}
	}
	return -1
}

func openQuote(line string) int {
	return outsideQuotes(line, func(int) {})
}

// unclosed finds the last opening bracket that the line does not close.
func unclosed(open byte) func(string) int {
	closing := map[byte]byte{'[': ']', '{': '}'}[open]
	return func(line string) int {
		var stack []int
		outsideQuotes(line, func(i int) {
			switch line[i] {
			case open:
				stack = append(stack, i)
			case closing:
				if len(stack) > 0 {
					stack = stack[:len(stack)-1]
				}
			}
		})
		if len(stack) == 0 {
			return -1
		}
		return stack[len(stack)-1]
	}
}

// strayColon finds the colon that can't be one: the second of a line, or the only one.
func strayColon(line string) int {
	var colons []int
	outsideQuotes(line, func(i int) {
		if line[i] == ':' && (i+1 == len(line) || line[i+1] == ' ') {
			colons = append(colons, i)
		}
	})
	switch len(colons) {
	case 0:
		return -1
	case 1:
		return colons[0]
	}
	return colons[1]
}

// valueWith finds the first value of a line that begins with one of the characters.
func valueWith(characters string) func(string) int {
	return func(line string) int {
		found := -1
		begins := true // a value begins here
		outsideQuotes(line, func(i int) {
			c := line[i]
			if found < 0 && begins && strings.IndexByte(characters, c) >= 0 && i > 0 {
				found = i
			}
			begins = c == ' ' && begins || strings.IndexByte(":[{,-", c) >= 0
		})
		if found < 0 && line != "" && strings.IndexByte(characters, line[0]) >= 0 {
			found = 0
		}
		return found
	}
}

var escapes = regexp.MustCompile(`\\(?:[^0abt\tnvfre "'/\\N_LPxuU]|$)`)

func badEscape(line string) int {
	if m := escapes.FindStringIndex(strings.ReplaceAll(line, `\\`, "  ")); m != nil {
		return m[0]
	}
	return -1
}

var unknownAnchor = regexp.MustCompile(`^yaml: unknown anchor '(.+)' referenced$`)

// maxUnknownAliases bounds how many aliases without anchor are looked for, since each costs a few passes over the file.
const maxUnknownAliases = 20

// document parses the file's first document. An alias without an anchor, at which the library stops, is reported and taken
// out, so that it hides nothing else. It returns nil if the syntax is broken, and an empty document for an empty file.
func (p *parser) document(data []byte) *yaml.Node {
	for range maxUnknownAliases {
		dec := yaml.NewDecoder(strings.NewReader(string(data)))
		doc := &yaml.Node{}
		err := dec.Decode(doc)
		if errors.Is(err, io.EOF) {
			return doc
		}
		if err != nil {
			if data = p.withoutAlias(data, err); data != nil {
				continue
			}
			return nil
		}
		second := yaml.Node{}
		if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
			p.secondDocument(data, &second, err)
			return nil
		}
		return doc
	}
	return nil
}

func (p *parser) secondDocument(data []byte, second *yaml.Node, err error) {
	at := p.text.offset(second.Line, second.Column)
	if err != nil {
		at = consumed(data)
	}
	for n := p.text.pos(at).Line; n > 1; n-- { // the line that begins it: ---
		if line, begin := p.text.line(n); strings.HasPrefix(line, "---") {
			at = begin
			break
		}
	}
	p.errorf(p.text.pos(at), spec.CodeSyntax, "keep one document a file", "a second YAML document")
}

// withoutAlias reports what Decode says and returns the file without the alias that it could not resolve, or nil if the
// error is another one.
func (p *parser) withoutAlias(data []byte, err error) []byte {
	m := unknownAnchor.FindStringSubmatch(err.Error())
	at := -1
	if m != nil {
		at = findAlias(string(data), m[1])
	}
	if at < 0 {
		p.syntaxError(data, err)
		return nil
	}
	var anchors []string
	for _, a := range anchorName.FindAllStringSubmatch(string(data[:at]), -1) {
		anchors = append(anchors, a[1])
	}
	p.errorf(p.text.pos(at), spec.CodeUnknownAlias, spec.DidYouMean(m[1], anchors), "the alias *%s has no anchor &%s in front of it", m[1], m[1])
	p.cut = append(p.cut, at)
	size := 1 + len(m[1])
	return append(append(append([]byte{}, data[:at]...), `""`+strings.Repeat(" ", size-2)...), data[at+size:]...)
}

var anchorName = regexp.MustCompile(`(?m)(?:^|[\s\[{,:-])&([A-Za-z0-9_-]+)`)

// findAlias finds the alias *name that the library can't resolve. The same characters can stand in a comment or in quotes:
// it is the first place where another name makes the library complain about that one.
func findAlias(data, name string) int {
	other := ""
	for c := 'a'; c <= 'z'; c++ {
		if s := strings.Repeat(string(c), len(name)); s != name && !strings.Contains(data, "&"+s) {
			other = s
			break
		}
	}
	if other == "" {
		return -1
	}
	from := 0
	for range maxUnknownAliases {
		i := strings.Index(data[from:], "*"+name)
		if i < 0 {
			return -1
		}
		at := from + i
		renamed := data[:at+1] + other + data[at+1+len(name):]
		err := yaml.NewDecoder(strings.NewReader(renamed)).Decode(&yaml.Node{})
		if err != nil && err.Error() == fmt.Sprintf("yaml: unknown anchor '%s' referenced", other) {
			return at
		}
		from = at + 1
	}
	return -1
}
