package bsondoc

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// workItem is a document of about 2 kB, as an application for project management
// has them.
func workItem(tb testing.TB) bson.Raw {
	tb.Helper()
	text := strings.Repeat("The importer must keep the order of the rows; it must not say \"done\" before. ", 16)
	var labels, comments []bson.RawValue
	for i := range 4 {
		labels = append(labels, vString(fmt.Sprintf("label-%d", i)))
		comments = append(comments, vDoc(doc(
			field{"_id", vObjectID(tb, fmt.Sprintf("665f1c2e9b3d4a0012abcd%02x", i))},
			field{"by", vBinary(4, "0123456789abcdef")},
			field{"at", vDate(1718000000123 + int64(i))},
			field{"text", vString("Grüße – seen, will be in the next cycle")},
		)))
	}
	d := doc(
		field{"_id", vObjectID(tb, "665f1c2e9b3d4a0012abcdef")},
		field{"title", vString("Import rows in order")},
		field{"description", vString(text)},
		field{"projectId", vObjectID(tb, "665f1c2e9b3d4a0012abcd00")},
		field{"state", vString("in_progress")},
		field{"priority", vInt32(3)},
		field{"estimate", vDouble(2.5)},
		field{"cost", vDecimal(tb, "1234.50")},
		field{"sequence", vInt64(1234567890123)},
		field{"archived", vBool(false)},
		field{"parent", vNull()},
		field{"labels", vArray(labels...)},
		field{"comments", vArray(comments...)},
		field{"createdAt", vDate(1718000000123)},
		field{"updatedAt", vDate(1719000000456)},
	)
	return d
}

func BenchmarkAppendJSON(b *testing.B) {
	d := workItem(b)
	for _, bc := range []struct {
		name    string
		dialect Dialect
	}{{"plain", Plain}, {"relaxed", Relaxed}, {"canonical", Canonical}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(d)))
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = AppendJSON(buf[:0], d, bc.dialect); err != nil {
					b.Fatal(err)
				}
			}
		})
		if bc.dialect == Plain {
			continue
		}
		b.Run("driver-"+bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(d)))
			for b.Loop() {
				if _, err := bson.MarshalExtJSON(d, bc.dialect == Canonical, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendJavaJSON(b *testing.B) {
	for _, bc := range []struct {
		name    string
		doc     bson.Raw
		dialect JavaDialect
	}{
		{"strict", workItem(b), JavaStrict}, {"extended", workItem(b), JavaExtended}, {"simplified", workItem(b), JavaSimplified},
		{"cyrillic", doc(field{"a", vString(strings.Repeat("Слово и дело. ", 100))}), JavaStrict},
		{"devanagari", doc(field{"a", vString(strings.Repeat("हिन्दी भाषा ", 100))}), JavaStrict},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.doc)))
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = AppendJavaJSON(buf[:0], bc.doc, bc.dialect); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendIDText(b *testing.B) {
	for _, bc := range []struct {
		name string
		v    bson.RawValue
	}{
		{"objectid", vObjectID(b, "665f1c2e9b3d4a0012abcdef")},
		{"uuid", vBinary(4, "0123456789abcdef")},
		{"string", vString("PROJ-12345-import-rows")},
		{"int64", vInt64(1234567890123)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = AppendIDText(buf[:0], bc.v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	d := workItem(b)
	for _, path := range []string{"_id", "updatedAt", "comments.3.at"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := Lookup(d, path); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}
