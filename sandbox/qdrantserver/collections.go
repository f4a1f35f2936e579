package qdrantserver

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/protobuf/proto"
)

// collectionsService is Qdrant's Collections service, without clusters and shard keys.
type collectionsService struct {
	qdrant.UnimplementedCollectionsServer
	s *Server
}

func (cs collectionsService) Create(ctx context.Context, req *qdrant.CreateCollection) (*qdrant.CollectionOperationResponse, error) {
	started := time.Now()
	name := req.GetCollectionName()
	if err := validateNewName(name); err != nil {
		return nil, err
	}
	vectors, err := vectorSpecs(req.GetVectorsConfig(), req.GetSparseVectorsConfig())
	if err != nil {
		return nil, err
	}
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	s := cs.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.collections[name]; exists {
		return nil, alreadyExists(name)
	}
	if _, taken := s.aliases[name]; taken {
		return nil, wrongInput("Can't create collection with name %s. Alias with the same name already exists", name)
	}
	config := collectionConfig(req)
	if !s.metadata {
		config.Metadata = nil
	}
	s.collections[name] = newCollection(name, config, vectors, s)
	return operationResponse(true, started), nil
}

// collectionConfig is the configuration that Get reports: Qdrant's defaults with what the request sets.
func collectionConfig(req *qdrant.CreateCollection) *qdrant.CollectionConfig {
	config := &qdrant.CollectionConfig{
		Params: &qdrant.CollectionParams{
			ShardNumber:            max(1, req.GetShardNumber()),
			OnDiskPayload:          true,
			VectorsConfig:          req.GetVectorsConfig(),
			ReplicationFactor:      qdrant.PtrOf(max(1, req.GetReplicationFactor())),
			WriteConsistencyFactor: qdrant.PtrOf(max(1, req.GetWriteConsistencyFactor())),
			ShardingMethod:         req.ShardingMethod,
			SparseVectorsConfig:    req.GetSparseVectorsConfig(),
			Payload:                req.GetPayload(),
		},
		HnswConfig: &qdrant.HnswConfigDiff{
			M:                  qdrant.PtrOf(uint64(16)),
			EfConstruct:        qdrant.PtrOf(uint64(100)),
			FullScanThreshold:  qdrant.PtrOf(uint64(10000)),
			MaxIndexingThreads: qdrant.PtrOf(uint64(0)),
			OnDisk:             qdrant.PtrOf(false),
		},
		OptimizerConfig: &qdrant.OptimizersConfigDiff{
			DeletedThreshold:      qdrant.PtrOf(0.2),
			VacuumMinVectorNumber: qdrant.PtrOf(uint64(1000)),
			DefaultSegmentNumber:  qdrant.PtrOf(uint64(0)),
			IndexingThreshold:     qdrant.PtrOf(uint64(10000)),
			FlushIntervalSec:      qdrant.PtrOf(uint64(5)),
		},
		WalConfig: &qdrant.WalConfigDiff{
			WalCapacityMb:    qdrant.PtrOf(uint64(32)),
			WalSegmentsAhead: qdrant.PtrOf(uint64(0)),
		},
		QuantizationConfig: req.GetQuantizationConfig(),
		StrictModeConfig:   req.GetStrictModeConfig(),
		Metadata:           req.GetMetadata(),
	}
	if req.OnDiskPayload != nil {
		config.Params.OnDiskPayload = req.GetOnDiskPayload()
	}
	mergeConfig(config.HnswConfig, req.GetHnswConfig())
	mergeConfig(config.OptimizerConfig, req.GetOptimizersConfig())
	mergeConfig(config.WalConfig, req.GetWalConfig())
	return config
}

// mergeConfig sets what the diff sets; all fields of these messages are optional.
func mergeConfig[M interface {
	comparable
	proto.Message
}](config, diff M) {
	var unset M
	if diff != unset {
		proto.Merge(config, diff)
	}
}

func (cs collectionsService) Get(_ context.Context, req *qdrant.GetCollectionInfoRequest) (*qdrant.GetCollectionInfoResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	c, err := cs.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	return &qdrant.GetCollectionInfoResponse{Result: c.info(), Time: time.Since(started).Seconds()}, nil
}

func (c *collection) info() *qdrant.CollectionInfo {
	defer c.rlock()()
	schema := make(map[string]*qdrant.PayloadSchemaInfo, len(c.fields))
	for key, index := range c.fields {
		schema[key] = index.info(c.points)
	}
	return &qdrant.CollectionInfo{
		Status:          qdrant.CollectionStatus_Green,
		OptimizerStatus: &qdrant.OptimizerStatus{Ok: true},
		SegmentsCount:   1,
		// The answer is marshalled when the lock is gone, and Update changes the configuration in place.
		Config:              proto.Clone(c.config).(*qdrant.CollectionConfig),
		PayloadSchema:       schema,
		PointsCount:         qdrant.PtrOf(uint64(len(c.points))),
		IndexedVectorsCount: qdrant.PtrOf(uint64(0)),
		UpdateQueue:         &qdrant.UpdateQueueInfo{Length: uint64(len(c.queue))},
	}
}

func (cs collectionsService) List(context.Context, *qdrant.ListCollectionsRequest) (*qdrant.ListCollectionsResponse, error) {
	started := time.Now()
	s := cs.s
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.collections))
	for name := range s.collections {
		names = append(names, name)
	}
	slices.Sort(names)
	resp := &qdrant.ListCollectionsResponse{Time: time.Since(started).Seconds()}
	for _, name := range names {
		resp.Collections = append(resp.Collections, &qdrant.CollectionDescription{Name: name})
	}
	return resp, nil
}

func (cs collectionsService) CollectionExists(_ context.Context, req *qdrant.CollectionExistsRequest) (*qdrant.CollectionExistsResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	_, err := cs.s.lookup(req.GetCollectionName())
	return &qdrant.CollectionExistsResponse{
		Result: &qdrant.CollectionExists{Exists: err == nil},
		Time:   time.Since(started).Seconds(),
	}, nil
}

// Update changes what a running collection lets change and this server shows: strict mode and the configurations
// that Get reports.
func (cs collectionsService) Update(ctx context.Context, req *qdrant.UpdateCollection) (*qdrant.CollectionOperationResponse, error) {
	started := time.Now()
	if err := validateName(req.GetCollectionName()); err != nil {
		return nil, err
	}
	if err := validateAtLeastOne("timeout", req.Timeout); err != nil {
		return nil, err
	}
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	c, err := cs.s.lookup(req.GetCollectionName())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	mergeConfig(c.config.HnswConfig, req.GetHnswConfig())
	mergeConfig(c.config.OptimizerConfig, req.GetOptimizersConfig())
	if len(req.GetMetadata()) > 0 && cs.s.metadata { // what was kept before stays
		if c.config.Metadata == nil {
			c.config.Metadata = map[string]*qdrant.Value{}
		}
		maps.Copy(c.config.Metadata, req.GetMetadata())
	}
	if strict := req.GetStrictModeConfig(); strict != nil {
		// Others may be reading the current one, so the merged one replaces it.
		merged := &qdrant.StrictModeConfig{}
		mergeConfig(merged, c.config.GetStrictModeConfig())
		mergeConfig(merged, strict)
		c.config.StrictModeConfig = merged
		c.limiter.configure(merged)
	}
	return operationResponse(true, started), nil
}

func (cs collectionsService) Delete(ctx context.Context, req *qdrant.DeleteCollection) (*qdrant.CollectionOperationResponse, error) {
	started := time.Now()
	name := req.GetCollectionName()
	if err := validateName(name); err != nil {
		return nil, err
	}
	if err := validateAtLeastOne("timeout", req.Timeout); err != nil {
		return nil, err
	}
	if err := requireWrite(ctx); err != nil {
		return nil, err
	}
	s := cs.s
	s.mu.Lock()
	defer s.mu.Unlock()
	_, existed := s.collections[name]
	delete(s.collections, name)
	for alias, target := range s.aliases {
		if target == name {
			delete(s.aliases, alias)
		}
	}
	return operationResponse(existed, started), nil
}

func operationResponse(changed bool, started time.Time) *qdrant.CollectionOperationResponse {
	return &qdrant.CollectionOperationResponse{Result: changed, Time: time.Since(started).Seconds()}
}
