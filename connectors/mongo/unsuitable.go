package mongo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/syncd-io/syncd"
)

// Servers that answer and are not what the connection string asks for look to the driver like servers that are not there: it
// forgets those of another replica set, and waits for those of another kind. So what each has said of itself is kept.

// answers are what servers last said of themselves, by address. It is safe for concurrent use.
type answers struct {
	mu sync.Mutex
	by map[string]event.ServerDescription
}

func (a *answers) keep(e *event.ServerHeartbeatSucceededEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[string]event.ServerDescription{}
	}
	a.by[e.Reply.Addr.String()] = e.Reply
}

// list gives them in the order of their addresses.
func (a *answers) list() []event.ServerDescription {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []event.ServerDescription
	for _, d := range a.by {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b event.ServerDescription) int { return strings.Compare(a.Addr.String(), b.Addr.String()) })
	return out
}

// areOfData reports whether all servers that answered hold data themselves, as far as is known.
func (a *answers) areOfData() bool {
	all := a.list()
	return len(all) > 0 && !slices.ContainsFunc(all, func(d event.ServerDescription) bool { return d.Kind == kindMongos })
}

// The kinds of server in events.
const (
	kindStandalone = "Standalone"
	kindMongos     = "Mongos"
	kindPrimary    = "RSPrimary"
	kindSecondary  = "RSSecondary"
)

// unsuitable explains why servers that answer were not chosen; nil if that is not why err came about.
func (s *source) unsuitable(err error) error {
	failure, ok := errors.AsType[topology.ServerSelectionError](err)
	if !ok {
		return nil
	}
	seen := s.answers.list()
	var wrong []string
	for _, d := range seen {
		if s.replicaSet != "" && d.SetName != s.replicaSet {
			wrong = append(wrong, d.Addr.String()+" "+membership(d))
		}
	}
	if len(wrong) > 0 && len(wrong) == len(seen) {
		return syncd.Hint(fmt.Errorf("source.mongo.uri wants replicaSet=%s, but %s", s.replicaSet, strings.Join(wrong, ", ")),
			"correct replicaSet in source.mongo.uri, or remove it; directConnection=true reads from one server, whatever it belongs to")
	}
	var roles []string
	for _, d := range failure.Desc.Servers {
		if i := slices.IndexFunc(seen, func(a event.ServerDescription) bool { return a.Addr == d.Addr }); i >= 0 && d.LastError == nil && seen[i].SetName != "" {
			roles = append(roles, d.Addr.String()+" is "+role(seen[i]))
		}
	}
	if len(roles) == 0 || len(failedServers(err)) > 0 {
		return nil
	}
	preference := s.preference
	if preference == nil {
		preference = readpref.Primary()
	}
	why := fmt.Errorf("%w: no server matches readPreference=%s: %s", syncd.ErrUnavailable, describePreference(preference), strings.Join(roles, ", "))
	if preference.Mode() == readpref.PrimaryMode {
		return syncd.Hint(why, "wait until the replica set has elected a primary, or read from others: add readPreference=secondaryPreferred to source.mongo.uri")
	}
	return syncd.Hint(why, "correct readPreference, readPreferenceTags and maxStalenessSeconds in source.mongo.uri, or start a member that matches")
}

// membership says which replica set a server is of.
func membership(d event.ServerDescription) string {
	switch {
	case d.SetName != "":
		return "is of replica set " + d.SetName
	case d.Kind == kindStandalone:
		return "is a server of no replica set"
	case d.Kind == kindMongos:
		return "is a mongos, which is of no replica set"
	}
	return "has no replica set yet"
}

// role says what a member of a replica set can be read as.
func role(d event.ServerDescription) string {
	name := "a member that holds no data"
	switch d.Kind {
	case kindPrimary:
		name = "the primary"
	case kindSecondary:
		name = "a secondary"
	}
	if len(d.Tags) > 0 {
		var tags []string
		for _, t := range d.Tags {
			tags = append(tags, t.Name+":"+t.Value)
		}
		name += " with tags " + strings.Join(tags, ",")
	}
	return name
}

// describePreference is a read preference as a connection string has it.
func describePreference(p *readpref.ReadPref) string {
	words := []string{p.Mode().String()}
	for _, set := range p.TagSets() {
		var tags []string
		for _, t := range set {
			tags = append(tags, t.Name+":"+t.Value)
		}
		slices.Sort(tags)
		words = append(words, "readPreferenceTags="+strings.Join(tags, ","))
	}
	if stale, set := p.MaxStaleness(); set {
		words = append(words, fmt.Sprintf("maxStalenessSeconds=%.f", stale.Seconds()))
	}
	return strings.Join(words, "&")
}
