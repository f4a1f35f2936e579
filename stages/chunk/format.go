package chunk

import (
	"regexp"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// tag matches what no text but HTML has: an end tag, or a tag of a block or a line break.
var tag = regexp.MustCompile(`(?i)</[a-z][a-z0-9]*\s*>|<(p|div|br|h[1-6]|ul|ol|li|table|html|body|img|hr)(\s[^<>]*)?/?>`)

// text takes the text out of a field's value.
func (f Format) text(value string) string {
	switch {
	case f == HTML, f == Auto && tag.MatchString(value):
		return fromHTML(value)
	case f == Markdown:
		return fromMarkdown(value)
	}
	return value
}

// blocks are the elements around which lines end; those with two of them begin a paragraph.
var blocks = map[atom.Atom]int{
	atom.P: 2, atom.Div: 1, atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2, atom.Ul: 2, atom.Ol: 2, atom.Li: 1,
	atom.Table: 2, atom.Tr: 1, atom.Blockquote: 2, atom.Pre: 2, atom.Section: 2, atom.Article: 2, atom.Header: 2, atom.Footer: 2,
	atom.Dl: 2, atom.Dt: 1, atom.Dd: 1, atom.Figure: 2, atom.Figcaption: 1, atom.Hr: 2, atom.Br: 1, atom.Form: 2, atom.Main: 2, atom.Nav: 2,
}

// unread are the elements whose content nobody reads.
var unread = map[atom.Atom]bool{atom.Script: true, atom.Style: true, atom.Template: true, atom.Noscript: true, atom.Title: true, atom.Iframe: true, atom.Svg: true}

// fromHTML gives what a reader sees of HTML. It reads tokens, so that neither depth nor what is not closed is a danger.
func fromHTML(value string) string {
	w := writer{}
	skip, pre := 0, 0
	z := html.NewTokenizer(strings.NewReader(value))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break // the end: reading a string has no other
		}
		token := z.Token()
		switch kind {
		case html.TextToken:
			switch {
			case skip > 0:
			case pre > 0:
				w.verbatim(token.Data)
			default:
				w.words(token.Data)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			w.end(blocks[token.DataAtom])
			switch {
			case unread[token.DataAtom] && kind == html.StartTagToken:
				skip++
			case token.DataAtom == atom.Pre && kind == html.StartTagToken:
				pre++
			case token.DataAtom == atom.Td || token.DataAtom == atom.Th:
				w.words(" ")
			case token.DataAtom == atom.Img && skip == 0:
				for _, a := range token.Attr {
					if a.Key == "alt" {
						w.words(" " + a.Val + " ")
					}
				}
			}
		case html.EndTagToken:
			w.end(blocks[token.DataAtom])
			switch {
			case unread[token.DataAtom]:
				skip = max(skip-1, 0)
			case token.DataAtom == atom.Pre:
				pre = max(pre-1, 0)
			}
		case html.ErrorToken, html.CommentToken, html.DoctypeToken:
		}
	}
	return w.b.String()
}

// writer writes words with single spaces between them, and lines.
type writer struct {
	b     strings.Builder
	lines int  // line ends that are due
	space bool // a space is due
}

// end ends a line, or a paragraph.
func (w *writer) end(lines int) { w.lines = max(w.lines, lines) }

func (w *writer) due() {
	if w.b.Len() > 0 {
		switch {
		case w.lines > 0:
			w.b.WriteString("\n\n"[:min(w.lines, 2)])
		case w.space:
			w.b.WriteByte(' ')
		}
	}
	w.lines, w.space = 0, false
}

func (w *writer) words(s string) {
	if s == "" {
		return
	}
	words := strings.Fields(s)
	if len(words) == 0 {
		w.space = true
		return
	}
	w.space = w.space || strings.TrimLeft(s, " \t\n\r\f") != s
	for _, word := range words {
		w.due()
		w.b.WriteString(word)
		w.space = true
	}
	w.space = strings.TrimRight(s, " \t\n\r\f") != s
}

func (w *writer) verbatim(s string) {
	if s == "" {
		return
	}
	w.due()
	w.b.WriteString(s)
}

// markdown is made at the first document that has some.
var markdown = sync.OnceValue(func() parser.Parser { return goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser() })

// fromMarkdown gives what a reader sees of Markdown, without what only marks it.
func fromMarkdown(value string) string {
	source := []byte(value)
	w := writer{}
	_ = ast.Walk(markdown().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if n.Type() == ast.TypeBlock {
			switch n.Kind() {
			case ast.KindListItem, extast.KindTableRow, extast.KindTableHeader, ast.KindTextBlock:
				w.end(1)
			case extast.KindTableCell:
				w.words(" ")
			default:
				w.end(2)
			}
		}
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			w.words(string(n.Segment.Value(source)))
			if n.SoftLineBreak() {
				w.words(" ")
			}
			if n.HardLineBreak() {
				w.end(1)
			}
		case *ast.String:
			w.words(string(n.Value))
		case *ast.AutoLink:
			w.words(string(n.Label(source)))
		case *ast.CodeBlock, *ast.FencedCodeBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				w.verbatim(string(line.Value(source)))
			}
			return ast.WalkSkipChildren, nil
		case *ast.HTMLBlock:
			var b strings.Builder
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				b.Write(line.Value(source))
			}
			w.words(fromHTML(b.String()))
			return ast.WalkSkipChildren, nil
		}
		return ast.WalkContinue, nil
	})
	return w.b.String()
}
