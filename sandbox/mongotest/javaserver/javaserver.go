// Package javaserver runs mongo-java-server (Maven Central, de.bwaldvogel) as a child process, for tests: a server for
// MongoDB's protocol that is not ours.
//
// The first start of a version fetches it with Maven into the user's cache folder; later ones need no network. It needs java
// 17 or newer and mvn, and says so if one is missing; it installs neither.
//
// Invariant: the child ends with its parent, even if that is killed, since it reads its standard input to the end.
package javaserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

//go:embed pom.xml
var pom []byte

//go:embed Main.java
var program []byte

// Server is a running server.
type Server struct {
	port   string
	closed func() error
}

// startTime bounds the start, fetchTime the fetching before it.
const (
	startTime = 2 * time.Minute
	fetchTime = 5 * time.Minute
)

// Start fetches the server if need be, and starts it.
func Start(ctx context.Context) (*Server, error) {
	dir, err := fetched(ctx)
	if err != nil {
		return nil, fmt.Errorf("starting mongo-java-server: %w", err)
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, fmt.Errorf("starting mongo-java-server: it needs java 17 or newer: %w", err)
	}
	// Not bound to ctx: the server outlives the call, and ends with its standard input.
	// Its order of values of different types is none, which newer sorting refuses now and then: "Comparison method violates its
	// general contract!".
	cmd := exec.Command(java, "-Xmx512m", "-XX:+UseSerialGC", "-Djava.util.Arrays.useLegacyMergeSort=true", "-cp", filepath.Join(dir, "*"), filepath.Join(dir, "Main.java"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting mongo-java-server: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting mongo-java-server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting mongo-java-server: %w", err)
	}
	// Kill makes the read below end, if the server never speaks.
	watchdog := time.AfterFunc(startTime, func() { _ = cmd.Process.Kill() })
	unwatch := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	watchdog.Stop()
	if !unwatch() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		werr := cmd.Wait()
		return nil, fmt.Errorf("starting mongo-java-server: it ended before it named its port: %w, %w\n%s", err, werr, stderr.String())
	}
	return &Server{
		port: strings.TrimSpace(line),
		closed: sync.OnceValue(func() error {
			_ = stdin.Close()
			kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
			_, _ = io.Copy(io.Discard, stdout)
			return cmd.Wait()
		}),
	}, nil
}

// URI is the server's connection string, without a database.
func (s *Server) URI() string { return "mongodb://127.0.0.1:" + s.port + "/" }

// Close ends the server. It may be called again.
func (s *Server) Close() error {
	if err := s.closed(); err != nil {
		return fmt.Errorf("ending mongo-java-server: %w", err)
	}
	return nil
}

// fetched returns the folder that holds the server and its program. The folder's name has a digest of what it was made
// from, so another version goes to another folder, and a half-filled one has no name at all.
func fetched(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	parent := filepath.Join(cache, "syncd-test")
	sum := sha256.Sum256(append(append([]byte(nil), pom...), program...))
	dir := filepath.Join(parent, fmt.Sprintf("mongo-java-server-%x", sum[:6]))
	if _, err := os.Stat(filepath.Join(dir, "Main.java")); err == nil {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("fetching it needs Maven: %w", err)
	}
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(parent, "fetching-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(fresh) }() // nothing is there after the rename
	if err := errors.Join(os.WriteFile(filepath.Join(fresh, "pom.xml"), pom, 0o600), os.WriteFile(filepath.Join(fresh, "Main.java"), program, 0o600)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "-f", filepath.Join(fresh, "pom.xml"),
		"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies", "-DoutputDirectory="+fresh)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetching it with Maven: %w\n%s", err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(filepath.Join(dir, "Main.java")); there != nil {
			return "", err
		}
		// Another process was faster.
	}
	return dir, nil
}
