package deploy_test

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads the compose file as docker compose does: schema, interpolation, consistency.
func load(t *testing.T, environ ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithEnv(environ), cli.WithResolvedPaths(true), cli.WithProfiles([]string{"*"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return project
}

func environ(s types.ServiceConfig) (pairs []string) {
	for name, value := range s.Environment {
		if value != nil {
			pairs = append(pairs, name+"="+*value)
		}
	}
	slices.Sort(pairs)
	return pairs
}

func TestCompose(t *testing.T) {
	t.Parallel()
	project := load(t)
	if project.Name != "data-sync" {
		t.Errorf("the project is called %q", project.Name)
	}
	if name := project.Volumes["qdrant_data"].Name; name != "data-sync_qdrant_data" {
		t.Errorf("the index's volume is called %q", name)
	}
	for _, name := range []string{"mongodb", "qdrant", "kafka", "backfill", "serve"} {
		s, err := project.GetService(name)
		if err != nil {
			t.Fatal(err)
		}
		if name != "backfill" {
			if s.HealthCheck == nil {
				t.Errorf("%s has no health check", name)
			}
			if name != "serve" && !regexp.MustCompile(`:v?\d+\.\d+\.\d+$`).MatchString(s.Image) {
				t.Errorf("%s: the image %s has no exact version", name, s.Image)
			}
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s can be reached from other machines", name, p.Published)
			}
		}
	}
	backfill := project.Services["backfill"]
	if backfill.ContainerName != "mongodb-backfill" || backfill.Restart != "no" {
		t.Errorf("container %q, restart %q", backfill.ContainerName, backfill.Restart)
	}
	for _, server := range []string{"mongodb", "qdrant", "kafka"} {
		if got := backfill.DependsOn[server].Condition; got != types.ServiceConditionHealthy {
			t.Errorf("backfill starts when %s is %q", server, got)
		}
	}
	for _, v := range backfill.Volumes {
		if v.Type == types.VolumeTypeBind && !strings.HasSuffix(v.Source, "/deploy/config.yaml") {
			t.Errorf("backfill mounts %s", v.Source)
		}
	}
	checkVariables(t, "compose.yaml", "config.yaml", slices.Collect(maps.Keys(backfill.Environment)))
	validate(t, "config.yaml", environ(backfill))
}

func TestComposeServe(t *testing.T) {
	t.Parallel()
	project := load(t)
	serve, backfill := project.Services["serve"], project.Services["backfill"]
	if !slices.Equal(serve.Profiles, []string{"serve"}) || len(backfill.Profiles) > 0 {
		t.Errorf("docker compose up starts both: profiles %v and %v", serve.Profiles, backfill.Profiles)
	}
	if serve.Image != backfill.Image || !serve.ReadOnly || !slices.Equal(serve.CapDrop, backfill.CapDrop) || !slices.Equal(serve.SecurityOpt, backfill.SecurityOpt) {
		t.Error("the service is confined less than the run")
	}
	if !reflect.DeepEqual(serve.DependsOn, backfill.DependsOn) {
		t.Errorf("it depends on %v", serve.DependsOn)
	}
	settings := serverSettings(t, "serve/service.yaml")
	checkStop(t, "serve/service.yaml", settings, time.Duration(*serve.StopGracePeriod))
	if len(serve.Ports) != 1 || settings.Listen != fmt.Sprintf("0.0.0.0:%d", serve.Ports[0].Target) {
		t.Errorf("it listens at %s, and %v is published", settings.Listen, serve.Ports)
	}
	checkArguments(t, "compose.yaml", serve.Command)
	health := serve.HealthCheck.Test
	if want := []string{"CMD", "/usr/local/bin/syncd", "health", "--ca-file", settings.TLS.CertFile, fmt.Sprintf("https://127.0.0.1:%d/healthz", serve.Ports[0].Target)}; !slices.Equal(health, want) {
		t.Errorf("the health check is %q, not %q", health, want)
	}
	checkArguments(t, "compose.yaml", health[2:])
	checkVariables(t, "compose.yaml", "config.yaml", slices.Collect(maps.Keys(serve.Environment)))
	validate(t, "serve/jobs/backfill.yaml", environ(serve))

	// What is mounted as it lies in the container, and secrets as docs/deployment.md makes them.
	box := container{t.TempDir()}
	for _, v := range serve.Volumes {
		switch {
		case v.Type == types.VolumeTypeBind && v.ReadOnly:
			box.mount(t, v.Source, v.Target)
		case v.Target != "/var/lib/syncd" || v.Source != "backfill_state" || *serve.Environment["SYNCD_SERVER__STATE_DIR"] != v.Target:
			t.Errorf("it mounts %v", v)
		}
	}
	box.certificate(t, settings.TLS.CertFile, settings.TLS.KeyFile)
	box.put(t, "/etc/syncd/serve/secrets/operator.hash", hash+"\n")
	jobs := box.serves(t, append(environ(serve), "MONGODB_URI=mongodb://127.0.0.1:1", "QDRANT_URL=http://127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1"),
		settings.TLS.CertFile, []string{"SYNCD_SERVER_USER=operator", "SYNCD_SERVER_PASSWORD=" + password}, serve.Command)
	if !strings.Contains(jobs, "backfill") {
		t.Errorf("there is no job backfill:\n%s", jobs)
	}
}

// The user's own commands.
func TestComposeCommands(t *testing.T) {
	t.Parallel()
	// docker compose run --rm backfill --dry-run: what follows the service's name replaces the command.
	backfill := load(t).Services["backfill"]
	if len(backfill.Command) != 0 {
		t.Errorf("a command of its own (%q) would be lost in docker compose run", backfill.Command)
	}
	if len(backfill.Entrypoint) == 0 || backfill.Entrypoint[0] != "/usr/local/bin/syncd" {
		t.Fatalf("the entry point is %q", backfill.Entrypoint)
	}
	for _, further := range [][]string{{}, {"--dry-run"}, {"--no-incremental"}, {"--wait"}} {
		checkArguments(t, "compose.yaml", append(slices.Clone(backfill.Entrypoint[1:]), further...))
	}

	// Every variable of the documented table reaches the program and changes the setting.
	for variable, c := range map[string]struct{ value, setting string }{
		"INCREMENTAL_BACKFILL":    {"false", "mode: full"},
		"QDRANT_URL":              {"http://elsewhere:6333", `url: http://elsewhere:6333`},
		"QDRANT_COLLECTION":       {"other", "collection: other"},
		"QDRANT_CHECK_BATCH_SIZE": {"5000", "batch_size: 5000"},
		"BACKFILL_BATCH_SIZE":     {"17", "batch_size: 17"},
		"BACKFILL_SLEEP":          {"1.5", "sleep: 1.5s"},
		"BACKFILL_DRY_RUN":        {"true", "dry_run: true"},
	} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(syncd, "config", "print", "config.yaml")
			cmd.Env = environ(load(t, variable+"="+c.value).Services["backfill"])
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(c.setting) + ` .*` + variable + `$`).Match(out) {
				t.Errorf("%s=%s does not become %q:\n%s", variable, c.value, c.setting, out)
			}
		})
	}
}

// A mistake must not pass: the loader refuses what the schema does not know.
func TestComposeIsChecked(t *testing.T) {
	t.Parallel()
	for _, change := range [][2]string{
		{"restart: \"no\"", "restrat: \"no\""},
		{"condition: service_healthy", "condition: service_helthy"},
		{"backfill_state:/var", "backfill_sate:/var"},
	} {
		text := read(t, "compose.yaml")
		if !strings.Contains(text, change[0]) {
			t.Fatalf("compose.yaml has no %q", change[0])
		}
		if err := loadText(t, strings.Replace(text, change[0], change[1], 1)); err == nil {
			t.Errorf("%q passes", change[1])
		}
	}
}

func loadText(t *testing.T, text string) error {
	t.Helper()
	file := t.TempDir() + "/compose.yaml"
	write(t, file, text)
	options, err := cli.NewProjectOptions([]string{file})
	if err != nil {
		return err
	}
	_, err = options.LoadProject(context.WithoutCancel(t.Context()))
	return err
}
