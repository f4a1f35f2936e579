package mongotest_test

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/syncd-io/syncd/sandbox/mongotest"
)

// variants maps each type of mongotest.IDs to a function that makes ids of it, all different, and different from those of
// the other types. Numbers of different types lie among one another. Of some types there are only a few.
var variants = map[string]func(i int) any{
	"minKey":   few(bson.MinKey{}),
	"null":     few(bson.Null{}),
	"nan":      few(math.NaN()),
	"infinity": few(math.Inf(-1), math.Inf(1)),
	"int":      func(i int) any { return int32(i * 8) },
	"long":     func(i int) any { return int64(i*8 + 1) },
	"double":   func(i int) any { return float64(i*8) + 2.5 },
	"decimal":  func(i int) any { return mustDecimal(strconv.Itoa(i*8+3) + ".14") },
	"bigLong":  func(i int) any { return int64(1)<<53 + 1 + int64(2*i) },
	"string":   func(i int) any { return fmt.Sprintf("text %03d", i) },
	"symbol":   func(i int) any { return bson.Symbol(fmt.Sprintf("text %03d'", i)) },
	"object": func(i int) any {
		if i%3 == 0 {
			return bson.D{{Key: "a", Value: "text"}, {Key: "b", Value: int32(i)}}
		}
		return bson.D{{Key: "a", Value: int32(i)}}
	},
	"emptyBinData": few(bson.Binary{}),
	"binData":      func(i int) any { return bson.Binary{Data: make([]byte, i+1)} },
	"md5":          func(i int) any { return bson.Binary{Subtype: 5, Data: make([]byte, i+1)} },
	"uuid":         func(i int) any { return bson.Binary{Subtype: 4, Data: []byte(fmt.Sprintf("0123456789ab%04d", i))} },
	"objectId":     func(i int) any { return bson.ObjectID{0: 0x65, 10: byte(i >> 8), 11: byte(i)} },
	"bool":         few(false, true),
	"date":         func(i int) any { return bson.DateTime(1_700_000_000_000 + i*1000) },
	"timestamp":    func(i int) any { return bson.Timestamp{T: 1_700_000_000, I: uint32(i + 1)} },
	"dbPointer":    func(i int) any { return bson.DBPointer{DB: "db.c", Pointer: bson.ObjectID{11: byte(i)}} },
	"javascript":   func(i int) any { return bson.JavaScript(fmt.Sprintf("f(%03d)", i)) },
	"javascriptWithScope": func(i int) any {
		return bson.CodeWithScope{Code: bson.JavaScript(fmt.Sprintf("f(%03d)", i)), Scope: bson.D{}}
	},
	"maxKey": few(bson.MaxKey{}),
}

// few makes a function that returns nil after the last value.
func few(values ...any) func(int) any {
	return func(i int) any {
		if i < len(values) {
			return values[i]
		}
		return nil
	}
}

func mustDecimal(s string) bson.Decimal128 {
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return d
}

// idTypes are the types of ids in order, without those that a server lacks.
func idTypes(lacks ...string) []string {
	var out []string
	for _, id := range mongotest.IDs() {
		if !slices.Contains(out, id.Type) && !slices.Contains(lacks, id.Type) {
			out = append(out, id.Type)
		}
	}
	return out
}

func TestEveryTypeHasVariants(t *testing.T) {
	for _, typ := range idTypes() {
		if variants[typ] == nil {
			t.Errorf("%s has none", typ)
		}
	}
	if len(variants) != len(idTypes()) {
		t.Errorf("%d types have variants, of %d", len(variants), len(idTypes()))
	}
}
