package job

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/config"
	"github.com/syncd-io/syncd/mapping"
	"github.com/syncd-io/syncd/syncdtest"
)

// manyLetters is a sink that reads dead letters back: one of each of so many documents, and the first one's again at the end.
type manyLetters struct{ documents int }

func (manyLetters) Write(context.Context, []syncd.Change) error { return errors.ErrUnsupported }
func (manyLetters) Close() error                                { return nil }
func (m manyLetters) Abilities() syncd.SinkAbilities {
	return syncd.SinkAbilities{DeadLetters: func(context.Context, []syncd.Target) iter.Seq2[syncd.DeadLetter, error] {
		return func(yield func(syncd.DeadLetter, error) bool) {
			for i := range m.documents + 1 {
				id := strconv.Itoa(i % m.documents)
				l := syncd.DeadLetter{Place: id, At: time.Unix(int64(i), 0), Collection: "page", ID: id, Value: make([]byte, 10_000)}
				if !yield(l, nil) {
					return
				}
			}
		}
	}}
}

// TestManyDeadLettersDoNotFillMemory, though all of them are read.
func TestManyDeadLettersDoNotFillMemory(t *testing.T) {
	const documents, most = 5000, 3
	sink := config.Plugin{Settings: &struct{}{}, Plugin: syncd.NewSink("many", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Sink, error) {
		return manyLetters{documents}, nil
	})}
	j := &Job{Config: &config.Config{Name: "job", DeadLetter: sink, Mapping: &mapping.Mapping{}}, Logger: slog.New(slog.DiscardHandler)}
	res, err := j.DeadLetters(t.Context(), most)
	if err != nil {
		t.Fatal(err)
	}
	var ids string
	for _, l := range res.Letters {
		ids += l.ID + " "
	}
	if ids != "0 4999 4998 " || res.Read != documents+1 {
		t.Errorf("of %d letters these are kept: %s", res.Read, ids)
	}
	last := map[letterOf]*DeadLetter{}
	for i := range 2 * most {
		last[letterOf{"page", strconv.Itoa(i)}] = &DeadLetter{DeadLetter: syncd.DeadLetter{At: time.Unix(int64(i), 0)}}
	}
	if keepNewest(last, most); len(last) != most || last[letterOf{"page", "5"}] == nil || last[letterOf{"page", "2"}] != nil {
		t.Errorf("%v", last)
	}
}

// TestLettersOfOtherCollectionsComeInTheirOrder: those that the configuration does not read any more are named the same way each time.
func TestLettersOfOtherCollectionsComeInTheirOrder(t *testing.T) {
	source := config.Plugin{Settings: &struct{}{}, Plugin: syncd.NewSource("memory", "", struct{}{}, func(context.Context, struct{}, syncd.Env) (syncd.Source, error) {
		return syncdtest.NewMemorySource(), nil
	})}
	j := &Job{Config: &config.Config{Name: "job", Source: source, Mapping: &mapping.Mapping{}, Run: config.Run{Work: config.Work{Mode: config.Full}}}, Logger: slog.New(slog.DiscardHandler)}
	var letters []DeadLetter
	for _, name := range []string{"d", "a", "c", "b", "e"} {
		letters = append(letters, DeadLetter{DeadLetter: syncd.DeadLetter{Collection: name, ID: "1"}})
	}
	for range 10 {
		_, _, left, err := j.PlanDeadLetters(t.Context(), letters)
		var names string
		for _, l := range left {
			names += l.Collection
		}
		if err != nil || names != "abcde" {
			t.Fatalf("%s, %v", names, err)
		}
	}
}
