package qdrantserver

import (
	"math"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// vectorSpec is what a collection declares about one vector name.
type vectorSpec struct {
	size   int // 0 for sparse vectors, which have no dimension
	cosine bool
	sparse bool
}

func vectorSpecs(dense *qdrant.VectorsConfig, sparse *qdrant.SparseVectorConfig) (map[string]vectorSpec, error) {
	specs := map[string]vectorSpec{}
	add := func(name, field string, params *qdrant.VectorParams) error {
		if params.GetSize() < 1 || params.GetSize() > 65536 {
			return validationError(field+".size", rangeProblem(params.GetSize(), 1, 65536))
		}
		if params.GetDistance() == qdrant.Distance_UnknownDistance {
			return invalidArgument("Malformed distance parameter: UnknownDistance")
		}
		specs[name] = vectorSpec{size: int(params.GetSize()), cosine: params.GetDistance() == qdrant.Distance_Cosine}
		return nil
	}
	switch config := dense.GetConfig().(type) {
	case *qdrant.VectorsConfig_Params:
		if err := add("", "vectors_config.config.params", config.Params); err != nil {
			return nil, err
		}
	case *qdrant.VectorsConfig_ParamsMap:
		for name, params := range config.ParamsMap.GetMap() {
			if err := add(name, "vectors_config.config.params_map."+name, params); err != nil {
				return nil, err
			}
		}
	}
	for name := range sparse.GetMap() {
		specs[name] = vectorSpec{sparse: true}
	}
	return specs, nil
}

// parseVectors converts a point's vectors into the form in which they are stored and returned. Inference, which
// would make a vector of a text, is not imitated.
func parseVectors(pb *qdrant.Vectors) (map[string]*qdrant.VectorOutput, error) {
	switch option := pb.GetVectorsOptions().(type) {
	case *qdrant.Vectors_Vector:
		vector, err := parseVector(option.Vector)
		if err != nil {
			return nil, err
		}
		if vector.GetSparse() != nil {
			return nil, invalidArgument("Sparse vector must be named")
		}
		return map[string]*qdrant.VectorOutput{"": vector}, nil
	case *qdrant.Vectors_Vectors:
		vectors := make(map[string]*qdrant.VectorOutput, len(option.Vectors.GetVectors()))
		for name, pb := range option.Vectors.GetVectors() {
			vector, err := parseVector(pb)
			if err != nil {
				return nil, err
			}
			vectors[name] = vector
		}
		return vectors, nil
	default:
		return nil, invalidArgument("No Vector Provided")
	}
}

func parseVector(pb *qdrant.Vector) (*qdrant.VectorOutput, error) {
	switch vector := pb.GetVector().(type) {
	case *qdrant.Vector_Dense:
		return denseVector(vector.Dense.GetData()), nil
	case *qdrant.Vector_Sparse:
		return sparseVector(vector.Sparse.GetIndices(), vector.Sparse.GetValues()), nil
	case *qdrant.Vector_MultiDense:
		return multiVector(vector.MultiDense.GetVectors()), nil
	case nil:
		return parseFlatVector(pb)
	default:
		return nil, status.Error(codes.Unimplemented, "inference is not imitated")
	}
}

// parseFlatVector reads the deprecated fields, which older clients still fill.
func parseFlatVector(pb *qdrant.Vector) (*qdrant.VectorOutput, error) {
	data := pb.GetData()
	switch {
	case pb.GetIndices() != nil:
		return sparseVector(pb.GetIndices().GetData(), data), nil
	case pb.VectorsCount != nil:
		count := int(pb.GetVectorsCount())
		if count == 0 || len(data)%count != 0 {
			return nil, invalidArgument("Unable to convert to multi-dense vector: %d values for %d vectors", len(data), count)
		}
		size := len(data) / count
		rows := make([]*qdrant.DenseVector, count)
		for i := range rows {
			rows[i] = &qdrant.DenseVector{Data: data[i*size : (i+1)*size]}
		}
		return multiVector(rows), nil
	default:
		return denseVector(data), nil
	}
}

func denseVector(data []float32) *qdrant.VectorOutput {
	return &qdrant.VectorOutput{Vector: &qdrant.VectorOutput_Dense{Dense: &qdrant.DenseVector{Data: data}}}
}

func sparseVector(indices []uint32, values []float32) *qdrant.VectorOutput {
	return &qdrant.VectorOutput{Vector: &qdrant.VectorOutput_Sparse{
		Sparse: &qdrant.SparseVector{Indices: indices, Values: values},
	}}
}

func multiVector(rows []*qdrant.DenseVector) *qdrant.VectorOutput {
	return &qdrant.VectorOutput{Vector: &qdrant.VectorOutput_MultiDense{
		MultiDense: &qdrant.MultiDenseVector{Vectors: rows},
	}}
}

// denseRows are the dense vectors within a vector; a sparse one has none.
func denseRows(vector *qdrant.VectorOutput) []*qdrant.DenseVector {
	if dense := vector.GetDense(); dense != nil {
		return []*qdrant.DenseVector{dense}
	}
	return vector.GetMultiDense().GetVectors()
}

// checkDimensions is done before an update is logged, so its error reaches callers with wait=false too. Unknown
// names are no dimension error; they fail only when the update is applied.
func (c *collection) checkDimensions(vectors map[string]*qdrant.VectorOutput) error {
	for name, vector := range vectors {
		spec, known := c.vectors[name]
		if !known || spec.sparse {
			continue
		}
		for _, row := range denseRows(vector) {
			if len(row.GetData()) == spec.size {
				continue
			}
			suffix := ""
			if name != "" {
				suffix = " for vector '" + name + "'"
			}
			return wrongInput("Vector dimension error: expected dim: %d, got %d%s", spec.size, len(row.GetData()), suffix)
		}
	}
	return nil
}

// storeVectors checks names and kinds and normalises vectors that are compared by cosine: what Qdrant returns is
// the normalised vector, not the one that was sent.
func (c *collection) storeVectors(vectors map[string]*qdrant.VectorOutput) error {
	for name, vector := range vectors {
		spec, known := c.vectors[name]
		if !known {
			return wrongInput("Not existing vector name error: %s", name)
		}
		if spec.sparse != (vector.GetSparse() != nil) {
			return wrongInput("Conversion between sparse and regular vectors failed")
		}
		if !spec.cosine {
			continue
		}
		for _, row := range denseRows(vector) {
			normalise(row.GetData())
		}
	}
	return nil
}

func normalise(data []float32) {
	var sum float32
	for _, x := range data {
		sum += x * x
	}
	if sum == 0 || math.Abs(float64(sum)-1) <= 1e-6 {
		return
	}
	length := float32(math.Sqrt(float64(sum)))
	for i := range data {
		data[i] /= length
	}
}

// vectorSelector says which vectors a read returns.
type vectorSelector struct {
	all   bool
	names []string // nil: none
}

func parseVectorSelector(pb *qdrant.WithVectorsSelector) vectorSelector {
	switch option := pb.GetSelectorOptions().(type) {
	case *qdrant.WithVectorsSelector_Enable:
		return vectorSelector{all: option.Enable}
	case *qdrant.WithVectorsSelector_Include:
		return vectorSelector{names: option.Include.GetNames()}
	default:
		return vectorSelector{}
	}
}

func (s vectorSelector) none() bool { return !s.all && s.names == nil }

func (s vectorSelector) apply(stored map[string]*qdrant.VectorOutput) *qdrant.VectorsOutput {
	if s.none() {
		return nil
	}
	selected := stored
	if !s.all {
		selected = map[string]*qdrant.VectorOutput{}
		for _, name := range s.names {
			if vector := stored[name]; vector != nil {
				selected[name] = vector
			}
		}
	}
	if unnamed := selected[""]; unnamed != nil && len(selected) == 1 {
		return &qdrant.VectorsOutput{VectorsOptions: &qdrant.VectorsOutput_Vector{Vector: unnamed}}
	}
	return &qdrant.VectorsOutput{VectorsOptions: &qdrant.VectorsOutput_Vectors{
		Vectors: &qdrant.NamedVectorsOutput{Vectors: selected},
	}}
}
