package qdrant

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/syncd-io/syncd"
)

// prepare is the ability Prepare: it makes the collection where it is to be made, and finds out how large its vectors are.
func (s *sink) prepare(ctx context.Context, run syncd.Run) error {
	if s.conf.Alias != "" {
		if _, err := s.checkAlias(ctx); err != nil {
			return err
		}
	}
	size, err := s.look(ctx)
	if err == nil {
		s.size.Store(int64(size))
		return nil
	}
	if status.Code(err) != codes.NotFound {
		return err
	}
	if !s.conf.Create.Enabled {
		return syncd.Hint(fmt.Errorf("Qdrant at %s has no collection %q", s.ep.Addr(), s.conf.Collection), //nolint:staticcheck // a name
			"create it, correct sink.qdrant.collection, or set sink.qdrant.create.enabled: true")
	}
	if run.Vectors == nil {
		return fmt.Errorf("creating the collection %q: no stage says how many dimensions its vectors have", s.conf.Collection)
	}
	if size, err = run.Vectors.Dimensions(ctx); err != nil {
		return err
	}
	if err := s.create(ctx, size); err != nil {
		return err
	}
	s.log.Info("created the collection", "collection", s.conf.Collection, "dimensions", size, "distance", string(s.conf.Create.Distance))
	s.size.Store(int64(size))
	return nil
}

// info describes the collection.
func (s *sink) info(ctx context.Context) (info *qdrant.CollectionInfo, err error) {
	err = s.call(ctx, func(ctx context.Context) error {
		r, err := s.client.GetCollectionsClient().Get(ctx, &qdrant.GetCollectionInfoRequest{CollectionName: s.conf.Collection})
		info = r.GetResult()
		return err
	})
	if err != nil {
		return nil, s.explain(fmt.Sprintf("looking for the collection %q in Qdrant at %s", s.conf.Collection, s.ep.Addr()), err)
	}
	return info, nil
}

// look finds out how large the collection's vectors are.
func (s *sink) look(ctx context.Context) (size int, err error) {
	info, err := s.info(ctx)
	if err != nil {
		return 0, err
	}
	vectors := info.GetConfig().GetParams().GetVectorsConfig()
	params := vectors.GetParams()
	var names []string
	if all := vectors.GetParamsMap().GetMap(); all != nil {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			names = append(names, fmt.Sprintf("%q", name))
		}
		params = all[s.conf.Vector]
	} else if s.conf.Vector != "" {
		params = nil
	}
	if params == nil {
		have := "one without a name"
		if len(names) > 0 {
			have = strings.Join(names, ", ")
		}
		return 0, syncd.Hint(fmt.Errorf("the collection %q has no vector named %q", s.conf.Collection, s.conf.Vector), "set sink.qdrant.vector to one that it has: %s", have)
	}
	return int(params.GetSize()), nil
}

func (s *sink) create(ctx context.Context, size int) error {
	c := s.conf.Create
	params := &qdrant.VectorParams{
		Size: uint64(size),
		Distance: map[Distance]qdrant.Distance{
			"cosine": qdrant.Distance_Cosine, "dot": qdrant.Distance_Dot, "euclid": qdrant.Distance_Euclid, "manhattan": qdrant.Distance_Manhattan,
		}[c.Distance],
	}
	if c.OnDisk {
		params.OnDisk = &c.OnDisk //nolint:staticcheck // what takes its place is not known to older servers
	}
	req := &qdrant.CreateCollection{CollectionName: s.conf.Collection, VectorsConfig: qdrant.NewVectorsConfig(params)}
	if s.conf.Vector != "" {
		req.VectorsConfig = qdrant.NewVectorsConfigMap(map[string]*qdrant.VectorParams{s.conf.Vector: params})
	}
	if c.OnDiskPayload {
		req.OnDiskPayload = &c.OnDiskPayload //nolint:staticcheck // likewise
	}
	switch c.Quantization {
	case "scalar":
		req.QuantizationConfig = qdrant.NewQuantizationScalar(&qdrant.ScalarQuantization{Type: qdrant.QuantizationType_Int8})
	case "binary":
		req.QuantizationConfig = qdrant.NewQuantizationBinary(&qdrant.BinaryQuantization{})
	}
	if c.Shards > 0 {
		req.ShardNumber = qdrant.PtrOf(uint32(c.Shards))
	}
	if c.Replicas > 0 {
		req.ReplicationFactor = qdrant.PtrOf(uint32(c.Replicas))
	}
	err := s.call(ctx, func(ctx context.Context) error {
		_, err := s.client.GetCollectionsClient().Create(ctx, req)
		return err
	})
	if err != nil && status.Code(err) != codes.AlreadyExists { // another process was faster
		return s.explain(fmt.Sprintf("creating the collection %q in Qdrant at %s", s.conf.Collection, s.ep.Addr()), err)
	}
	keys := append([]string{s.conf.Payload.ContentType, s.conf.Payload.ID}, c.Indexes...)
	if s.conf.Payload.Database != "" {
		keys = append(keys, s.conf.Payload.Database)
	}
	for _, key := range keys {
		err := s.call(ctx, func(ctx context.Context) error {
			_, err := s.client.GetPointsClient().CreateFieldIndex(ctx, &qdrant.CreateFieldIndexCollection{
				CollectionName: s.conf.Collection, FieldName: key, Wait: qdrant.PtrOf(true), FieldType: qdrant.FieldType_FieldTypeKeyword.Enum(),
			})
			return err
		})
		if err != nil {
			return s.explain(fmt.Sprintf("indexing the payload key %q of the collection %q", key, s.conf.Collection), err)
		}
	}
	return nil
}

func (s *sink) probe(ctx context.Context, _ []syncd.ProbeTarget) []syncd.Finding {
	f := syncd.Finding{Subject: "collection " + s.conf.Collection}
	size, err := s.look(ctx)
	switch {
	case err == nil:
		f.Status, f.Detail, f.Dimensions = syncd.StatusOK, fmt.Sprintf("its vectors have %d numbers", size), size
	case status.Code(err) == codes.NotFound && s.conf.Create.Enabled:
		f.Status, f.Detail = syncd.StatusOK, "it does not exist, and a run makes it"
	case status.Code(err) == codes.NotFound:
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, "it does not exist", "create it, or set sink.qdrant.create.enabled: true"
	default:
		f.Status, f.Detail, f.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
	}
	if s.conf.Alias == "" {
		return []syncd.Finding{f}
	}
	a := syncd.Finding{Subject: "alias " + s.conf.Alias, Status: syncd.StatusOK}
	switch target, err := s.checkAlias(ctx); {
	case err != nil:
		a.Status, a.Detail, a.Hint = syncd.StatusFailed, err.Error(), syncd.HintOf(err)
	case target == s.conf.Collection:
		a.Detail = "it stands for the collection " + target
	case target == "":
		a.Detail = "it does not exist, and is made when the collection is complete"
	default:
		a.Detail = "it stands for the collection " + target + " until " + s.conf.Collection + " is complete"
	}
	return []syncd.Finding{f, a}
}
