package page

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/report"
)

// explainView is the form, and the answer.
type explainView struct {
	Name, Collection, ID string
	Collections          []string // to choose from
	Asked                bool
	Found                *explained
	Problem              *problem
}

// explained is what became of one document, step by step.
type explained struct {
	Word, Tone, Sign string // the verdict
	Why, Todo        string
	Steps            []step
}

// step is one thing that was looked at.
type step struct {
	Title, Text string
	Good        bool
	Facts       [][2]string
}

// explain is the page that says why a document is not found.
func (p *Page) explain(r *http.Request) (answer, error) {
	name := r.FormValue("name")
	s, err := p.o.Host.Job(name)
	if err != nil {
		return answer{}, err
	}
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	v := explainView{Name: name, Collection: r.FormValue("collection"), ID: strings.TrimSpace(r.FormValue("id"))}
	if c != nil {
		for _, rule := range c.Mapping.Rules {
			v.Collections = append(v.Collections, rule.Collection.Name)
		}
	}
	// To look asks servers: a link of another page only fills the form in.
	if v.Asked = v.ID != "" && v.Collection != "" && r.Header.Get("Sec-Fetch-Site") != "cross-site"; v.Asked {
		var e report.Explanation
		err := p.ask(r, http.MethodGet, []string{"jobs", name, "explain"}, url.Values{"collection": {v.Collection}, "id": {v.ID}}, nil, &e)
		if err != nil {
			v.Problem = problemOf(err)
		} else {
			v.Found = explainedOf(&e, c, s.Follows)
		}
	}
	return answer{view: "explain", title: "Why is a document not found?", job: name, tab: "explain", data: v}, nil
}

// explainedOf tells an explanation step by step. c may be nil, if the job's file has gone meanwhile.
func explainedOf(e *report.Explanation, c *config.Config, follows bool) *explained {
	source, index := "the source", "the index"
	if c != nil {
		source, index = placeOf(c.Source).Label, placeOf(c.Checker).Label
	}
	x := &explained{Word: e.Verdict, Why: e.Why, Tone: "odd", Sign: "!"}
	doc := step{Title: "Is it in " + source + "?", Good: e.Found, Text: fmt.Sprintf("No: %s has no document %s in collection %s.", source, text.Of(e.ID), e.Collection)}
	if e.Found {
		doc.Text = fmt.Sprintf("Yes: document %s of collection %s.", text.Of(e.ID), e.Collection)
		if e.Version != nil {
			doc.Facts = append(doc.Facts, [2]string{"version", *e.Version})
		}
	}
	point := step{Title: "Which point is its own?", Good: e.PointID != "", Text: "None: its seed can't be made."}
	if e.PointID != "" {
		point.Text = "The point id is made of the seed, so that source and index need no list of each other."
		point.Facts = [][2]string{{"content type", e.ContentType}, {"seed", e.Seed}, {"point id", e.PointID}}
	}
	held := step{Title: "Does " + index + " have that point?", Good: e.Held, Text: "No."}
	if e.Held {
		held.Text = "Yes."
		for _, key := range slices.Sorted(maps.Keys(e.Payload)) {
			held.Facts = append(held.Facts, [2]string{"payload " + key, e.Payload[key]})
		}
		if e.Chunks > 0 {
			held.Good = e.ChunksPresent == e.Chunks
			held.Facts = append(held.Facts, [2]string{"further chunks", fmt.Sprintf("%d of %d are there", e.ChunksPresent, e.Chunks)})
		}
	}
	x.Steps = []step{doc, point, held}
	if len(e.Same) > 1 {
		x.Steps = append(x.Steps, step{Title: "Is the point its own alone?", Text: "No: the index can hold only one of these documents: " + strings.Join(e.Same, ", ")})
	}
	run := step{Title: "What would a run do?", Text: "Nothing.", Good: e.Verdict == syncd.Present.String()}
	switch e.Verdict {
	case syncd.Present.String():
		x.Tone, x.Sign = "good", "✓"
		x.Todo = "if a search does not find it, the search asks for something else: another content type, a filter, or text that the point does not hold"
	case "nowhere":
		x.Todo = "look whether the id and the collection are right; the id is that of the source, not that of the point"
		if len(e.In) > 0 {
			x.Todo = "there is a document with this id in " + strings.Join(e.In, ", ")
		}
	case syncd.Missing.String(), syncd.Stale.String(), syncd.Partial.String():
		if !e.Found {
			x.Todo = "look whether the id and the collection are right; the id is that of the source, not that of the point"
			break
		}
		run.Text = "It sends an event, and whoever reads the topic makes the point."
		if e.Topic != "" {
			run.Facts = append(run.Facts, [2]string{"topic", e.Topic})
		}
		if e.EventKey != "" {
			run.Facts = append(run.Facts, [2]string{"key", e.EventKey}, [2]string{"bytes", report.Number(int64(e.EventBytes))})
		}
		if e.Refused != "" {
			run.Text = "It can't send it: " + e.Refused + "; " + e.Fate + "."
		}
		x.Todo = "run the job: it sends the document; if it was sent before, look whether the consumer of the topic goes on, and at the dead letters"
		if follows {
			x.Todo = "if it changed just now, wait a moment; else look at everything now, at whether the consumer of the topic goes on, and at the dead letters"
		}
	case syncd.Orphan.String():
		run.Text = "It reports the point, and deletes it with run.orphans: prune."
		x.Todo = "nothing, if it may be found a while longer; else run the job with run.orphans: prune"
	default:
		x.Tone, x.Sign = "bad", "✕"
		run.Text = "It counts the document as one that can't be handled."
		x.Todo = "mend the document, or the mapping's seed"
	}
	if len(e.Same) > 1 && x.Tone == "good" {
		x.Tone, x.Sign, x.Todo = "odd", "!", "tell the documents apart in the mapping's seed"
	}
	x.Steps = append(x.Steps, run)
	return x
}
