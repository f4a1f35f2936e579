package page

import (
	"fmt"
	"net/http"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
)

// action is something that can be done with a job.
type action struct {
	Label string
	Ask   string // the question before it
	Says  func(s *host.Status, c *config.Config) []string
	Said  string // behind it
	do    func(h Host, name, by string) error
}

// keeps is what every end of a run leaves.
const keeps = "What is under way is ended in order: what was handed to the sink is waited for, and what was done is kept. A later run goes on from there."

var actions = map[string]action{
	"pause": {
		Label: "Pause", Ask: "Pause the job?", Said: "The job is paused.",
		Says: func(*host.Status, *config.Config) []string {
			return []string{keeps, "It runs again when somebody resumes it."}
		},
		do: func(h Host, name, by string) error { return h.Want(name, host.WantPaused, by) },
	},
	"resume": {
		Label: "Resume", Ask: "Resume the job?", Said: "The job runs again, by its schedule.",
		Says: func(s *host.Status, c *config.Config) []string {
			return append([]string{"It runs by its schedule again."}, sends(c)...)
		},
		do: func(h Host, name, by string) error { return h.Want(name, host.WantRunning, by) },
	},
	"stop": {
		Label: "Stop", Ask: "Stop the job?", Said: "The job is stopped. It stays so, also when the service is restarted, until somebody resumes it.",
		Says: func(s *host.Status, c *config.Config) []string {
			said := []string{"Nothing of it is under way now."}
			if s.Live != nil {
				said = []string{keeps}
			}
			said = append(said, "It stays stopped, also when the service is restarted, until somebody resumes it.")
			if s.Follows {
				said = append(said, "Changes that are made meanwhile are followed afterwards, as far back as the source keeps them; what it does not keep is found by looking at all documents.")
			}
			return said
		},
		do: func(h Host, name, by string) error { return h.Want(name, host.WantStopped, by) },
	},
	"restart": {
		Label: "Restart", Ask: "Restart the job?", Said: "The job is restarted.",
		Says: func(s *host.Status, c *config.Config) []string {
			return append([]string{keeps, "Then another run begins at once and resumes it."}, sends(c)...)
		},
		do: func(h Host, name, by string) error { return h.Restart(name, by) },
	},
	"run": {
		Label: "Run now", Ask: "Run the job now?", Said: "A run was asked for.",
		Says: func(s *host.Status, c *config.Config) []string {
			said := []string{"A run begins at once, whatever the schedule says. An interrupted one is resumed."}
			if s.Follows {
				said = []string{"Changes wait while all documents are looked at, and then are followed again."}
			}
			return append(said, sends(c)...)
		},
		do: func(h Host, name, by string) error { return h.Trigger(name, host.Trigger{}, by) },
	},
	"fresh": {
		Label: "Run from the beginning", Ask: "Run the job from the beginning?", Said: "A run from the beginning was asked for.",
		Says: func(s *host.Status, c *config.Config) []string {
			return append([]string{"A run begins at once and looks at every document, whatever an interrupted run has done; what is kept of that one is forgotten."}, sends(c)...)
		},
		do: func(h Host, name, by string) error { return h.Trigger(name, host.Trigger{Fresh: true}, by) },
	},
}

// said is what is shown behind an action.
var said = func() map[string]string {
	out := map[string]string{
		"plan": "A run was asked for that sends what the plan says.", "again": "A run was asked for that sends the dead letters again.",
	}
	for what, a := range actions {
		out[what] = a.Said
	}
	return out
}()

// sends says what a run of a configuration sends, and where.
func sends(c *config.Config) []string {
	if c == nil {
		return nil
	}
	n := len(c.Mapping.Rules)
	of := plural(int64(n), "collection", "collections")
	to := placeOf(c.Sink)
	where := to.Label
	if to.Where != "" {
		where += " at " + to.Where
	}
	if c.Run.DryRun {
		return []string{fmt.Sprintf("It reads %s, and sends nothing: it is a dry run.", of)}
	}
	var out []string
	if c.Run.Mode == config.Full {
		out = append(out, fmt.Sprintf("It sends every document of %s to %s, without asking the index.", of, where))
	} else {
		out = append(out, fmt.Sprintf("It sends what the index lacks of %s to %s.", of, where))
	}
	if c.Run.Orphans == config.OrphansPrune {
		out = append(out, "It sends deletes for points whose documents are gone.")
	}
	return out
}

// confirmView asks before something is done.
type confirmView struct {
	What, Label, Ask, Name string
	Says                   []string
}

// confirm is the page that asks.
func (p *Page) confirm(r *http.Request) (answer, error) {
	name, what := r.FormValue("name"), r.FormValue("what")
	s, err := p.o.Host.Job(name)
	if err != nil {
		return answer{}, err
	}
	a, ok := actions[what]
	if !ok {
		return answer{}, &problem{http.StatusNotFound, "There is no such thing to do with a job", ""}
	}
	c, err := p.o.Host.Config(name)
	if err != nil {
		return answer{}, err
	}
	return answer{view: "confirm", title: a.Ask, job: name, data: confirmView{what, a.Label, a.Ask, name, a.Says(&s, c)}}, nil
}

// do does it.
func (p *Page) do(r *http.Request) (answer, error) {
	if err := p.operates(r); err != nil {
		return answer{}, err
	}
	name, what := r.URL.Query().Get("name"), r.URL.Query().Get("what")
	a, ok := actions[what]
	if !ok {
		return answer{}, &problem{http.StatusNotFound, "There is no such thing to do with a job", ""}
	}
	if err := a.do(p.o.Host, name, p.o.By(r)); err != nil {
		return answer{}, err
	}
	return answer{to: link("job", name, "did", what)}, nil
}
