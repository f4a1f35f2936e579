package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// machine says what the figures were taken on. SHA extensions matter: a point id is a hash.
func machine() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		info = nil // another operating system
	}
	model, sha := processor(string(info))
	out := fmt.Sprintf("Processor: %s, %s, %d for the run; %s, %s/%s; servers and clients on the same machine", model, sha,
		runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		load, _, _ := strings.Cut(string(text), " ")
		out += "; load before the run: " + load
		if busy, err := strconv.ParseFloat(load, 64); err == nil && busy > float64(runtime.NumCPU())/2 {
			out += ", so others used it too, and wall times say little"
		}
	}
	return out + "."
}

// processor reads the processor's model and whether it has instructions for SHA-1 off the text of /proc/cpuinfo.
func processor(info string) (model, sha string) {
	model, sha = "unknown model", "SHA extensions unknown"
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "model name":
			model = value
		case "flags", "Features": // of x86, of ARM
			sha = "without SHA extensions"
			if words := strings.Fields(value); slices.Contains(words, "sha_ni") || slices.Contains(words, "sha1") {
				sha = "with SHA extensions"
			}
		}
	}
	return model, sha
}
