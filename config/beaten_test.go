package config_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/spec"
)

// beaten are the settings of files that variables beat; nil if anything else was found.
func beaten(diags spec.Diagnostics) (paths []string) {
	for _, d := range diags {
		if d.Code != spec.CodeBeaten || d.Severity != spec.Warning {
			return nil
		}
		paths = append(paths, d.Path)
	}
	return paths
}

// TestAVariableThatBeatsAFileIsSaid, and only where it changes what a file writes out.
func TestAVariableThatBeatsAFileIsSaid(t *testing.T) {
	const run = "run: {batch_size: 7, collections: [page, epic], mode: incremental, sleep: \"${PAUSE:-1s}\"}\n"
	for environ, want := range map[string]string{
		"":                                        "",
		"SYNCD_RUN__BATCH_SIZE=8":                 "run.batch_size",
		"BACKFILL_BATCH_SIZE=8":                   "run.batch_size",
		"BACKFILL_BATCH_SIZE=7":                   "", // the same
		"BACKFILL_BATCH_SIZE=":                    "",
		"BACKFILL_COLLECTIONS=page":               "run.collections",
		"BACKFILL_COLLECTIONS=page , epic":        "",
		"INCREMENTAL_BACKFILL=yes":                "",
		"INCREMENTAL_BACKFILL=no":                 "run.mode",
		"BACKFILL_SLEEP=5":                        "", // the file fills it in from a variable
		"PAUSE=5s":                                "",
		"SYNCD_RUN__READERS=2":                    "", // no file sets it
		"SYNCD_RUN__BATCH_SIZE=8 MONGODB_URI=m:/": "run.batch_size source.mongo.uri",
	} {
		_, diags := load(t, minimal+run, strings.Fields(environ)...)
		if environ == "BACKFILL_COLLECTIONS=page , epic" {
			_, diags = load(t, minimal+run, environ)
		}
		got := slices.DeleteFunc(slices.Clone(diags), func(d spec.Diagnostic) bool { return d.Code != spec.CodeBeaten })
		paths := beaten(got)
		if slices.Sort(paths); strings.Join(paths, " ") != want {
			t.Errorf("%s: %v", environ, diags)
		}
		for _, d := range got {
			if d.Related.Line == 0 || !strings.HasPrefix(d.Pos.Source, "environment variable ") {
				t.Errorf("%s: %+v", environ, d)
			}
		}
	}
	// A flag beats both, so the variable beats nothing.
	_, diags := config.Load(config.Input{
		Path: "c.yaml", Text: []byte(minimal + run), Environ: []string{"SYNCD_RUN__BATCH_SIZE=8"}, Registry: registry(t),
		Overrides: []config.Override{{Flag: "--batch-size", Path: []string{"run", "batch_size"}, Value: "9"}},
	})
	if len(diags) > 0 {
		t.Error(diags)
	}
}

// TestWhatAVariableBeatsIsCheckedAllTheSame: it counts wherever the variable is not set.
func TestWhatAVariableBeatsIsCheckedAllTheSame(t *testing.T) {
	c, diags := load(t, minimal+"run: {batch_size: lots, memory: 1 GB, sleep: never}\n", "SYNCD_RUN__BATCH_SIZE=8", "SYNCD_RUN__SLEEP=1s", "SYNCD_RUN__MEMORY=256MiB")
	var errs []string
	for _, d := range diags {
		if d.Severity == spec.Error {
			errs = append(errs, d.Path)
		}
	}
	if slices.Sort(errs); c != nil || !slices.Contains(errs, "run.batch_size") || !slices.Contains(errs, "run.sleep") {
		t.Errorf("%v", diags)
	}
	// What is missing in the file comes from the variable, and is no mistake of the file.
	text := strings.Replace(minimal, "uri: ", "connect: ", 1)
	if _, diags := load(t, text+"run: {batch_size: 7}\n", "MONGODB_URI=mongodb://h", "SYNCD_RUN__BATCH_SIZE=8"); slices.ContainsFunc(diags, func(d spec.Diagnostic) bool {
		return d.Code == spec.CodeMissingField
	}) {
		t.Error(diags)
	}
}

// TestNoSecretIsInAWarning about a variable.
func TestNoSecretIsInAWarning(t *testing.T) {
	_, diags := load(t, minimal, "MONGODB_URI=mongodb://u:hunter2@h")
	if len(diags) != 1 || strings.Contains(fmt.Sprintf("%+v", diags), "hunter2") {
		t.Errorf("%v", diags)
	}
}
