// Package config reads a configuration: a chain of YAML files, then environment variables, then flags, merged into one tree
// whose every value knows where it was set, decoded over the plugins' defaults.
//
// Invariants:
//   - offline and free of side effects but for reading the files it is pointed at, those that they name, and, where a file
//     holds a password, the index of the git repository around it: nothing connects, nothing is written, no program is run;
//   - every problem of every layer is reported, each at the place where it was set, and once; what can't be relied on (an
//     unset variable, a file that is broken) is reported itself and not by what follows from it;
//   - a diagnostic shows no secret: not in its message, and not in the line of the file beside it;
//   - what Load accepts is what runs: the run command and validate share it;
//   - precedence is flag > environment > file > extended file > default.
package config
