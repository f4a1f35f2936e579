package bsondoc

import (
	"errors"
	"math/rand/v2"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func TestKey(t *testing.T) {
	elements, err := everyType(t).Elements()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	check := func(v bson.RawValue) {
		t.Helper()
		key := string(AppendKey([]byte("x"), v))[1:]
		got, err := ParseKey(key)
		if err != nil || !got.Equal(v) {
			t.Errorf("%v: got %v, %v", v, got, err)
		}
	}
	for _, e := range elements {
		check(e.Value())
		seen[string(AppendKey(nil, e.Value()))] = true
	}
	for _, v := range []bson.RawValue{vInt32(5), vInt64(5), vDouble(5), vString("5"), vDecimal(t, "5"), vDecimal(t, "5.0")} {
		check(v)
		key := string(AppendKey(nil, v))
		if seen[key] != (v.Type == bson.TypeDouble) { // everyType has 5.0, too
			t.Errorf("%v shares its key with another value", v)
		}
		seen[key] = true
	}
	check(vString("\xff")) // a key need not be text
	r := rand.New(rand.NewPCG(13, 14))
	for range 2000 {
		check(randomValue(r, 3))
	}
}

func TestParseKeyErrors(t *testing.T) {
	inner := doc(field{"s", vString("abc")})
	inner[7] = 9
	for _, tc := range []struct {
		name, key string
		is        error
	}{
		{"empty", "", ErrMalformed},
		{"missing value", "\x00", ErrMalformed},
		{"unknown type", "\x30abc", ErrMalformed},
		{"short", "\x07abc", ErrMalformed},
		{"long", "\x10abcde", ErrMalformed},
		{"damaged inside", string(AppendKey(nil, vDoc(inner))), ErrMalformed},
		{"damaged scope", string(AppendKey(nil, vCodeWithScope("", inner))), ErrMalformed},
		{"deep", string(AppendKey(nil, vDoc(nested(MaxDepth+1)))), ErrTooDeep},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if v, err := ParseKey(tc.key); !errors.Is(err, tc.is) || v.Type != 0 || v.Value != nil {
				t.Errorf("got %v, %v", v, err)
			}
		})
	}
	if _, err := ParseKey(string(AppendKey(nil, vDoc(nested(MaxDepth))))); err != nil {
		t.Error(err)
	}
}
