package cli

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/syncd-io/syncd/internal/text"
	"github.com/syncd-io/syncd/job"
)

// SearchHit is a point that a search found.
type SearchHit struct {
	Score       float32 `json:"score" doc:"How near it is, as the collection compares vectors."`
	PointID     string  `json:"point_id" doc:"The point's id."`
	ContentType string  `json:"content_type" doc:"What the index calls the document."`
	ID          string  `json:"id" doc:"The text of the document's id."`
	Title       string  `json:"title" doc:"The document's title."`
	Chunk       int     `json:"chunk" doc:"Which of the document's chunks it is, from 0."`
	Chunks      int     `json:"chunks" doc:"How many chunks the document has."`
	Text        string  `json:"text" doc:"The chunk's text."`
}

// shownText is how many characters of a chunk are shown.
const shownText = 160

func (a *app) searchCommand() *cobra.Command {
	var common commonFlags
	var limit int
	var types []string
	c := &cobra.Command{
		Use:   "search -c FILE TEXT...",
		Short: "Embed a question and show the nearest documents of the index that the configuration writes",
		Example: `  syncd search -c configs/direct.yaml how do I reset my password
  syncd search -c configs/direct.yaml --type page --limit 3 -o json "single sign-on"`,
		Args: func(_ *cobra.Command, args []string) error {
			if strings.TrimSpace(strings.Join(args, " ")) == "" {
				return usageError("search takes a text: syncd search -c FILE TEXT")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > 1000 {
				return usageError("--limit must be from 1 to 1000, not %d", limit)
			}
			cfg, logger, err := a.load(&common, nil, nil)
			if err != nil {
				return err
			}
			return a.connected(cmd.Context(), cfg, logger, nil, func(ctx context.Context, j *job.Job) error {
				found, err := j.Search(ctx, job.SearchRequest{Text: strings.Join(args, " "), ContentTypes: types, Limit: limit})
				if err != nil {
					return err
				}
				hits := make([]SearchHit, len(found))
				for i, n := range found {
					hits[i] = SearchHit{
						Score: n.Score, PointID: n.PointID.String(), ContentType: n.ContentType, ID: n.ID, Title: n.Title, Chunk: n.Chunk, Chunks: n.Chunks, Text: n.Text,
					}
				}
				if a.json {
					return a.tell(hits)
				}
				p := newPrinter(a.stdout, cfg)
				for _, h := range hits {
					p.printf("%.4f  %s %s  %s", h.Score, text.Of(h.ContentType), text.Of(h.ID), h.Title)
					if h.Chunks > 1 {
						p.printf("  (chunk %d of %d)", h.Chunk+1, h.Chunks)
					}
					p.printf("\n        %s\n", beginning(h.Text))
				}
				if len(hits) == 0 {
					p.printf("the index holds nothing that is near to it\n")
				}
				return nil
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 5, "show so many, a `NUMBER`, the nearest first")
	c.Flags().StringSliceVar(&types, "type", nil, "only documents of these content types, separated by commas")
	a.formatFlag(c)
	a.jsonFlag(c)
	common.add(c)
	return c
}

// beginning is the beginning of a chunk's text in one line.
func beginning(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= shownText {
		return s
	}
	return string([]rune(s)[:shownText]) + "…"
}
