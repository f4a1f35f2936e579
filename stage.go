package syncd

import (
	"context"
	"io"

	"github.com/google/uuid"
)

// Stage works on changes between their fetch and the sink: it divides documents into chunks, embeds texts, completes what others made.
// Apply is safe for concurrent use; Close is called once, after every other call has returned.
type Stage interface {
	// Apply completes changes, as far as it is able to: it sets Content, or replaces Document. It sets Err of a change for that document's
	// own fault, and leaves changes alone that have no Document, such as deletes, or that have Err. It neither drops nor moves changes.
	// An error means that nothing is known about any of them; one that wraps ErrUnavailable may pass. It retries what is worth retrying
	// itself, until ctx ends or its own limits are reached. The slice belongs to the caller again after the return; what the stage has put
	// into Content is the change's.
	Apply(ctx context.Context, changes []Change) error

	// Abilities says what the stage does. It returns the same for as long as the stage is open.
	Abilities() StageAbilities

	io.Closer
}

// StageAbilities is what a stage does. A decorator passes on all of it.
type StageAbilities struct {
	// Fingerprint changes when the stage would make something else of the same document. It goes into the hash of each chunk.
	Fingerprint string
	// Vectors is there where the stage fills Chunk.Vector. It leaves chunks alone that are Kept or have no text.
	Vectors *Vectors
	// Tokens is how the stage counts the tokens of texts; nil where it has no way to.
	Tokens *Tokens
	// Probe looks whether a run would find what it needs; see [Probe].
	Probe Probe
}

// Vectors is what a stage can do that embeds texts. All functions are there, and are safe for concurrent use.
type Vectors struct {
	Model string // that an index keeps beside each vector
	// Dimensions tells how many numbers a vector has. It may ask for one, the first time.
	Dimensions func(ctx context.Context) (int, error)
	// Embed embeds a question.
	Embed func(ctx context.Context, text string) ([]float32, error)
	// Usage tells what was embedded since the stage was opened, also when it is closed.
	Usage func() Usage
	// Price is what a million tokens cost, in US dollars; 0 is not known.
	Price float64
	// Prefix stands before each text of a document where it is embedded.
	Prefix string
}

// Tokens is how the tokens of texts are counted.
type Tokens struct {
	By       string                // the tokenizer, or how it is estimated, in words
	Estimate bool                  // it is no tokenizer
	Count    func(text string) int // is safe for concurrent use
}

// Usage is what an embedding service was asked for.
type Usage struct {
	Requests int64
	Texts    int64
	Tokens   int64 // as the service counts them, else as they were estimated
}

// VectorMaker is implemented by the config type of a stage with the ability Vectors. It must not connect.
type VectorMaker interface {
	VectorModel() string
}

// Chunker is implemented by the config type of a stage that divides documents into chunks. It must not connect.
type Chunker interface {
	DividesIntoChunks()
}

// Content is what an index is to hold of a document.
type Content struct {
	// A stage sets these.

	Title  string  // of the document
	Prefix string  // stands before the text of each chunk where that is embedded
	Chunks []Chunk // at least one; the first stands for the document. A document without text has one without text

	// The engine sets these.

	Model string // that the vectors are of
	// Held is how many chunks the index held of the document, as far as it says so: chunk 0 is not counted unless it is there.
	Held int
	// Further are points that the engine asks about beside those of the chunks. The ability Held leaves those of them that are there.
	Further []uuid.UUID
	// Left are the points of the further chunks that the index holds, which the document no longer has.
	Left []uuid.UUID
	// Point makes the id of a chunk's point, also of a chunk that the document does not have, for a sink that finds out in its own
	// transaction how many the index holds by then. It is not to be called after Write.
	Point func(chunk int) (uuid.UUID, error)
}

// Chunk is a part of a document's text.
type Chunk struct {
	Text   string
	Tokens int // an estimate until it is embedded
	Vector []float32

	// The engine sets these.

	PointID uuid.UUID
	Hash    string // of the text and of all that its vector follows from
	Kept    bool   // the index holds this chunk with this hash: its vector is right
}

// Size is about how many bytes the content takes.
func (c *Content) Size() (n int) {
	if c == nil {
		return 0
	}
	n = len(c.Title) + len(c.Prefix) + len(c.Left)*16
	for i := range c.Chunks {
		n += chunkBytes + len(c.Chunks[i].Text) + 4*len(c.Chunks[i].Vector)
	}
	return n
}

// chunkBytes is about what a Chunk takes beside its text and its vector.
const chunkBytes = 160
