package indexer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestParse(t *testing.T) {
	t.Parallel()
	types := map[string]string{"workItem": "work_item"}
	header := []kgo.RecordHeader{{Key: "syncd-run-id", Value: []byte("r")}, {Key: "syncd-content-type", Value: []byte("issue")}}
	const doc = `"ns":{"db":"ProjectManagement","coll":"workItem"},"documentKey":{"_id":"a"},"fullDocument":{"_id":"a"}`
	for name, tc := range map[string]struct {
		record kgo.Record
		want   event
		err    string
	}{
		"insert": {
			record: kgo.Record{Value: []byte(`{"operationType":"insert",` + doc + `}`)},
			want:   event{key: docKey{"a", "work_item"}, operation: "insert"},
		},
		"header wins": {
			record: kgo.Record{Headers: header, Value: []byte(`{"operationType":"replace",` + doc + `}`)},
			want:   event{key: docKey{"a", "issue"}, operation: "replace"},
		},
		"collection without mapping": {
			record: kgo.Record{Value: []byte(`{"operationType":"insert","ns":{"coll":"page"},"documentKey":{"_id":"a"},"fullDocument":{}}`)},
			want:   event{key: docKey{"a", "page"}, operation: "insert"},
		},
		"collection from the topic": {
			record: kgo.Record{Topic: "x.ProjectManagement.workItem", Value: []byte(`{"operationType":"insert","documentKey":{"_id":"a"},"fullDocument":{}}`)},
			want:   event{key: docKey{"a", "work_item"}, operation: "insert"},
		},
		"texts": {
			record: kgo.Record{Topic: "page", Value: []byte(`{"operationType":"update","documentKey":{"_id":7},"fullDocument":{
				"title":"T","name":"N","content":"C","description":" ","story":"S","acceptanceCriteria":["one",2,"","two"],
				"updatedAt":"2024-05-01T00:00:00.000Z"}}`)},
			want: event{key: docKey{"7", "page"}, operation: "update", title: "T", text: "S\n\nC\n\none\ntwo", updatedAt: "2024-05-01T00:00:00.000Z"},
		},
		"name for title": {
			record: kgo.Record{Topic: "page", Value: []byte(`{"operationType":"insert","documentKey":{"_id":{"$oid":"0a"}},"fullDocument":{"name":"N","updatedAt":{"$date":1700000000123}}}`)},
			want:   event{key: docKey{"0a", "page"}, operation: "insert", title: "N", updatedAt: int64(1700000000123)},
		},
		"fraction and null": {
			record: kgo.Record{Topic: "page", Value: []byte(`{"operationType":"insert","documentKey":{"_id":"a"},"fullDocument":{"title":null,"content":5,"updatedAt":1.5}}`)},
			want:   event{key: docKey{"a", "page"}, operation: "insert", updatedAt: 1.5},
		},
		"delete": {
			record: kgo.Record{Value: []byte(`{"operationType":"delete","ns":{"coll":"workItem"},"documentKey":{"_id":"a"}}`)},
			want:   event{key: docKey{"a", "work_item"}, operation: "delete"},
		},
		"tombstone, plain key": {
			record: kgo.Record{Topic: "db.workItem", Key: []byte("a")},
			want:   event{key: docKey{"a", "work_item"}, operation: "delete"},
		},
		"tombstone, _id": {
			record: kgo.Record{Topic: "db.workItem", Key: []byte(`{"_id": {"$oid": "0b"}}`)},
			want:   event{key: docKey{"0b", "work_item"}, operation: "delete"},
		},
		"tombstone, documentKey": {
			record: kgo.Record{Topic: "db.workItem", Key: []byte(`{"documentKey": {"_id": "c"}}`)},
			want:   event{key: docKey{"c", "work_item"}, operation: "delete"},
		},
		"no JSON":             {record: kgo.Record{Value: []byte("x")}, err: "reading the value"},
		"no id":               {record: kgo.Record{Value: []byte(`{"operationType":"insert"}`)}, err: "documentKey._id: it is missing"},
		"null id":             {record: kgo.Record{Value: []byte(`{"operationType":"insert","documentKey":{"_id":null}}`)}, err: "null is no id"},
		"odd operation":       {record: kgo.Record{Topic: "page", Value: []byte(`{"operationType":"drop","documentKey":{"_id":"a"}}`)}, err: `"drop" is none of`},
		"no document":         {record: kgo.Record{Topic: "page", Value: []byte(`{"operationType":"insert","documentKey":{"_id":"a"}}`)}, err: "fullDocument: it is missing"},
		"no collection":       {record: kgo.Record{Value: []byte(`{"operationType":"insert","documentKey":{"_id":"a"},"fullDocument":{}}`)}, err: "content type"},
		"tombstone, no key":   {record: kgo.Record{Topic: "page"}, err: "it has no key"},
		"tombstone, empty {}": {record: kgo.Record{Topic: "page", Key: []byte("{}")}, err: "it has no key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parse(&tc.record, types)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(event{}, docKey{})); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"operationType":"insert","ns":{"coll":"page"},"documentKey":{"_id":"a"},"fullDocument":{"title":"t"}}`), []byte("a"))
	f.Add([]byte(nil), []byte(`{"_id":{"$oid":"0b"}}`))
	f.Fuzz(func(t *testing.T, value, key []byte) {
		e, err := parse(&kgo.Record{Topic: "db.page", Key: key, Value: value}, nil)
		if err == nil && (e.key.id == "" || e.key.contentType == "" || e.operation == "") {
			t.Errorf("incomplete event %+v", e)
		}
	})
}
