package main

import (
	"path/filepath"
	"testing"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
)

// TestConfigs loads every configuration in configs/ with the variables that it asks for, and checks that all of them map the
// described eight collections.
func TestConfigs(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d configurations, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, diags := config.Load(config.Input{Path: file, Registry: registry, Environ: []string{
				"MONGODB_URI=mongodb://user:secret@mongo.example/?readPreference=secondaryPreferred", "MONGODB_DATABASE=ProjectManagement",
				"QDRANT_URL=https://qdrant.example", "QDRANT_API_KEY=key", "KAFKA_BOOTSTRAP_SERVERS=kafka.example:9093",
				"KAFKA_USERNAME=user", "KAFKA_PASSWORD=secret",
			}})
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			want := map[string]string{
				"page": "page", "workItem": "work_item", "project": "project", "cycle": "cycle",
				"module": "module", "epic": "epic", "features": "feature", "userStory": "user_story",
			}
			for _, r := range c.Mapping.Rules {
				if want[r.Collection.Name] != r.ContentType {
					t.Errorf("collection %s has content type %q", r.Collection.Name, r.ContentType)
				}
				delete(want, r.Collection.Name)
			}
			if len(want) > 0 {
				t.Errorf("not mapped: %v", want)
			}
		})
	}
}

// TestProductionHasNoDefaultServers checks that nothing points production at localhost when a variable is missing.
func TestProductionHasNoDefaultServers(t *testing.T) {
	registry, err := syncd.NewRegistry(plugins()...)
	if err != nil {
		t.Fatal(err)
	}
	_, diags := config.Load(config.Input{Path: "../../configs/prod.yaml", Registry: registry})
	unset := 0
	for _, d := range diags {
		if d.Code == "unset-variable" {
			unset++
		}
	}
	if unset != 7 {
		t.Errorf("%d of 7 variables are asked for: %v", unset, diags)
	}
}
