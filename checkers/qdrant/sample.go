package qdrant

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/qdrantconn"
)

// sampledAtOnce is how many samples one request asks for. Qdrant takes them side by side; where payload has no index each reads what
// it takes to find its points, within the one timeout.
const sampledAtOnce = 32

// The numbers of fields in points.proto.
const (
	queryBatchResult = 1 // repeated BatchResult
	batchPoint       = 1 // repeated ScoredPoint, whose id and payload have the numbers of a RetrievedPoint's
)

// Sample asks for many samples at once (QueryBatch, in which a query for nothing in particular gives points in the order of their
// ids, as Scroll does). Where Qdrant does not answer that, be it an older one or its limits, each is a listing, which says what is
// wrong.
func (c *checker) Sample(ctx context.Context, reqs []syncd.ListRequest) ([][]syncd.Listed, error) {
	out := make([][]syncd.Listed, 0, len(reqs))
	together := len(reqs) > 1 && !c.done.Load()
	for some := range slices.Chunk(reqs, sampledAtOnce) {
		sampled := make([]sampled, len(some))
		if together {
			if err := c.queryAtOnce(ctx, some, sampled); err != nil {
				if err := interrupted(ctx); err != nil {
					return nil, err
				}
				c.log.Debug("Qdrant does not give several samples at once: asking for each", "reason", c.redact(qdrantconn.Reason(err)))
				together = false
				clear(sampled)
			}
		}
		for i, req := range some {
			if !sampled[i].whole {
				sampled[i].points = nil
				for batch, err := range c.List(ctx, req) {
					if err != nil {
						return nil, err
					}
					sampled[i].points = append(sampled[i].points, batch...)
				}
			}
			out = append(out, sampled[i].points)
		}
	}
	return out, nil
}

// sampled is what was answered to one request for a sample.
type sampled struct {
	points []syncd.Listed
	whole  bool // what List would give
}

// queryAtOnce asks for samples in one request.
func (c *checker) queryAtOnce(ctx context.Context, reqs []syncd.ListRequest, out []sampled) error {
	request := qdrant.QueryBatchPoints{CollectionName: c.conf.Collection, ReadConsistency: c.consistency, Timeout: new(seconds(c.conf.Timeout))}
	selections := make([]selection, len(reqs))
	for i, req := range reqs {
		filter, err := matching(req.Match)
		if err == nil {
			selections[i], err = selectKeys(req.Keys)
		}
		if err != nil {
			return err
		}
		request.QueryPoints = append(request.QueryPoints, &qdrant.QueryPoints{
			CollectionName: c.conf.Collection, Filter: filter, Limit: new(uint64(req.Limit)),
			WithPayload: selections[i].request(), WithVectors: qdrant.NewWithVectors(false),
		})
	}
	if err := c.acquire(ctx); err != nil {
		return err
	}
	defer c.release()
	within, cancel := context.WithTimeout(ctx, c.conf.Timeout)
	defer cancel()
	answer := scrolled{CodecV2: encoding.GetCodecV2(proto.Name)}
	if _, err := c.client.GetPointsClient().QueryBatch(within, &request, grpc.ForceCodecV2(&answer)); err != nil {
		return err
	}
	answers := 0
	err := eachField(answer.body, func(number protowire.Number, value []byte) (err error) {
		if number != queryBatchResult {
			return nil
		}
		if answers < len(reqs) {
			out[answers], err = readSample(value, selections[answers], reqs[answers].Limit)
		}
		answers++
		return err
	})
	if err == nil && answers != len(reqs) {
		err = fmt.Errorf("it answered %d of %d queries", answers, len(reqs))
	}
	return err
}

// readSample reads the answer to one query. It is not whole where ids are numbers, which a listing leaves out, or not in order.
func readSample(batch []byte, selected selection, limit int) (s sampled, err error) {
	s.whole = true
	n := len(selected.paths)
	values := make([]syncd.Value, n*limit)
	err = eachField(batch, func(number protowire.Number, value []byte) error {
		if number != batchPoint {
			return nil
		}
		id, ok := retrieved(value)
		if !ok {
			return errNoMessage
		}
		if id.numbered || len(s.points) == limit {
			s.whole = false
			return nil
		}
		parsed, err := uuid.ParseBytes(id.text)
		if err != nil {
			return fmt.Errorf("a point has the id %v", id)
		}
		listed := syncd.Listed{ID: parsed, Payload: values[:n:n]}
		values = values[n:]
		if last := len(s.points) - 1; last >= 0 && string(s.points[last].ID[:]) >= string(parsed[:]) {
			s.whole = false
		}
		s.points = append(s.points, listed)
		return selected.read(value, listed.Payload)
	})
	return s, err
}
