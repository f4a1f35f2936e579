// Package sample makes the documents of an invented company's project-management
// database, for demos and tests: pages, work items, projects, cycles, modules, epics,
// features and user stories, which refer to one another.
//
// Invariants:
//
//   - A document depends on the seed and on its index, and on nothing else: not on the
//     time, the machine or the number of documents made. So "1,500 documents, then the
//     next 100" is Documents(0, 1500), then Documents(1500, 100).
//   - Every 25 indexes in a row hold the same number of documents of each collection,
//     work items being the most. An index refers only to documents of its own 25 or
//     earlier, so every reference can be followed.
//   - _id is unique in all collections together. It is an ObjectId, or for three of
//     four user stories a UUID (binary subtype 4). ObjectIds grow with the index.
package sample

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Database is the name of the database that the documents are made for.
const Database = "ProjectManagement"

// DefaultSeed is the seed that Documents and Load use.
const DefaultSeed = 1

// The collections of the database.
const (
	Page      = "page"
	WorkItem  = "workItem"
	Project   = "project"
	Cycle     = "cycle"
	Module    = "module"
	Epic      = "epic"
	Features  = "features"
	UserStory = "userStory"
)

// Collections returns the names of the collections.
func Collections() []string {
	return []string{Page, WorkItem, Project, Cycle, Module, Epic, Features, UserStory}
}

// Document is a document and the collection it belongs to. Body holds the _id first.
type Document struct {
	Collection string
	Body       bson.D
}

// ID returns the document's _id: a bson.ObjectID or a bson.Binary.
func (d Document) ID() any { return d.Body[0].Value }

// Generator makes documents. The zero value is ready to use, with seed 0.
type Generator struct {
	// Seed selects one of many databases.
	Seed uint64

	// Decimal128 makes budgets Decimal128, as a real database would have them. The
	// sandbox's embedded server can't store that type, so they are doubles by default.
	Decimal128 bool
}

// Documents returns the documents with index from up to from+count of the default seed.
func Documents(from, count int) []Document {
	return Generator{Seed: DefaultSeed}.Documents(from, count)
}

// Documents returns the documents with index from up to from+count.
func (g Generator) Documents(from, count int) []Document {
	docs := make([]Document, 0, max(count, 0))
	for i := from; i < from+count; i++ {
		docs = append(docs, g.Document(i))
	}
	return docs
}

// Load inserts the documents of the default seed with index from up to from+count into
// a database, named Database if the name is empty, and returns how many it inserted into
// each collection. Inserting an index twice is an error: the _id is taken.
func Load(ctx context.Context, uri, database string, from, count int) (map[string]int, error) {
	if database == "" {
		database = Database
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return nil, fmt.Errorf("loading sample documents: %w", err)
	}
	counts, err := Generator{Seed: DefaultSeed}.Load(ctx, client.Database(database), from, count)
	if derr := client.Disconnect(context.WithoutCancel(ctx)); derr != nil {
		err = errors.Join(err, fmt.Errorf("loading sample documents: disconnecting: %w", derr))
	}
	return counts, err
}

// insertBatch is the number of documents of one insert: some 1 MB on the wire, and
// little enough to hold back memory when millions are loaded.
const insertBatch = 500

// Load inserts the documents with index from up to from+count and returns how many it
// inserted into each collection, also where it fails.
func (g Generator) Load(ctx context.Context, db *mongo.Database, from, count int) (map[string]int, error) {
	counts := map[string]int{}
	pending := map[string][]any{}
	flush := func(collection string) error {
		docs := pending[collection]
		pending[collection] = docs[:0]
		if len(docs) == 0 {
			return nil
		}
		res, err := db.Collection(collection).InsertMany(ctx, docs)
		if res != nil {
			counts[collection] += len(res.InsertedIDs)
		}
		if err != nil {
			return fmt.Errorf("loading sample documents into %s.%s: %w", db.Name(), collection, err)
		}
		return nil
	}
	for i := from; i < from+count; i++ {
		doc := g.Document(i)
		pending[doc.Collection] = append(pending[doc.Collection], doc.Body)
		if len(pending[doc.Collection]) == insertBatch {
			if err := flush(doc.Collection); err != nil {
				return counts, err
			}
		}
	}
	for _, collection := range Collections() {
		if err := flush(collection); err != nil {
			return counts, err
		}
	}
	return counts, nil
}

// slots is what 25 indexes in a row hold. What others refer to comes first, so that
// it exists in the very first 25.
var slots = [...]string{
	Project, Epic, Module, Cycle, Features,
	WorkItem, Page, UserStory, WorkItem, WorkItem,
	Module, WorkItem, UserStory, Page, WorkItem,
	Features, WorkItem, UserStory, WorkItem, Page,
	WorkItem, WorkItem, UserStory, Page, WorkItem,
}

// The slots that references lead to.
const (
	projectSlot  = 0
	epicSlot     = 1
	moduleSlot   = 2
	cycleSlot    = 3
	featureSlot  = 4
	workItemSlot = 5
)

// firstCreated is when the document with index 0 was created; createdEvery later, the next.
var firstCreated = time.Date(2024, time.January, 8, 8, 30, 0, 0, time.UTC)

const createdEvery = 97*time.Minute + 13*time.Second + 421*time.Millisecond

func created(index int) time.Time { return firstCreated.Add(time.Duration(index) * createdEvery) }

// id returns the _id of the document with an index.
func (g Generator) id(index int) any {
	d := g.dice(index, "id")
	if slots[index%len(slots)] == UserStory && index/len(slots)%4 != 3 {
		u := make([]byte, 16)
		binary.BigEndian.PutUint64(u, d.next())
		binary.BigEndian.PutUint64(u[8:], d.next())
		u[6] = u[6]&0x0f | 0x40 // version 4: random
		u[8] = u[8]&0x3f | 0x80 // the variant of RFC 4122
		return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: u}
	}
	return g.objectID(index, d)
}

// objectID makes an ObjectId as a driver does: seconds, a random part, a counter.
func (g Generator) objectID(index int, d *dice) bson.ObjectID {
	var id bson.ObjectID
	binary.BigEndian.PutUint32(id[:], uint32(created(index).Unix()))
	binary.BigEndian.PutUint64(id[4:], d.next())
	id[9], id[10], id[11] = byte(index>>16), byte(index>>8), byte(index)
	return id
}

// refer returns the index of a document of a slot that exists before index, most
// often a recent one.
func refer(d *dice, index, slot int) int {
	block := index / len(slots)
	return (block-d.n(min(block, 12)+1))*len(slots) + slot
}
