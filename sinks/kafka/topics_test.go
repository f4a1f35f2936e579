package kafka

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
)

func TestRoute(t *testing.T) {
	page := syncd.Target{Database: "ProjectManagement", Collection: "workItem", ContentType: "work_item"}
	own := page
	own.Topic = "own.{content_type}"
	for _, c := range []struct {
		topic, prefix string
		target        syncd.Target
		want          string
		legal         bool
	}{
		{"{database}.{collection}", "", page, "ProjectManagement.workItem", true},
		{"{database}.{collection}", "stage", page, "stage.ProjectManagement.workItem", true},
		{"all-{content_type}", "", page, "all-work_item", true},
		{"fixed", "", page, "fixed", true},
		{"{database}.{collection}", "stage", own, "stage.own.work_item", true},
		{"{collection}", "", syncd.Target{Collection: "a b"}, "a b", false},
		{"{collection}", "", syncd.Target{Collection: "ä"}, "ä", false},
		{"{collection}", "", syncd.Target{Collection: ".."}, "..", false},
		{"{collection}", "", syncd.Target{Collection: strings.Repeat("x", 249)}, strings.Repeat("x", 249), true},
		{"{collection}", "", syncd.Target{Collection: strings.Repeat("x", 250)}, strings.Repeat("x", 250), false},
		{"{database}.{collection}", "", syncd.Target{Collection: "page"}, ".page", false},
		{"{collection}", "", syncd.Target{Collection: "page", Topic: "{nonsense}"}, "{nonsense}", false},
	} {
		config := defaults()
		config.Topic, config.TopicPrefix = c.topic, c.prefix
		r, err := newRouter(config)
		if err != nil {
			t.Errorf("%s: %v", c.topic, err)
			continue
		}
		for range 2 { // the second is remembered
			if got := r.route(c.target); got.name != c.want || (got.err == nil) != c.legal {
				t.Errorf("topic %q, prefix %q, target %+v: %q, %v; want %q", c.topic, c.prefix, c.target, got.name, got.err, c.want)
			}
		}
	}
}

func TestPrepareNamesEveryProblem(t *testing.T) {
	bootstrap := cluster(t, "db.page").BootstrapServers()
	s := startClosing(t, bootstrap, nil)
	targets := []syncd.Target{
		{Database: "db", Collection: "page"}, {Database: "db", Collection: "epic"}, {Database: "db", Collection: "cycle"},
		{Database: "db", Collection: "no spaces"}, {Database: "db", Collection: "other", Topic: "db.epic"},
	}
	for range 2 { // asking must not have created what is missing
		err := s.prepare(t.Context(), syncd.Run{Targets: targets})
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range []string{`"db.epic" (for epic, other)`, `"db.cycle" (for cycle)`, `"db.no spaces"`, "3 problems"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q lacks %q", err, want)
			}
		}
		if strings.Contains(err.Error(), "db.page") {
			t.Errorf("error %q names a topic that exists", err)
		}
		if !strings.Contains(syncd.HintOf(err), "create_topics") {
			t.Errorf("hint %q", syncd.HintOf(err))
		}
	}
	if err := s.prepare(t.Context(), syncd.Run{Targets: targets[:1]}); err != nil {
		t.Error(err)
	}
	if err := s.prepare(t.Context(), syncd.Run{}); err != nil {
		t.Error(err)
	}
}

func TestPrepareUnavailable(t *testing.T) {
	c := cluster(t, "db.page")
	s := startClosing(t, c.BootstrapServers(), nil)
	s.config.ConnectTimeout = 1
	if err := c.SetBrokerDown(-1); err != nil {
		t.Fatal(err)
	}
	if err := s.prepare(t.Context(), syncd.Run{Targets: []syncd.Target{{Database: "db", Collection: "page"}}}); !errors.Is(err, syncd.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
}

// TestPrepareManyTopics: they are asked about at once, and what is missing there is asked about by its name.
func TestPrepareManyTopics(t *testing.T) {
	var topics []string
	var targets []syncd.Target
	for i := range fewTopics + 4 {
		name := fmt.Sprintf("c%02d", i)
		targets = append(targets, syncd.Target{Database: "db", Collection: name})
		if i != 3 && i != 11 {
			topics = append(topics, "db."+name)
		}
	}
	s := startClosing(t, cluster(t, topics...).BootstrapServers(), nil)
	s.limits = 5 * time.Second
	err := s.prepare(t.Context(), syncd.Run{Targets: targets})
	s.limits = time.Millisecond // which the mock does not tell
	if err == nil || !strings.Contains(err.Error(), `2 problems: topic "db.c03" (for c03) does not exist; topic "db.c11" (for c11) does not exist`) {
		t.Errorf("%v", err)
	}
	there := slices.Concat(targets[:3], targets[4:11], targets[12:])
	if err := s.prepare(t.Context(), syncd.Run{Targets: there}); err != nil {
		t.Error(err)
	}
	places, err := s.partitions(t.Context(), targets)
	if err != nil || len(places) < len(topics) {
		t.Errorf("%d partitions of %d topics, %v", len(places), len(topics), err)
	}
}
