package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	qdrantclient "github.com/qdrant/go-client/qdrant"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/integration/minilm"
)

// TestSearchByARealModel has some dozen texts embedded by a model that knows what words mean, and asks about them in other words.
func TestSearchByARealModel(t *testing.T) {
	model, err := minilm.Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	closeAfter(t, model.Close)
	logOnFailure(t, "the model", model.Log)
	isTheModel(t, model.URL())

	p := &place{name: "syncd_it_" + uuid.NewString()[:8], mongoURI: startSecantus(t), state: t.TempDir()}
	p.atQdrant(t)
	db := p.database(t)
	var docs []any
	for topic, texts := range topicTexts {
		for i, text := range texts {
			title, _, _ := strings.Cut(text, ".")
			docs = append(docs, bson.D{
				{Key: "_id", Value: fmt.Sprintf("%s-%d", topic, i)}, {Key: "title", Value: title}, {Key: "content", Value: text}, {Key: "updatedAt", Value: time.Now()},
			})
		}
	}
	// One has more words than the model reads at once; the chunk in which it speaks of otters is the last.
	long := strings.Repeat("The committee met again on Tuesday, approved the minutes of its former meeting, and adjourned without a decision. ", 40)
	docs = append(docs,
		bson.D{{Key: "_id", Value: "long"}, {Key: "title", Value: "Minutes"}, {Key: "content", Value: long + "An otter swam past the window."}, {Key: "updatedAt", Value: time.Now()}},
		bson.D{{Key: "_id", Value: "empty"}, {Key: "title", Value: "Nothing"}, {Key: "content", Value: "   "}, {Key: "updatedAt", Value: time.Now()}})
	if _, err := db.Collection("page").InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}

	config := func(collection, chunk string) string {
		file := filepath.Join(t.TempDir(), "syncd.yaml")
		text := fmt.Sprintf(`source:
  mongo: {uri: %q, database: %q}
checker:
  qdrant: {url: %[3]q, collection: %[4]q, api_key: %[5]q}
stages:
  chunk: {title: "{title}", text: "{content}", %[6]s}
  embed: {url: %[7]q, model: %[8]q, batch_size: 8}
sink:
  qdrant: {url: %[3]q, collection: %[4]q, api_key: %[5]q, create: {enabled: true}}
mapping:
  collections: {page: page}
run: {state_dir: %[9]q}
`, p.mongoURI, p.name, p.qdrantURL, collection, p.qdrantKey, chunk, model.URL(), minilm.Model, p.state)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	// Chunks as they fit this model: its words are mostly one token each, and the rest is room for those that are more.
	fits := config(p.name, fmt.Sprintf("tokenizer: words, size: %d, overlap: 20", minilm.Longest*3/4))
	invoke(t, "validate", "--connect", "-c", fits).wants(t, 0, `vectors of 384 numbers`)
	invoke(t, "run", "-c", fits).wants(t, 0, `^Complete: `)
	invoke(t, "validate", "--connect", "-c", fits).wants(t, 0, `its vectors have 384 numbers`)
	invoke(t, "verify", "-c", fits).wants(t, 0, `^Equal: `)
	invoke(t, "run", "-c", fits).wants(t, 0, `^Complete: nothing had to be sent`)

	for _, q := range []struct{ question, want string }{
		{"my pasta sticks together, what am I doing wrong", "cooking-0"},
		{"which planet has rings", "space-1"},
		{"I forgot my login credentials", "software-0"},
		{"how do I get my money back for something I bought", "money-1"},
		{"the dog is afraid of fireworks", "animals-2"},
		{"keep tomatoes from being eaten by slugs", "garden-1"},
		{"who painted the ceiling of the chapel in Rome", "art-0"},
		{"train for running 42 kilometres", "sport-0"},
		{"which animal swam past while the committee met", "long"},
	} {
		r := invoke(t, "search", "-c", fits, "--limit", "1", "-o", "json", q.question)
		r.wants(t, 0)
		var found []struct {
			ID            string
			Chunk, Chunks int
			Score         float64
		}
		if err := json.Unmarshal([]byte(r.output), &found); err != nil || len(found) != 1 {
			t.Fatalf("%v: %s", err, r.output)
		}
		if f := found[0]; f.ID != q.want || f.ID == "long" && (f.Chunk != f.Chunks-1 || f.Chunks < 4) {
			t.Errorf("%q finds %+v, want %s", q.question, f, q.want)
		}
	}

	// Chunks that the model does not take are the errors of their one document.
	other := p.name + "_long"
	p.dropAfter(t, other)
	invoke(t, "run", "-c", config(other, "unit: characters, size: 5000, overlap: 0")).wants(t, 5, `page long: .*more than the 256 that the model takes`, `^error: 1 document could not be sent`)
	c := p.qdrantClient(t)
	defer c.Close()
	if n, err := c.Count(t.Context(), &qdrantclient.CountPoints{CollectionName: other}); err != nil || int(n) != len(docs)-1 {
		t.Errorf("the index holds %d of %d documents, %v", n, len(docs)-1, err)
	}
}

// isTheModel asks the service for the similarities of three sentences that the model's authors publish for it.
func isTheModel(t *testing.T, url string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"model": minilm.Model, "input": []string{"The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/embeddings", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Data []struct{ Embedding []float64 }
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || len(got.Data) != 3 || len(got.Data[0].Embedding) != minilm.Dimensions {
		t.Fatalf("%d vectors, %v", len(got.Data), err)
	}
	for _, c := range []struct {
		a, b int
		want float64
	}{{0, 0, 1}, {0, 1, 0.6660}, {0, 2, 0.1046}, {1, 2, 0.1411}} {
		sum := 0.0
		for i, x := range got.Data[c.a].Embedding {
			sum += x * got.Data[c.b].Embedding[i]
		}
		if math.Abs(sum-c.want) > 0.0001 {
			t.Fatalf("sentences %d and %d are %.4f near, want %.4f", c.a, c.b, sum, c.want)
		}
	}
}

// topicTexts have few words in common with the questions about them.
var topicTexts = map[string][]string{
	"cooking": {
		"Boil spaghetti in plenty of salted water. Stir in the first minute, and do not add oil.",
		"Bread dough rises faster in a warm kitchen. Knead it until it is smooth.",
		"A cast iron pan is cleaned with hot water only. Soap takes its seasoning off.",
		"Rice is rinsed until the water runs clear. Let it rest under a lid for ten minutes.",
	},
	"space": {
		"The Moon turns once around itself while it travels once around the Earth.",
		"Saturn is surrounded by bands of ice and rock. They are thin, and very wide.",
		"A comet's tail points away from the Sun, whichever way it flies.",
		"Light from the nearest star travels for more than four years before we see it.",
	},
	"software": {
		"How to reset a password. Open the sign-in page, and choose that you can't remember it.",
		"A report can be exported as a spreadsheet. The button is above the table.",
		"Notifications can be muted for each project, or for some hours.",
		"Invite colleagues by their address. They get a message with a link.",
	},
	"money": {
		"An invoice is due within thirty days. Reminders are sent after that.",
		"Refunds are made within two weeks of the return of the goods.",
		"The exchange rate is that of the day on which the card was charged.",
		"Interest on savings is paid at the end of the year.",
	},
	"animals": {
		"Cats sleep for most of the day, and hunt at dusk.",
		"Swallows fly to Africa in autumn, and come back to the same nest.",
		"Puppies are scared of loud noises. Stay calm, and close the windows on New Year's Eve.",
		"A horse drinks forty litres of water on a hot day.",
	},
	"garden": {
		"Roses are cut in spring, above a bud that points outwards.",
		"Snails come at night to vegetable beds. Copper tape or sharp sand holds them off.",
		"Compost needs air: turn it every few weeks.",
		"A hedge of beech keeps its brown leaves until spring.",
	},
	"art": {
		"Michelangelo lay on his back for years to finish the frescoes of the Sistine vault.",
		"Watercolours dry lighter than they look when they are wet.",
		"A photograph needs light: open the aperture, or wait for the morning.",
		"The orchestra tunes to the oboe's note before the concert begins.",
	},
	"sport": {
		"Preparing for a marathon takes four months. Lengthen the weekly distance slowly, and rest.",
		"In tennis the first to win six games takes the set.",
		"A climber ties the knot, and the partner checks it.",
		"Swimmers breathe out under water, and in above it.",
	},
}
