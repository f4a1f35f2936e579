package syncdtest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/syncdtest"
)

// A sink whose second answer is lost: the event is durable, and its writer can't know.
func ExampleFaultySink() {
	memory := syncdtest.NewMemorySink()
	sink := syncdtest.FaultySink(memory, syncdtest.SinkFaults{
		Write: syncdtest.Nth(2, syncdtest.Fault{Err: errors.New("connection reset"), Done: true}),
	})
	target := &syncd.Target{Database: "wiki", Collection: "page"}
	for _, id := range []string{"a", "b"} {
		err := sink.Write(context.Background(), []syncd.Change{{ID: id, Target: target, Operation: syncd.Delete}})
		fmt.Println(id, err)
	}
	fmt.Println(len(memory.Events()), "events")
	// Output:
	// a <nil>
	// b connection reset
	// 2 events
}
