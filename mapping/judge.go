package mapping

import (
	"slices"
	"strconv"
	"time"

	"github.com/syncd-io/syncd"
)

// watch sets what the rule looks at beside presence.
func (r *Rule) watch(v *Version, c *Chunks) {
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
	if c != nil {
		r.chunkCount = slices.Index(r.payload, c.Payload)
		if r.chunkCount < 0 {
			r.chunkCount = len(r.payload)
			r.payload = append(r.payload, c.Payload)
		}
	}
}

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

// Judge says what the index's answer about chunk 0 means for a record: Missing, Stale, or Present. chunks is the number of
// further chunks that must be there for the document to be complete, whose ids PointID makes with 1, 2, …; if one of them
// is not there, the document is Partial.
func (r *Rule) Judge(rec *syncd.Change, found *syncd.Found) (verdict syncd.Verdict, chunks int) {
	if !found.Present {
		return syncd.Missing, 0
	}
	if r.version != nil && len(found.Payload) > 0 && r.version.Policy.stale(r.DocumentVersion(rec), found.Payload[0]) {
		return syncd.Stale, 0
	}
	if r.chunks != nil && r.chunkCount < len(found.Payload) && found.Payload[r.chunkCount].Set {
		n, err := strconv.Atoi(found.Payload[r.chunkCount].Text)
		if err == nil && n > 1 {
			return syncd.Present, min(n, maxChunks) - 1
		}
	}
	return syncd.Present, 0
}
