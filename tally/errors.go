package tally

import "fmt"

// GuardError says that a guard or a limit ended the run.
type GuardError struct {
	Problem string
	Advice  string // what to do
}

func (e *GuardError) Error() string { return e.Problem }

// CoverageError says that a collection's numbers do not prove that every document was handled.
type CoverageError struct {
	Collection string
	Problem    string
}

func (e *CoverageError) Error() string {
	return fmt.Sprintf("collection %s: %s", e.Collection, e.Problem)
}
