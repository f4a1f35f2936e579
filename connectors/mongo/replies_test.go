package mongo

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd"
)

// A server is asked for as many documents as make an answer of a size, and for few where their size is not known.
func TestReplies(t *testing.T) {
	type reply struct{ documents, bytes int }
	for name, c := range map[string]struct {
		set     int // source.mongo.batch_size
		whole   bool
		fields  int
		replies []reply
		want    []int // asked for, first and after each reply
	}{
		"ids":                          {replies: []reply{{10000, 300_000}}, want: []int{10000, 10000}},
		"ids, as few as are wanted":    {set: 50, replies: []reply{{50, 1500}}, want: []int{50, 50}},
		"fields":                       {fields: 1, replies: []reply{{1000, 50_000}, {8000, 400_000}}, want: []int{1000, 8000, 10000}},
		"large fields":                 {fields: 1, replies: []reply{{1000, 10 << 20}}, want: []int{1000, 200}},
		"2 kB":                         {whole: true, replies: []reply{{200, 400_000}}, want: []int{200, 1000}},
		"500 B":                        {whole: true, replies: []reply{{200, 100_000}, {1000, 500_000}}, want: []int{200, 1000, 1000}},
		"100 kB":                       {whole: true, replies: []reply{{160, 16_000_000}}, want: []int{200, 20}},
		"10 MB, of which one comes":    {whole: true, replies: []reply{{1, 10_000_000}}, want: []int{200, 1}},
		"large ones, then small ones":  {whole: true, replies: []reply{{1, 10_000_000}, {1, 1000}, {8, 8000}}, want: []int{200, 1, 8, 64}},
		"small ones, then large ones":  {whole: true, replies: []reply{{100, 100_000}, {128, 16 << 20}}, want: []int{200, 1000, 16}},
		"an answer without documents":  {whole: true, replies: []reply{{0, 0}}, want: []int{200, 200}},
		"documents, as few as wanted":  {set: 3, whole: true, replies: []reply{{3, 300}}, want: []int{3, 3}},
		"documents, fewer than wanted": {set: 100_000, whole: true, replies: []reply{{160, 16_000_000}}, want: []int{200, 20}},
	} {
		s := &source{cfg: Config{BatchSize: c.set}, replyBytes: replyBytes}
		r := s.replies("c", c.whole, c.fields)
		got := []int{r.next}
		for _, reply := range c.replies {
			got = append(got, r.got(reply.documents, reply.bytes))
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Reading and fetching both learn how large documents are, and each begins where the other left off.
func TestSizesAreRemembered(t *testing.T) {
	server := newStub(t)
	var docs []any
	for i := range 400 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "pad", Value: string(make([]byte, 500))}})
	}
	server.set(t, "c", docs...)
	src, _ := openWith(t, server, func(c *Config) { c.BatchSize = 0 })
	src.replyBytes = 10_000
	keys, err := readKeys(t.Context(), src, syncd.ReadRequest{})
	if err != nil {
		t.Fatal(err)
	}
	asked := func() (sizes []int64) {
		for _, name := range []string{"find", "getMore"} {
			for _, cmd := range server.sent(name) {
				if size, err := cmd.LookupErr("batchSize"); err == nil {
					sizes = append(sizes, size.AsInt64())
				}
			}
		}
		return sizes
	}
	fetch := func() {
		for _, err := range src.Fetch(t.Context(), syncd.Collection{Name: "c"}, keys[:250]) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	fetch()
	// ids; a fetch that knows nothing; what it asks for then, twice and a rest
	if got := fmt.Sprint(asked()); got != "[10000 200 19 19 19]" {
		t.Errorf("a read of ids and a fetch asked for %s", got)
	}
	fetch()
	unknown := 0
	if _, err := readKeys(t.Context(), src, syncd.ReadRequest{Documents: true}); err != nil {
		t.Fatal(err)
	}
	for _, size := range asked()[1:] { // those of documents
		if size != firstAtOnce && size != 19 {
			t.Errorf("%d documents were asked for, want 19 from the second answer on", size)
		}
		unknown += int(size / firstAtOnce)
	}
	if unknown != 1 {
		t.Errorf("%d questions knew no size, want the first", unknown)
	}
}
