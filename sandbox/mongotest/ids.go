package mongotest

import (
	"fmt"
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// ID is a value that may stand as _id.
type ID struct {
	Type  string // of BSON, in MongoDB's words, or finer: what servers lack alone has a name of its own
	Value any
}

func (id ID) String() string { return fmt.Sprintf("%s %v", id.Type, id.Value) }

// IDs are ids of every type that MongoDB stores as _id, in its order, no two of them equal. Arrays, regular expressions and
// undefined are refused there.
func IDs() []ID {
	return []ID{
		{"minKey", bson.MinKey{}},
		{"null", bson.Null{}},

		// Numbers are compared by exact value, across their types.
		{"nan", math.NaN()},
		{"infinity", math.Inf(-1)},
		{"decimal", decimal("-1E+6000")},
		{"long", int64(math.MinInt64)},
		{"double", -1.5},
		{"int", int32(-1)},
		{"int", int32(0)},
		{"double", math.SmallestNonzeroFloat64},
		{"decimal", decimal("0.1")}, // the double 0.1 is a little more than a tenth
		{"double", 0.1},
		{"int", int32(1)},
		{"double", 1.5},
		{"decimal", decimal("1.50000000000000000001")},
		{"long", int64(1) << 53},
		{"bigLong", int64(1)<<53 + 1}, // as a double it would equal its neighbour
		{"decimal", decimal("9007199254740993.5")},
		{"double", float64(1<<53 + 2)},
		{"bigLong", int64(math.MaxInt64 - 1)},
		{"bigLong", int64(math.MaxInt64)},
		{"double", float64(1 << 63)},
		{"decimal", decimal("9223372036854775808.5")},
		{"decimal", decimal("1E+6000")},
		{"infinity", math.Inf(1)},

		// Strings go by their bytes, and symbols among them.
		{"string", ""},
		{"string", "10"},
		{"string", "9"},
		{"string", "A"},
		{"string", "a"},
		{"string", "aa"},
		{"symbol", bson.Symbol("ab")},
		{"string", "b"},
		{"string", "é"},
		{"string", "漢"},

		// Documents go field by field: type, then name, then value.
		{"object", bson.D{}},
		{"object", bson.D{{Key: "a", Value: int32(1)}}},
		{"object", bson.D{{Key: "a", Value: int32(1)}, {Key: "b", Value: int32(0)}}},
		{"object", bson.D{{Key: "a", Value: 1.5}}},
		{"object", bson.D{{Key: "b", Value: int32(0)}}},
		{"object", bson.D{{Key: "a", Value: "1"}}},

		// Binary data goes by length, then subtype, then bytes.
		{"emptyBinData", bson.Binary{}},
		{"binData", bson.Binary{Data: []byte{0xff}}},
		{"md5", bson.Binary{Subtype: 5, Data: []byte{0}}},
		{"binData", bson.Binary{Data: []byte{0, 1}}},
		{"uuid", bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}},
		{"uuid", bson.Binary{Subtype: 4, Data: []byte("0123456789abcdeg")}},

		{"objectId", bson.ObjectID{}},
		{"objectId", bson.ObjectID{0: 0x65, 11: 1}},
		{"objectId", bson.ObjectID{0: 0x65, 11: 2}},
		{"bool", false},
		{"bool", true},
		{"date", bson.DateTime(-1)},
		{"date", bson.DateTime(0)},
		{"date", bson.DateTime(1_700_000_000_000)},
		{"timestamp", bson.Timestamp{T: 1, I: 2}},
		{"timestamp", bson.Timestamp{T: 2, I: 1}},
		{"dbPointer", bson.DBPointer{DB: "db.c", Pointer: bson.ObjectID{0: 1}}},
		{"javascript", bson.JavaScript("f()")},
		{"javascriptWithScope", bson.CodeWithScope{Code: "f()", Scope: bson.D{{Key: "x", Value: int32(1)}}}},
		{"maxKey", bson.MaxKey{}},
	}
}

func decimal(s string) bson.Decimal128 {
	d, err := bson.ParseDecimal128(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return d
}
