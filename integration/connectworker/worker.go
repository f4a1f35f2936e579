// Package connectworker runs a worker of Kafka Connect that has MongoDB's connector, from Maven Central. It needs java 17 or newer, and mvn for
// the first time.
package connectworker

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/syncd-io/syncd/integration/process"
)

//go:embed pom.xml
var pom []byte

//go:embed Main.java
var program []byte

// Jars fetches the worker and the connector if need be, and returns the folder that they are in.
func Jars(ctx context.Context) (string, error) { return process.Maven(ctx, "kafka-connect", pom) }

// Worker is a running worker, standalone, with connectors that it was started with.
type Worker struct {
	addr       string // of its REST API
	connectors []string
	process    *process.Process
}

// Start starts a worker with connectors, given as their settings by their names. It keeps its files in dir. When Start returns, the
// worker answers; its connectors may still be starting.
func Start(ctx context.Context, dir, brokers string, connectors map[string]map[string]string) (*Worker, error) {
	jars, err := Jars(ctx)
	if err != nil {
		return nil, err
	}
	w := &Worker{}
	if w.addr, err = process.FreeAddr(ctx); err != nil {
		return nil, err
	}
	files := map[string][]byte{
		"Main.java": program,
		"worker.properties": fmt.Appendf(nil, `bootstrap.servers=%s
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
offset.storage.file.filename=%s
listeners=http://%s
# Without it a producer whose broker is slow to answer writes twice.
producer.enable.idempotence=true
`, brokers, filepath.Join(dir, "offsets"), w.addr),
	}
	args := []string{
		"-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dorg.slf4j.simpleLogger.log.org.mongodb.driver.protocol.event=off", // to which tokens that are not MongoDB's are worth a stack trace each
		"-cp", filepath.Join(jars, "*"), filepath.Join(dir, "Main.java"), filepath.Join(dir, "worker.properties"),
	}
	for name, settings := range connectors {
		file := name + ".json"
		if files[file], err = json.Marshal(map[string]any{"name": name, "config": settings}); err != nil {
			return nil, fmt.Errorf("preparing Kafka Connect: %w", err)
		}
		args = append(args, filepath.Join(dir, file))
		w.connectors = append(w.connectors, name)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("preparing Kafka Connect: %w", err)
		}
	}
	w.process, err = process.Start(ctx, process.Config{Name: "Kafka Connect", Path: "java", Args: args, Ready: func(ctx context.Context) error {
		return w.ask(ctx, "/", &struct{}{})
	}})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Failed is an error that says which of the connectors has failed, and why; nil if none has.
func (w *Worker) Failed(ctx context.Context) error {
	var errs []error
	for _, name := range w.connectors {
		type part struct {
			State string `json:"state"`
			Trace string `json:"trace"`
		}
		var status struct {
			Connector part   `json:"connector"`
			Tasks     []part `json:"tasks"`
		}
		err := w.ask(ctx, "/connectors/"+url.PathEscape(name)+"/status", &status)
		if errors.Is(err, errNotThere) {
			continue // yet
		}
		for _, p := range append(status.Tasks, status.Connector) {
			if p.State == "FAILED" {
				err = errors.Join(err, fmt.Errorf("connector %s has failed: %s", name, p.Trace))
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

var errNotThere = errors.New("not there")

func (w *Worker) ask(ctx context.Context, path string, answer any) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addr+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	switch resp.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(resp.Body).Decode(answer)
	case http.StatusNotFound:
		return errNotThere
	}
	return fmt.Errorf("%s answers %s", path, resp.Status)
}

// Close ends the worker.
func (w *Worker) Close() error { return w.process.Stop() }

// Log is the end of what the worker has printed.
func (w *Worker) Log() string { return w.process.Log() }
