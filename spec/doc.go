// Package spec turns declarations into behaviour: a configuration struct with its default values and tags is the only
// place where a setting's name, type, default, rule, secrecy and sentence are written, and this package decodes a
// configuration tree over it, reports what is wrong and where, and describes it for documentation.
//
// Invariants:
//   - offline and free of side effects: nothing here opens a connection, reads a file or looks at the environment;
//   - every problem is collected, never only the first, and each has a position that a person can go to;
//   - no message names a Go type or package;
//   - a value of type Secret is never part of a message;
//   - a diagnostic's code is stable, and described in Codes.
//
// Tags of a field: `yaml` is its name in a file, `doc` its sentence, `rule` its rules in the vocabulary of
// go-playground/validator (required, min, max, gt, oneof, …), checked after decoding, `env` an environment variable that
// sets it, `example` a value for its documentation, as YAML, `deprecated` what to use instead ("use batch_size"), for a field
// that is on its way out.
package spec
