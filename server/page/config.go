package page

import (
	"net/http"
	"slices"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// configView is a configuration as it takes effect.
type configView struct {
	Name, File string
	Groups     []settingGroup
	Problems   []string // that keep the file from being used
	Warnings   []string
	All        bool // defaults are shown too
	Hidden     int  // of them that are not
}

type settingGroup struct {
	Name     string
	Settings []config.Setting
}

// config is the page of a job's configuration, as its files are now.
func (p *Page) config(r *http.Request) (answer, error) {
	name := r.FormValue("name")
	s, err := p.o.Host.Job(name)
	if err != nil {
		return answer{}, err
	}
	v := configView{Name: name, File: s.File, All: r.FormValue("all") != ""}
	effective, diagnostics := p.o.Resolve(s.File)
	for _, d := range diagnostics {
		if d.Severity == spec.Error {
			v.Problems = append(v.Problems, d.String())
		} else {
			v.Warnings = append(v.Warnings, d.String())
		}
	}
	if effective != nil {
		settings, err := effective.Settings()
		if err != nil {
			return answer{}, err
		}
		for _, one := range settings {
			if !one.Set && !v.All {
				v.Hidden++
				continue
			}
			group, _, _ := strings.Cut(one.Path, ".")
			if n := len(v.Groups); n == 0 || v.Groups[n-1].Name != group {
				v.Groups = append(v.Groups, settingGroup{Name: group})
			}
			g := &v.Groups[len(v.Groups)-1]
			g.Settings = append(g.Settings, one)
		}
	}
	return answer{view: "config", title: "Configuration", job: name, tab: "config", data: v}, nil
}

// deadView is where a job's dead letters are.
type deadView struct {
	Name      string
	Where     *place
	Topics    []string
	Failed    int64 // documents that failed, in the last runs
	Kept      int64 // of them, those that the dead letters took
	Tolerance string
}

// dead is the page of a job's dead letters.
func (p *Page) dead(r *http.Request) (answer, error) {
	name := r.FormValue("name")
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	v := deadView{Name: name}
	for _, run := range p.runs(name, historyRuns) {
		v.Failed += run.Total.Failed() + run.Deleted.Failed()
		v.Kept += run.Total.DeadLettered + run.Deleted.DeadLettered
	}
	if c != nil {
		v.Tolerance = string(c.Errors.Tolerance)
		if c.DeadLetter.Settings != nil {
			where := placeOf(c.DeadLetter)
			v.Where = &where
			v.Topics = topics(c, c.DeadLetter)
		}
	}
	return answer{view: "dead", title: "Dead letters", job: name, tab: "dead", data: v}, nil
}

// topics are where a sink of a configuration sends the events of the collections.
func topics(c *config.Config, sink config.Plugin) (out []string) {
	route, ok := sink.Settings.(syncd.Router)
	if !ok {
		return nil
	}
	for _, rule := range c.Mapping.Rules {
		if topic := route.Route(rule.Target()); topic != "" && !slices.Contains(out, topic) {
			out = append(out, topic)
		}
	}
	return out
}
