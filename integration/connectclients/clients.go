// Package connectclients runs clients of Kafka Connect's REST API that nobody here wrote: kafka-connect-py and kafkaconnect (PyPI), and
// org.sourcelab's (Maven Central), which is that of AKHQ. They need python3 3.11 with pip, java 17 and mvn.
package connectclients

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/syncd-io/syncd/integration/process"
)

//go:embed kafka-connect-py.txt
var kafkaConnectPy []byte

//go:embed kafkaconnect.txt
var kafkaConnect []byte

//go:embed pom.xml
var pom []byte

//go:embed Client.java
var program []byte

// Client runs a client's command line against a service and returns what it prints.
type Client func(ctx context.Context, url string, args ...string) (string, error)

// KafkaConnectPy is kc, of kafka-connect-py.
func KafkaConnectPy(ctx context.Context) (Client, error) {
	return python(ctx, "kafka-connect-py", kafkaConnectPy, "from kafka_connect.cli import cli; cli()")
}

// KafkaConnect is kafkaconnect.
func KafkaConnect(ctx context.Context) (Client, error) {
	return python(ctx, "kafkaconnect", kafkaConnect, "from kafkaconnect.cli import main; main()")
}

// python returns a client that has its packages for itself: both have a module of one name.
func python(ctx context.Context, name string, requirements []byte, main string) (Client, error) {
	packages, err := process.Pip(ctx, name, requirements)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, url string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "python3", append([]string{"-c", main}, args...)...) //nolint:gosec // for tests: they choose the arguments
		cmd.Env = append(cmd.Environ(), "PYTHONPATH="+packages, "KAFKA_CONNECT_URL="+url)
		return run(cmd)
	}, nil
}

// Java runs all that org.sourcelab's client can ask, of the job that is its argument.
func Java(ctx context.Context) (Client, error) {
	jars, err := process.Maven(ctx, "connect-client", pom)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, url string, args ...string) (string, error) {
		dir, err := os.MkdirTemp("", "syncd-client-")
		if err != nil {
			return "", err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		file := filepath.Join(dir, "Client.java")
		if err := os.WriteFile(file, program, 0o600); err != nil {
			return "", err
		}
		all := append([]string{"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(jars, "*"), file, url}, args...)
		return run(exec.CommandContext(ctx, "java", all...)) //nolint:gosec // as above
	}, nil
}

func run(cmd *exec.Cmd) (string, error) {
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String() + problems.String(), fmt.Errorf("running the client: %w\n%s", err, problems.Bytes())
	}
	return out.String(), nil
}
