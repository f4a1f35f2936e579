package mapping

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/syncd-io/syncd"
)

// watch sets what the rule looks at beside presence.
func (r *Rule) watch(v *Version, c *Chunks, model *Model) {
	r.version, r.chunks = v, c
	if v != nil {
		r.fields = slices.Clone(r.fields)
		for _, f := range v.Field {
			at := slices.Index(r.fields, f)
			if at < 0 {
				at = len(r.fields)
				r.fields = append(r.fields, f)
			}
			r.versionAt = append(r.versionAt, at)
		}
		r.payload = append(r.payload, v.Payload)
	}
	if model != nil {
		r.model, r.modelAt = model, len(r.payload)
		r.payload = append(r.payload, model.Payload)
	}
	if c != nil {
		r.chunkCount = slices.Index(r.payload, c.Payload)
		if r.chunkCount < 0 {
			r.chunkCount = len(r.payload)
			r.payload = append(r.payload, c.Payload)
		}
	}
}

// Model says which model the vectors of documents are to be of. A point that names another one is stale; one that names none is taken
// to be of the right one.
type Model struct {
	Payload string // the payload key that holds the model
	Name    string
}

// TellsChunks reports whether each chunk of a document has a point id of its own.
func (r *Rule) TellsChunks() bool { return r.seed.hasChunk() }

// PayloadKeys lists the payload keys that Judge needs of a point; none when it matters only whether the point is there.
func (r *Rule) PayloadKeys() []string { return r.payload }

// AllPayloadKeys lists every payload key that the mapping names, each once.
func (r *Rule) AllPayloadKeys() (keys []string) {
	for _, key := range slices.Concat([]string{r.Payload.ContentType, r.Payload.ID, r.Payload.ChunkIndex, r.ownership.key}, r.payload) {
		if key != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// DocumentVersion returns the version of a record: the first of the version's fields that is set. It is unset where the rule
// has no version or the record lacks it.
func (r *Rule) DocumentVersion(rec *syncd.Change) syncd.Value {
	for _, at := range r.versionAt {
		if at < len(rec.Fields) && rec.Fields[at].Set {
			return rec.Fields[at]
		}
	}
	return syncd.Value{}
}

// ChangedAt returns when the record was last changed, where its version is a date.
func (r *Rule) ChangedAt(rec *syncd.Change) (time.Time, bool) {
	return Instant(r.DocumentVersion(rec))
}

// VersionKey is the payload key that holds a point's version, or "".
func (r *Rule) VersionKey() string {
	if r.version == nil {
		return ""
	}
	return r.version.Payload
}

// Instant reads a version as a point in time, where it is one.
func Instant(v syncd.Value) (time.Time, bool) {
	if !v.Set {
		return time.Time{}, false
	}
	s, ok := form(v.Text).(scalar)
	if !ok {
		return time.Time{}, false
	}
	m, ok := s.moment()
	if !ok {
		n, is := parseNumber(s.text)
		if u := n.unit(); is && u != noUnit {
			m, ok = n.in(u)
		}
	}
	return time.UnixMilli(m.ms), ok
}

// maxChunks bounds what a chunk count may ask for: a number that the indexer got wrong must not become a million questions.
const maxChunks = 10_000

// Judge says what the index's answer about chunk 0 means for a record: Missing, Stale, Partial, or Present. It is Partial only where
// the number of its chunks can't be read, so that nothing says that they are there; where none is given, none is looked for. With
// Present, chunks is the number of further chunks that must be there for the document to be complete, whose ids PointID makes
// with 1, 2, …; if one of them is not there, the document is Partial.
func (r *Rule) Judge(rec *syncd.Change, found *syncd.Found) (verdict syncd.Verdict, chunks int) {
	if !found.Present {
		return syncd.Missing, 0
	}
	if r.version != nil && len(found.Payload) > 0 && r.version.Policy.stale(r.DocumentVersion(rec), found.Payload[0]) {
		return syncd.Stale, 0
	}
	if r.OtherModel(found) {
		return syncd.Stale, 0
	}
	if r.chunks != nil && r.chunkCount < len(found.Payload) && found.Payload[r.chunkCount].Set {
		n, ok := parseChunks(found.Payload[r.chunkCount].Text)
		if !ok {
			return syncd.Partial, 0
		}
		return syncd.Present, max(min(n, maxChunks)-1, 0)
	}
	return syncd.Present, 0
}

// OtherModel reports whether the index's answer about chunk 0 names another model than the rule's, which makes the document stale.
func (r *Rule) OtherModel(found *syncd.Found) bool {
	return r.model != nil && r.modelAt < len(found.Payload) && found.Payload[r.modelAt].Set && found.Payload[r.modelAt].Text != r.model.Name
}

// End is the number of the chunk that must not be there, where Judge has found a document present with so many further chunks: the job
// writes the index itself and leaves no chunk of an older version behind, and a process that was killed before it had deleted those left
// the first of them. It is 0 where nothing follows from such a chunk.
func (r *Rule) End(found *syncd.Found, chunks int) int {
	if !r.cleaned || chunks+1 >= maxChunks || r.chunkCount >= len(found.Payload) || !found.Payload[r.chunkCount].Set {
		return 0
	}
	return chunks + 1
}

// parseChunks reads a number of chunks: a whole number from 0, however it is written in decimal, such as 3, "3" and 3.0. Above a
// billion it is none.
func parseChunks(text string) (n int, ok bool) {
	const most = 1e9
	if n, err := strconv.Atoi(text); err == nil {
		return n, n >= 0 && n <= most
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789.eE+-", r) }) {
		return 0, false // what else ParseFloat reads is no decimal number
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f != math.Trunc(f) || f < 0 || f > most {
		return 0, false
	}
	return int(f), true
}

// IsChunks reports whether what the index holds can be read as a number of chunks.
func IsChunks(v syncd.Value) bool {
	_, ok := parseChunks(v.Text)
	return ok
}

// ChunksKey is the payload key that holds the number of a document's chunks, or "".
func (r *Rule) ChunksKey() string {
	if r.chunks == nil {
		return ""
	}
	return r.chunks.Payload
}
