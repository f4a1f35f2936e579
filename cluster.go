package syncd

import (
	"context"
	"time"
)

// Cluster is a log of marks in lanes, which every member reads whole, and a group whose members divide the lanes among them. Each lane
// has at most one owner, and only the owner can commit in its name. A process that the group has removed cannot, though it may still run.
//
// Join is called once, Commit at any time while Join has not returned, and Close at the end. Commit is safe for concurrent use.
type Cluster interface {
	// Join takes part until ctx ends, and then leaves, so that others take the lanes over at once; that is no error. It returns an
	// error that wraps ErrUnavailable where the group can't be reached for longer than the session may last, and another one where the member can't go on.
	// It calls the functions of m one at a time.
	Join(ctx context.Context, m Member) error

	// Commit makes changes and marks durable in one transaction, in the name of lanes that this process owns; the marks may be in
	// any lanes. If one of the tenures is over, or the group has removed the process, nothing is committed and the error wraps
	// ErrFenced; Member.Lost or Member.Losing tells of such a lane too. A lane that was lost and gained again is another tenure, since the
	// caller did not know what others did in it.
	//
	// A *BatchError names changes that are refused; nothing is committed. After any other error it is not known whether the transaction
	// was committed: the process must leave, join again, and read the log from its start.
	//
	// Only a cluster of a sink that commits takes changes. Calls at the same time may share a transaction, and then the order of their
	// marks is not defined. Member.Read may be told of the marks before Commit returns, or after.
	Commit(ctx context.Context, tenures []Tenure, changes []Change, marks []LaneMark) error

	// Lanes is how many there are. It does not change.
	Lanes() int

	Close() error
}

// LaneMark is a mark in a lane. A name stands in one lane only.
type LaneMark struct {
	Lane int
	Mark
}

// Tenure is a lane for as long as a process owns it without a break.
type Tenure struct {
	Lane   int
	Number int // tells it from other tenures of the lane that the process has or had
}

// Member is told what a member of a cluster must know. All functions must be set and return soon, but for Losing.
type Member struct {
	// Read is told of every committed mark of every lane, in the order of its lane, those of this process among them. A nil value forgets the name.
	Read func(LaneMark)
	// CaughtUp is told once, when everything that was committed when Join began was told to Read.
	CaughtUp func()
	// Own is told of lanes that are this process's from now on. Everything that was ever committed in them by others was told to Read.
	Own func(tenures []Tenure)
	// Losing is told of lanes that others are to have. It may take until ctx ends, to finish what is under way; Commit still works for them.
	// When it has returned it does not any more.
	Losing func(ctx context.Context, lanes []int)
	// Lost is told of lanes that this process does not own any more, without a warning.
	Lost func(lanes []int)
}

// ClusterOptions says which cluster a process takes part in.
type ClusterOptions struct {
	Group       string        // the group's name
	Topic       string        // where the lanes are
	Lanes       int           // of a topic that is to be created
	Replicas    int           // likewise; 0 leaves it to the brokers
	Existing    bool          // the topic was there before: that it is gone is an error
	Instance    string        // a name of this process that outlives it, so that it has its lanes back after a short absence; empty for none
	Session     time.Duration // after so long without a sign of life a member is taken for dead
	Leave       time.Duration // how long Member.Losing may take
	ProcessName string        // tells this process from all others, dead ones too
}
