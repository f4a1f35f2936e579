package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// directives reads a unit, by section and name.
func directives(t *testing.T, file string) map[string][]string {
	t.Helper()
	options, err := unit.DeserializeOptions(strings.NewReader(read(t, filepath.Join("systemd", file))))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	found := map[string][]string{}
	for _, o := range options {
		key := o.Section + "." + o.Name
		found[key] = append(found[key], o.Value)
	}
	return found
}

func TestSystemd(t *testing.T) {
	t.Parallel()
	service, timer := directives(t, "syncd.service"), directives(t, "syncd.timer")
	for key, want := range map[string]string{
		"Service.Type": "oneshot", "Service.DynamicUser": "yes", "Service.StateDirectory": "syncd",
		"Service.EnvironmentFile": "/etc/syncd/syncd.env", "Service.ProtectSystem": "strict",
	} {
		if got := service[key]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, not %q", key, got, want)
		}
	}
	if len(timer["Timer.OnCalendar"]) == 0 || !slices.Equal(timer["Install.WantedBy"], []string{"timers.target"}) {
		t.Error("the timer never starts anything")
	}

	command := strings.Fields(service["Service.ExecStart"][0])
	if command[0] != "/usr/bin/syncd" {
		t.Errorf("it starts %s", command[0])
	}
	checkArguments(t, "ExecStart", command[1:])
	for _, pair := range service["Service.Environment"] {
		if name, _, _ := strings.Cut(pair, "="); !variables[name] {
			t.Errorf("Environment=%s is no variable of syncd's", name)
		}
	}
	// The example of variables goes with the production configuration, as docs/deployment.md has it.
	var environ, names []string
	for line := range strings.Lines(read(t, filepath.Join("systemd", "syncd.env.example"))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			environ, names = append(environ, name+"="+strings.Trim(value, "'")), append(names, name)
		}
	}
	prod := filepath.Join(root, "configs", "prod.yaml")
	checkVariables(t, "syncd.env.example", prod, names)
	validate(t, prod, environ)
}

func TestSystemdService(t *testing.T) {
	t.Parallel()
	once, service := directives(t, "syncd.service"), directives(t, "syncd-serve.service")
	for key, want := range map[string]string{
		"Service.Type": "exec", "Service.StateDirectory": "syncd-serve", "Service.Restart": "on-failure", "Service.RestartPreventExitStatus": "2 3",
		"Service.ExecReload": "/bin/kill -HUP $MAINPID", "Install.WantedBy": "multi-user.target",
	} {
		if got := service[key]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q, not %q", key, got, want)
		}
	}
	// Whatever takes rights from a run takes them from the service.
	for key, values := range once {
		for _, prefix := range []string{"Protect", "Private", "Restrict", "SystemCall", "Lock", "MemoryDeny", "NoNew", "Capab", "Ambient", "Dynamic", "Remove", "UMask", "ProcSubset", "EnvironmentFile"} {
			if strings.HasPrefix(key, "Service."+prefix) && !slices.Equal(service[key], values) {
				t.Errorf("%s is %q, and %q in syncd.service", key, service[key], values)
			}
		}
	}
	state := "%S/" + service["Service.StateDirectory"][0]
	for _, pair := range strings.Fields(strings.Join(service["Service.Environment"], " ")) {
		if name, value, _ := strings.Cut(pair, "="); !variables[name] || value != state {
			t.Errorf("Environment=%s is no variable of syncd's, or not the folder that it may write to", pair)
		}
	}

	const config = "systemd/service.yaml.example"
	command := strings.Fields(service["Service.ExecStart"][0])
	if !slices.Equal(command, []string{"/usr/bin/syncd", "serve", "-c", "/etc/syncd/service.yaml", "/etc/syncd/jobs"}) {
		t.Errorf("it starts %q", command)
	}
	checkArguments(t, "ExecStart", command[1:])
	settings := serverSettings(t, config)
	if settings.Listen != "127.0.0.1:8083" {
		t.Errorf("others than this machine can connect to %s", settings.Listen)
	}
	wait, err := time.ParseDuration(strings.Replace(service["Service.TimeoutStopSec"][0], "min", "m", 1))
	if err != nil {
		t.Fatal(err)
	}
	checkStop(t, config, settings, wait)
	most, ok := strings.CutSuffix(service["Service.MemoryMax"][0], "G")
	if n, err := strconv.Atoi(most); !ok || err != nil || settings.Limits.Memory == 0 || settings.Limits.Memory*3/2+(128<<20) > int64(n)<<30 {
		t.Errorf("MemoryMax=%sG, server.limits.memory %d", most, settings.Limits.Memory)
	}
	jobs := t.TempDir()
	serves(t, []string{"HOME=" + t.TempDir()}, "", nil, "-c", config, "--listen", "127.0.0.1:0", jobs)
}

func TestSystemdVerify(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	verify := func(change func(string) string) (string, error) {
		dir := t.TempDir()
		for _, file := range []string{"syncd.service", "syncd.timer", "syncd-serve.service"} {
			// It looks whether the program is there.
			text := strings.ReplaceAll(read(t, filepath.Join("systemd", file)), "/usr/bin/syncd", syncd)
			write(t, filepath.Join(dir, file), change(text))
		}
		cmd := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "syncd.service"), filepath.Join(dir, "syncd.timer"), filepath.Join(dir, "syncd-serve.service"))
		cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=warning")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	// A directive that systemd does not know is a warning, and no error.
	if out, err := verify(func(text string) string { return text }); err != nil || strings.Contains(out, "syncd.") || strings.Contains(out, "syncd-serve.") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	broken := func(text string) string { return strings.Replace(text, "ProtectSystem=", "ProtectSytem=", 1) }
	if out, err := verify(broken); err == nil && !strings.Contains(out, "ProtectSytem") {
		t.Error("systemd-analyze verify passes a directive that does not exist")
	}
}
