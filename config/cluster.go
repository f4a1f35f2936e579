package config

import (
	"time"

	"github.com/syncd-io/syncd/spec"
)

// Cluster is the `cluster` section: processes that share a job's work.
type Cluster struct {
	Group             string        `yaml:"group" rule:"omitempty,min=1,max=200" example:"syncd-prod" doc:"Processes with the same configuration and this group share the job's work; not set, a process works alone. The Kafka group is this name, a dot, and the job's name."`
	StateTopic        string        `yaml:"state_topic" rule:"min=1,max=249" doc:"The compacted topic that holds the state of the jobs, in place of run.state_dir. It is created if it does not exist."`
	Partitions        int           `yaml:"partitions" rule:"min=1,max=1000" doc:"Partitions of a state topic that is created. At most so many processes can work at once; four times the number of processes divides the work evenly."`
	ReplicationFactor int           `yaml:"replication_factor" rule:"min=0" doc:"Replicas of a state topic that is created; 0 leaves it to the brokers."`
	InstanceID        string        `yaml:"instance_id" rule:"omitempty,max=200" example:"${HOSTNAME}" doc:"A name of this process that it has again after a restart, such as a StatefulSet's pod name: a process that is back within session_timeout keeps its share, and nobody takes it over before. Not set, others take over at once."`
	SessionTimeout    time.Duration `yaml:"session_timeout" rule:"min=6s,max=30m" doc:"A process that is not heard of for so long is taken for dead, and others take its work over."`
	LeaveTimeout      time.Duration `yaml:"leave_timeout" rule:"min=100ms,max=5m" doc:"How long a process may take to finish what is under way when others take work over from it."`
	StallTimeout      time.Duration `yaml:"stall_timeout" rule:"min=0" doc:"A process that has work and does not advance for so long leaves, so that others do it; 0 never does."`
	Connection        pluginSection `yaml:"connection" doc:"The Kafka for all this, where it is not that of the sink. What it does not set is taken from the sink, if that is Kafka as well."`
}

// Enabled reports whether the job's work is shared.
func (c *Cluster) Enabled() bool { return c.Group != "" }

func defaultCluster() Cluster {
	return Cluster{
		StateTopic: "syncd-cluster", Partitions: 24, SessionTimeout: 10 * time.Second, LeaveTimeout: 5 * time.Second, StallTimeout: 10 * time.Minute,
	}
}

// checkCluster finds what processes can't do together.
func (l *loader) checkCluster(d *spec.Decoder, tree *spec.Node, f *file) {
	at := tree.Get("cluster")
	if at.IsNull() {
		return
	}
	d.In("cluster", func() {
		if !f.Cluster.Enabled() {
			if !l.partial() {
				d.Errorf(at, spec.CodeMissingField, "name it: group: syncd", "missing field %q", "group")
			}
			return
		}
		if f.Run.Wait {
			d.Errorf(at, spec.CodeBadValue, "leave run.wait out, and compare afterwards with syncd verify",
				"run.wait follows the events of one process, and a cluster has several")
		}
		if !f.Run.Resume {
			d.Errorf(at, spec.CodeBadValue, "leave run.resume: false out", "a cluster keeps the state of a run for all its processes, which run.resume: false forbids")
		}
	})
}
