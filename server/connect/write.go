package connect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/job/host"
	"github.com/syncd-io/syncd/spec"
)

// settings are those of a request. A value may be a number or a switch; nil is null.
type settings map[string]*string

// UnmarshalJSON implements json.Unmarshaler.
func (s *settings) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return errors.New("a configuration is an object of texts")
	}
	if raw == nil {
		return nil
	}
	*s = settings{}
	for _, key := range sorted(raw) {
		var text string
		value := raw[key]
		switch err := json.Unmarshal(value, &text); {
		case bytes.Equal(value, []byte("null")):
			(*s)[key] = nil
			continue
		case err == nil:
		case value[0] == '{' || value[0] == '[':
			return fmt.Errorf("the value of %s is no text", strconv.Quote(key))
		default:
			text = string(value)
		}
		(*s)[key] = &text
	}
	return nil
}

// set are the settings that have a value.
func (s settings) set() map[string]string {
	out := map[string]string{}
	for key, value := range s {
		if value != nil {
			out[key] = *value
		}
	}
	return out
}

// create makes a job.
func (a *API) create(q *request) (answer, error) {
	var body struct {
		Name    string   `json:"name"`
		Config  settings `json:"config"`
		Initial *string  `json:"initial_state"`
	}
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	if body.Config == nil {
		return answer{}, fail(http.StatusBadRequest, "the request has no config")
	}
	want := map[string]host.Desired{"": host.WantRunning, running: host.WantRunning, paused: host.WantPaused, stopped: host.WantStopped}
	initial := ""
	if body.Initial != nil {
		initial = *body.Initial
	}
	desired, ok := want[initial]
	if !ok {
		return answer{}, fail(http.StatusBadRequest, "initial_state is RUNNING, PAUSED or STOPPED, not %s", strconv.Quote(initial))
	}
	return a.put(q, body.Name, body.Config.set(), desired, true)
}

func (a *API) putConfig(q *request) (answer, error) {
	var body settings
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	return a.put(q, q.job(), body.set(), host.WantRunning, false)
}

func (a *API) patchConfig(q *request) (answer, error) {
	var body settings
	if err := decode(q.body, &body); err != nil {
		return answer{}, err
	}
	j, _, err := a.findJob(q.job(), notFound)
	if err != nil {
		return answer{}, err
	}
	want := maps.Clone(a.flat(j).Values)
	for key, value := range body {
		if value == nil {
			delete(want, key)
		} else {
			want[key] = *value
		}
	}
	return a.put(q, q.job(), want, host.WantRunning, false)
}

// put brings a job's file to what is wanted, and makes it where there is none. With fresh there must be none.
func (a *API) put(q *request, name string, want map[string]string, desired host.Desired, fresh bool) (answer, error) {
	if said, ok := want[config.FlatName]; ok && said != name {
		return answer{}, fail(http.StatusBadRequest, "Connector name configuration (%s) doesn't match connector name in the URL (%s)", said, name)
	}
	want[config.FlatName] = name
	a.writing.Lock()
	defer a.writing.Unlock()
	j, _, err := a.findJob(name, notFound)
	there := err == nil && j.State != host.Removed
	if there && fresh {
		return answer{}, fail(http.StatusConflict, "Connector %s already exists", name)
	}
	path := j.File
	if !there {
		path = filepath.Join(a.Host.Folder(), fileName(name))
	}
	if err := a.mayWrite(path, there); err != nil {
		return answer{}, err
	}
	text, problems, err := a.edited(path, there, want)
	if err != nil {
		return answer{}, err
	}
	if len(problems) > 0 {
		return answer{}, invalid(problems)
	}
	if there {
		if err := a.rewrite(q, path, text); err != nil {
			return answer{}, err
		}
	} else if err := a.Host.Create(name, path, text, desired, a.by(q)); errors.Is(err, fs.ErrExist) {
		return answer{}, fail(http.StatusConflict, "the file %s is there already, and is that of another job", path)
	} else if err != nil {
		return answer{}, err
	}
	j, c, err := a.findJob(name, notFound)
	if err != nil {
		return answer{}, err
	}
	out := answer{body: a.infoOf(j, c)}
	if !there {
		made := a.infoOf(j, c)
		made.Tasks = []taskID{} // they come later
		scheme := "http"
		if q.TLS != nil {
			scheme = "https"
		}
		out = answer{http.StatusCreated, made, scheme + "://" + q.Host + "/connectors/" + url.PathEscape(name)}
	}
	return out, nil
}

// rewrite writes the file of a job, unless it is so already.
func (a *API) rewrite(q *request, path string, text []byte) error {
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, text) {
		return nil
	}
	return a.Host.Write(path, text, a.by(q))
}

// mayWrite refuses to change a file where the service is not to.
func (a *API) mayWrite(path string, there bool) error {
	switch {
	case there && !a.Writable:
		return fail(http.StatusForbidden, "connectors can't be changed here: edit the file %s, or start syncd serve with --writable", path)
	case !a.Writable:
		return fail(http.StatusForbidden, "connectors can't be added here: write the file %s, or start syncd serve with --writable", path)
	case !there && a.Host.Folder() == "":
		return fail(http.StatusForbidden, "connectors can't be added here: syncd serve was given files, and no folder for new ones")
	}
	return nil
}

// maxFile is the length of a file's name in bytes, without its extension.
const maxFile = 200

// fileName is the name of the file of a new job: its own as far as any file system takes it, and other characters as % and two
// hexadecimal digits.
func fileName(job string) string {
	var b strings.Builder
	for i, c := range []byte(job) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	name := b.String()
	return name[:min(len(name), maxFile)] + ".yaml"
}

// edited is the text of a file with what is wanted, and what keeps it from being used. Nothing is written.
func (a *API) edited(path string, there bool, want map[string]string) (text []byte, problems []config.FlatProblem, err error) {
	class, ok := want[config.FlatClass]
	if !ok {
		return nil, nil, fail(http.StatusBadRequest, "Connector config {name=%s} contains no connector type", want[config.FlatName])
	}
	p, ok := a.plugin(class)
	if !ok {
		return nil, nil, fail(http.StatusBadRequest, "Failed to find any class that implements Connector and which name matches %s, available connectors are: %s",
			class, strings.Join(a.Registry.Names(syncd.KindSource), ", "))
	}
	if p.Kind() != syncd.KindSource {
		return nil, []config.FlatProblem{{Key: config.FlatClass, Message: fmt.Sprintf(
			"connector.class names the source of a job, and %s is a %s: set %s.%s.… beside it", class, p.Kind(), p.Kind(), p.Name())}}, nil
	}
	want[config.FlatClass] = p.Name()
	in := config.Input{Path: path, Environ: a.Environ, Registry: a.Registry}
	if !there {
		in.Text = []byte{}
	}
	if text, problems = a.forms().Edit(in, want); len(problems) > 0 { // what else is wrong is to be told as well
		rest := maps.Clone(want)
		for _, p := range problems {
			delete(rest, p.Key)
		}
		rest[config.FlatName] = want[config.FlatName]
		var more []config.FlatProblem
		if text, more = a.forms().Edit(in, rest); len(more) > 0 {
			return nil, problems, nil
		}
	}
	in.Text = text
	result := config.Check(in)
	for _, d := range result.Diagnostics {
		if d.Severity == spec.Error {
			problems = append(problems, config.FlatProblem{Key: keyOf(d, want), Message: problemText(d)})
		}
	}
	if c := result.Config; c != nil && c.Name != want[config.FlatName] { // a variable says otherwise
		problems = append(problems, config.FlatProblem{Key: config.FlatName, Message: fmt.Sprintf("the job would be called %s, since the environment says so", c.Name)})
	}
	for i := range problems {
		problems[i].Message = a.unresolved(problems[i].Message, want)
	}
	return text, problems, nil
}

// reference is a reference to a variable, which may have a default.
var reference = regexp.MustCompile(`\$\{([A-Za-z0-9_]+)`)

// unresolved is a message with the names of the variables that settings refer to, where it has their values, which may be secrets.
func (a *API) unresolved(message string, want map[string]string) string {
	for _, key := range sorted(want) {
		for _, ref := range reference.FindAllStringSubmatch(want[key], -1) {
			for _, pair := range a.Environ {
				name, value, _ := strings.Cut(pair, "=")
				if name != ref[1] || len(value) < 3 { // such a short one is no secret, and would be found everywhere
					continue
				}
				quoted := strconv.Quote(value)
				message = strings.ReplaceAll(message, quoted[1:len(quoted)-1], "${"+name+"}")
				message = strings.ReplaceAll(message, value, "${"+name+"}")
			}
		}
	}
	return message
}

// pathOf is the setting that a diagnostic is about; a section that is missing is told as one of the whole.
func pathOf(d spec.Diagnostic) string {
	if section, ok := strings.CutPrefix(d.Message, "missing field "); ok && d.Path == "" {
		if name, err := strconv.Unquote(section); err == nil {
			return name
		}
	}
	return d.Path
}

// keyOf is the setting that a diagnostic is about: one of those that are wanted, if any fits.
func keyOf(d spec.Diagnostic, want map[string]string) string {
	d.Path = pathOf(d)
	best := ""
	for key := range want {
		path, err := config.FlatPath(key)
		if err != nil {
			continue
		}
		plain := spec.PathString(path)
		fits := plain == d.Path || strings.HasPrefix(d.Path, plain+".") || d.Code == spec.CodeUnknownField && strings.HasPrefix(plain, d.Path+".")
		if fits && len(key) > len(best) {
			best = key
		}
	}
	switch {
	case best != "" && d.Code != spec.CodeMissingField:
		return best
	case d.Path == "" || d.Path == "extends":
		return config.FlatName
	case d.Path == "run.readers":
		return config.FlatTasks
	}
	return d.Path
}

// problemText says what is wrong; what is missing in Connect's words.
func problemText(d spec.Diagnostic) string {
	d.Path = pathOf(d)
	message := d.Message
	if d.Code == spec.CodeMissingField && d.Path != "" && strings.HasPrefix(message, "missing field") {
		return fmt.Sprintf("Missing required configuration %q which has no default value.", d.Path)
	}
	if d.Path != "" && !strings.Contains(message, d.Path) {
		message = d.Path + ": " + message
	}
	if d.Hint != "" {
		message += " (" + d.Hint + ")"
	}
	return message
}

// invalid is the error of a configuration that can't be used, in Connect's words.
func invalid(problems []config.FlatProblem) error {
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		lines = append(lines, p.Message)
	}
	return fail(http.StatusBadRequest, "Connector configuration is invalid and contains the following %d error(s):\n%s\n"+
		"You can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`",
		len(lines), strings.Join(lines, "\n"))
}

// remove deletes a job and its file.
func (a *API) remove(q *request) (answer, error) {
	j, _, err := a.findJob(q.job(), notFound)
	if err != nil {
		return answer{}, err
	}
	if !a.Writable {
		return answer{}, fail(http.StatusForbidden, "connectors can't be deleted here: remove the file %s, or start syncd serve with --writable", j.File)
	}
	a.writing.Lock()
	defer a.writing.Unlock()
	if err := a.Host.Delete(q.job(), a.by(q)); err != nil && !errors.Is(err, host.ErrNoJob) {
		return answer{}, err
	}
	return answer{code: http.StatusNoContent}, nil
}

// sorted lists the names of settings.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
