package connect

import (
	"errors"
	"net/http"

	"github.com/syncd-io/syncd/job/host"
)

func (a *API) pause(q *request) (answer, error) {
	return a.want(q, host.WantPaused, http.StatusAccepted)
}
func (a *API) resume(q *request) (answer, error) {
	return a.want(q, host.WantRunning, http.StatusAccepted)
}
func (a *API) stop(q *request) (answer, error) {
	return a.want(q, host.WantStopped, http.StatusNoContent)
}

// want has a job run, pause or stop. It does not wait.
func (a *API) want(q *request, want host.Desired, code int) (answer, error) {
	err := a.Host.Want(q.job(), want, a.by(q))
	if errors.Is(err, host.ErrNoJob) {
		return answer{}, fail(http.StatusNotFound, unknown, q.job())
	}
	return answer{code: code}, err
}

// restart ends the run under way, and begins another. A job's tasks can't be restarted without it, and so are part of it.
func (a *API) restart(q *request) (answer, error) {
	j, c, err := a.findJob(q.job(), unknownToo)
	if err != nil {
		return answer{}, err
	}
	status := a.statusOf(q, j, c)
	tasks, onlyFailed := q.flag("includeTasks"), q.flag("onlyFailed")
	due := !onlyFailed || status.Connector.State == failed
	if due {
		status.Connector.State = restarting
	}
	for i := range status.Tasks {
		if t := &status.Tasks[i]; tasks && (!onlyFailed || t.State == failed) {
			due, t.State = true, restarting
		}
	}
	if due {
		if err := a.Host.Restart(q.job(), a.by(q)); err != nil && !errors.Is(err, host.ErrNoJob) { // gone meanwhile
			return answer{}, err
		}
	}
	if tasks {
		return answer{code: http.StatusAccepted, body: status}, nil
	}
	return answer{code: http.StatusNoContent}, nil
}

// restartTask is restart for what holds the task.
func (a *API) restartTask(q *request) (answer, error) {
	missing := fail(http.StatusNotFound, unknownTask, q.job(), q.names[1])
	j, c, err := a.findJob(q.job(), unknown)
	if err != nil {
		return answer{}, err
	}
	if _, ok := taskNumber(q.names[1], j, c); !ok {
		return answer{}, missing
	}
	if err := a.Host.Restart(q.job(), a.by(q)); err != nil && !errors.Is(err, host.ErrNoJob) {
		return answer{}, err
	}
	return answer{code: http.StatusNoContent}, nil
}
