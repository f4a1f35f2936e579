// Package config reads a configuration: a chain of YAML files, then environment variables, then flags, merged into one tree
// whose every value knows where it was set, decoded over the plugins' defaults.
//
// Invariants:
//   - offline and free of side effects but for reading the files it is pointed at: nothing connects;
//   - every problem of every layer is reported, each at the place where it was set;
//   - what Load accepts is what runs: the run command and validate share it;
//   - precedence is flag > environment > file > extended file > default.
package config
