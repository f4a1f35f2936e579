package syncdtest

import (
	"testing"
	"time"

	"github.com/syncd-io/syncd"
)

// ClusterHarness tells TestCluster how to reach a cluster.
type ClusterHarness struct {
	// Open starts a process of the cluster that o describes. The suite closes it; what else Open started ends with t.Cleanup. Every case
	// has a topic and a group of its own, and every process a name.
	Open func(t *testing.T, o syncd.ClusterOptions) ClusterProcess

	// Session is the shortest session that the cluster allows. Cases in which a process dies last longer than that.
	Session time.Duration

	// Committed returns the ids of the documents whose changes were committed to SinkTargets, in any order, and each as often as it was.
	// Ids of other cases may be among them. nil skips the cases with changes.
	Committed func(t *testing.T) []string

	// TooLarge is the size of a document that Commit must refuse with a BatchError; 0 skips the case.
	TooLarge int

	// Except names cases that the cluster can't pass, and why; they are skipped with that reason.
	Except map[string]string

	// Background names functions (as in a stack trace) of goroutines that a client library keeps for good.
	Background []string
}

// ClusterProcess is a process that can take part in a cluster.
type ClusterProcess struct {
	syncd.Cluster

	// Cut cuts the process off from the others without a word to either, as SIGSTOP or a broken network does. What it asks then waits for
	// mend, and fails if that is too late. A process that is never mended is one that was killed. Close must end all the same.
	Cut func() (mend func())
}

// TestCluster tests what syncd.Cluster promises.
func TestCluster(t *testing.T, h ClusterHarness) {
	t.Helper()
	runCases(t, []testCase{
		{"marks_are_read_in_order", h.clusterMarks},
		{"a_late_process_reads_all", h.clusterLate},
		{"marks_are_bytes", h.clusterBytes},
		{"lanes_have_one_owner_each", h.clusterOwners},
		{"one_who_joins_is_given_lanes", h.clusterJoins},
		{"losing_may_take_longer_than_a_session", h.clusterSlowLoss},
		{"one_who_leaves_hands_over_at_once", h.clusterLeaves},
		{"one_who_was_killed_is_replaced", h.clusterKilled},
		{"one_who_was_taken_for_dead_can_not_commit", h.clusterZombie},
		{"a_short_absence_costs_nothing", h.clusterAway},
		{"an_instance_has_its_lanes_back", h.clusterInstance},
		{"lanes_of_others_are_refused", h.clusterForeign},
		{"tenures_of_before_are_refused", h.clusterTenures},
		{"commits_overlap", h.clusterOverlapping},
		{"commits_go_on_while_lanes_move", h.clusterMoving},
		{"a_refused_change_commits_nothing", h.clusterRefused},
		{"a_commit_whose_context_ends_is_whole_or_not_there", h.clusterContextEnds},
		{"many_lanes", h.clusterManyLanes},
		{"lanes_do_not_change", h.clusterLanes},
		{"joining_with_an_ended_context", h.clusterEnded},
	}, h.Except, h.Background)
}
