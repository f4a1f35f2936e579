package syncdtest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/syncd-io/syncd"
)

func (h CheckerHarness) surveyCases() []testCase {
	return []testCase{
		{"survey", h.survey},
		{"survey_an_index_that_does_not_exist", h.surveyNoIndex},
		{"survey_when_the_context_has_ended", h.surveyContextEnded},
		{"survey_unreachable", h.surveyUnreachable},
	}
}

type surveyFunc = func(context.Context, string) (syncd.Survey, error)

func surveyor(t *testing.T, c syncd.Checker) surveyFunc {
	t.Helper()
	survey := c.Abilities().Survey
	if survey == nil {
		t.Skip("the checker can't survey its index")
	}
	return survey
}

// surveyed opens an index of a few points: texts of two kinds under "kind", nested names, and a point without payload.
func (h CheckerHarness) surveyed(t *testing.T) surveyFunc {
	t.Helper()
	if h.OpenPayload == nil {
		t.Skip("the harness has no OpenPayload")
	}
	points := map[uuid.UUID]map[string]string{point(9): {}}
	for i := range 6 {
		kind := "a"
		if i >= 4 {
			kind = "b "
		}
		points[point(i)] = map[string]string{"kind": kind, "meta.id": fmt.Sprint("d", i)}
	}
	c := h.OpenPayload(t, points)
	closeLater(t, c)
	return surveyor(t, c)
}

func (h CheckerHarness) survey(t *testing.T) {
	survey := h.surveyed(t)
	s, err := survey(t.Context(), "kind")
	if err != nil {
		t.Fatalf("Survey: %v", err)
	}
	if want := []syncd.TextCount{{Text: "a", Points: 4}, {Text: "b ", Points: 2}}; len(s.Texts) != 2 || s.Texts[0] != want[0] || s.Texts[1] != want[1] {
		t.Errorf("Survey counts %+v; want %+v", s.Texts, want)
	}
	ids, bare := map[string]bool{}, 0
	for _, p := range s.Sample {
		if len(p) == 0 {
			bare++
		} else {
			ids[p["meta.id"]] = p["kind"] != ""
		}
	}
	if len(s.Sample) != 7 || bare != 1 || len(ids) != 6 {
		t.Errorf("of 7 points, one without payload, Survey shows %+v", s.Sample)
	}
	if s, err := survey(t.Context(), "no such key"); err != nil || len(s.Texts) != 0 || len(s.Sample) != 7 {
		t.Errorf("of a key that no point has Survey = %+v, %v", s, err)
	}
}

func (h CheckerHarness) surveyNoIndex(t *testing.T) {
	s, err := surveyor(t, h.empty(t))(t.Context(), "kind")
	if err != nil || len(s.Texts) != 0 || len(s.Sample) != 0 {
		t.Errorf("Survey = %+v, %v; want nothing", s, err)
	}
}

func (h CheckerHarness) surveyContextEnded(t *testing.T) {
	survey := h.surveyed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := survey(ctx, "kind"); err == nil {
		t.Error("Survey has no error, though its context had ended")
	}
}

func (h CheckerHarness) surveyUnreachable(t *testing.T) {
	survey := surveyor(t, h.gone(t))
	inTime(t, unreachableLimit, "Survey, whose server is gone,", func() error {
		_, err := survey(t.Context(), "kind")
		return wantUnavailable("Survey", err)
	})
}
