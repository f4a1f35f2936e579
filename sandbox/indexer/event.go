package indexer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// docKey names a document in the index.
type docKey struct{ id, contentType string }

// event is a change of a document.
type event struct {
	key       docKey
	operation string
	title     string
	text      string
	updatedAt any // a string, an int64, a float64 or nil
}

// wire is the shape of an event: that of MongoDB's change streams, with plain values.
type wire struct {
	OperationType string `json:"operationType"`
	NS            struct {
		Coll string `json:"coll"`
	} `json:"ns"`
	DocumentKey struct {
		ID json.RawMessage `json:"_id"`
	} `json:"documentKey"`
	FullDocument map[string]json.RawMessage `json:"fullDocument"`
}

// parse reads a record. A record without a value, a tombstone, deletes the document
// that its key names.
func parse(r *kgo.Record, contentTypes map[string]string) (event, error) {
	var w wire
	if len(r.Value) == 0 {
		w.OperationType = "delete"
		if w.DocumentKey.ID = keyID(r.Key); len(w.DocumentKey.ID) == 0 {
			return event{}, errors.New("reading a tombstone: it has no key")
		}
	} else if err := json.Unmarshal(r.Value, &w); err != nil {
		return event{}, fmt.Errorf("reading the value: %w", err)
	}
	id, err := idText(w.DocumentKey.ID)
	if err != nil {
		return event{}, fmt.Errorf("reading documentKey._id: %w", err)
	}
	e := event{operation: w.OperationType, key: docKey{id: id, contentType: contentType(r, w.NS.Coll, contentTypes)}}
	if e.key.contentType == "" {
		return event{}, errors.New("finding the content type: neither a header nor ns.coll")
	}
	switch e.operation {
	case "delete":
		return e, nil
	case "insert", "replace", "update":
	default:
		return event{}, fmt.Errorf("reading operationType: %q is none of insert, replace, update and delete", e.operation)
	}
	if w.FullDocument == nil {
		return event{}, errors.New("reading fullDocument: it is missing")
	}
	e.title = strings.Join(texts(w.FullDocument["title"]), " ")
	if e.title == "" {
		e.title = strings.Join(texts(w.FullDocument["name"]), " ")
	}
	var parts []string
	for _, field := range []string{"story", "description", "content", "text", "goals", "acceptanceCriteria"} {
		if t := texts(w.FullDocument[field]); len(t) > 0 {
			parts = append(parts, strings.Join(t, "\n"))
		}
	}
	e.text = strings.Join(parts, "\n\n")
	e.updatedAt = moment(w.FullDocument["updatedAt"])
	return e, nil
}

// keyID returns the id that a record's key names: {"_id": …}, {"documentKey": {"_id": …}},
// or the plain id text.
func keyID(key []byte) json.RawMessage {
	var k struct {
		ID          json.RawMessage `json:"_id"`
		DocumentKey struct {
			ID json.RawMessage `json:"_id"`
		} `json:"documentKey"`
	}
	if bytes.HasPrefix(key, []byte("{")) && json.Unmarshal(key, &k) == nil {
		if len(k.ID) > 0 {
			return k.ID
		}
		return k.DocumentKey.ID
	}
	if len(key) == 0 {
		return nil
	}
	text, err := json.Marshal(string(key))
	if err != nil {
		return nil
	}
	return text
}

// idText returns the text of an id: plain text is the rule, {"$oid": …} is what MongoDB's
// own connector sends.
func idText(raw json.RawMessage) (string, error) {
	var text string
	var number json.Number
	var oid struct {
		OID string `json:"$oid"`
	}
	switch {
	case len(raw) == 0:
		return "", errors.New("it is missing")
	case raw[0] == '"' && json.Unmarshal(raw, &text) == nil:
		return text, nil
	case json.Unmarshal(raw, &number) == nil && number != "":
		return number.String(), nil
	case json.Unmarshal(raw, &oid) == nil && oid.OID != "":
		return oid.OID, nil
	}
	return "", fmt.Errorf("%s is no id", raw)
}

// contentType returns what the header says, else the mapping of the collection, whose name
// is the last part of the topic where the event doesn't say it.
func contentType(r *kgo.Record, coll string, contentTypes map[string]string) string {
	for _, h := range r.Headers {
		if h.Key == "syncd-content-type" && len(h.Value) > 0 {
			return string(h.Value)
		}
	}
	if coll == "" {
		coll = r.Topic[strings.LastIndex(r.Topic, ".")+1:]
	}
	if ct, ok := contentTypes[coll]; ok {
		return ct
	}
	return coll
}

// texts returns the strings of a field that is a string or an array.
func texts(raw json.RawMessage) []string {
	var one string
	if len(raw) == 0 {
		return nil
	}
	if json.Unmarshal(raw, &one) == nil {
		if strings.TrimSpace(one) == "" {
			return nil
		}
		return []string{one}
	}
	var many []json.RawMessage
	var out []string
	if json.Unmarshal(raw, &many) == nil {
		for _, r := range many {
			if json.Unmarshal(r, &one) == nil && one != "" {
				out = append(out, one)
			}
		}
	}
	return out
}

// moment returns a date as the event has it, without MongoDB's {"$date": …} around it.
func moment(raw json.RawMessage) any {
	var text string
	var number json.Number
	var date struct {
		Date json.RawMessage `json:"$date"`
	}
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &text) == nil:
		return text
	case json.Unmarshal(raw, &number) == nil:
		if n, err := number.Int64(); err == nil {
			return n
		}
		f, err := number.Float64()
		if err != nil {
			return nil
		}
		return f
	case json.Unmarshal(raw, &date) == nil:
		return moment(date.Date)
	}
	return nil
}
