package page

import (
	"net/http"
	"strings"

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
