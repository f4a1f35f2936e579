package kafka

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFollow(t *testing.T) {
	b := cluster(t, 1, "db.page")
	b.send(t, "db.page", "a", plain("insert", "page", "a", `,"n":1`))
	b.send(t, "db.page", "b", plain("update", "note", "b", `,"n":2`))
	b.send(t, "db.page", "c", plain("insert", "other", "c", ""))
	b.send(t, "db.page", "a", plain("delete", "page", "a", ""))
	b.send(t, "db.page", "a", "")
	b.send(t, "db.page", "d", "")
	o := start(t, b.BootstrapServers(), nil)
	var got []string
	for _, c := range o.take(t, 4) {
		got = append(got, text(c))
	}
	want := []string{`insert page a {"_id":"a","n":1}`, `update note b {"_id":"b","n":2}`, "delete page a -", "delete page d -"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if at := b.committed(t, "g", "db.page", 1); !slices.Equal(at, []int64{6}) {
		t.Errorf("the group stands at %v", at)
	}
}
