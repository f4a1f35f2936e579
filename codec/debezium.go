package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/internal/extjson"
)

// unavailable stands for a large column that PostgreSQL does not repeat where it was not changed.
const unavailable = "__debezium_unavailable_value"

// debezium reads an envelope of Debezium. Source: its documentation of change events of 2.7, of the connectors for MongoDB, PostgreSQL and
// MySQL.
func (d Decoder) debezium(key []byte, v valued, op string) (e Decoded, err error) {
	e.Whole = true
	e.Database, _ = text(v.doc, "source.db")
	collection, mongo := text(v.doc, "source.collection")
	if e.Collection = collection; !mongo {
		e.Collection, _ = text(v.doc, "source.table")
	}
	switch op {
	case "c", "r":
		e.Operation = syncd.Insert
	case "u":
		e.Operation = syncd.Update
	case "d":
		e.Operation = syncd.Delete
	case "t":
		return e, fmt.Errorf("the table %s was truncated: the topic does not say which documents are gone", strconv.Quote(e.Collection))
	case "m":
		return Decoded{Skipped: "message"}, nil
	default:
		return e, &FormError{problem: fmt.Sprintf("the event of Debezium has the op %q, which is not known", op)}
	}
	after, err := side(v, "after")
	if err != nil {
		return e, err
	}
	before, err := side(v, "before")
	if err != nil {
		return e, err
	}
	id, err := d.keyID(key)
	if err != nil {
		return e, err
	}
	for _, doc := range []bson.Raw{before, after} {
		if own, ok := bsondoc.ID(doc); ok && mongo {
			id = own // a key's text knows fewer types
		}
	}
	if err := e.identify(id); err != nil {
		return e, err
	}
	if before != nil {
		e.Before = withID(before, id)
	} else {
		e.Before = appendKeyBSON(nil, id)
	}
	if e.Operation == syncd.Delete {
		return e, nil
	}
	if after == nil {
		err := fmt.Errorf("the event of Debezium does not hold its document: %w", errNoDocument)
		return e, syncd.Hint(err, "have the connector look documents up: capture.mode=change_streams_update_full")
	}
	if name := lacking(after); name != "" {
		err := fmt.Errorf("the column %s is not in the event, since it was not changed: the document is not whole", strconv.Quote(name))
		return e, syncd.Hint(err, "have PostgreSQL log whole rows: ALTER TABLE … REPLICA IDENTITY FULL")
	}
	e.Document = withID(after, id)
	return e, nil
}

// side reads before or after: an object of columns, or a text that is a document of MongoDB. It is nil where there is none.
func side(v valued, name string) (bson.Raw, error) {
	value, ok := bsondoc.Lookup(v.doc, name)
	switch {
	case !ok || value.Type == bson.TypeNull:
		return nil, nil
	case value.Type == bson.TypeEmbeddedDocument:
		return columns(value.Value, field(v.schema, name)), nil
	case value.Type == bson.TypeString:
		text := []byte(value.StringValue())
		if doc, ok := extjson.AppendJava(nil, text); ok {
			return doc, nil
		}
		doc, err := extjson.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("reading the event's %s: %w", name, err)
		}
		return doc, nil
	}
	return nil, &FormError{problem: fmt.Sprintf("the event's %s is neither an object nor a text", name)}
}

// debeziumID reads the text that Debezium's connector for MongoDB has for an _id: Extended JSON. A text that is none is a column's.
func debeziumID(text string) bson.RawValue {
	if text != "" && (text[0] == '{' || text[0] == '"') && json.Valid([]byte(text)) {
		if doc, ok := extjson.AppendJava(nil, []byte(`{"_id":`+text+`}`)); ok {
			if id, ok := bsondoc.ID(doc); ok {
				return id
			}
		}
	}
	return bson.RawValue{Type: bson.TypeString, Value: bsoncore.AppendString(nil, text)}
}

// lacking is the name of a column that the event does not hold, or "".
func lacking(doc bson.Raw) string {
	if !bytes.Contains(doc, []byte(unavailable)) {
		return ""
	}
	elements, err := doc.Elements()
	if err != nil {
		return ""
	}
	for _, e := range elements {
		if s, ok := e.Value().StringValueOK(); ok && s == unavailable {
			return e.Key()
		}
	}
	return ""
}

// field is the schema of one field of a struct's.
func field(schema bson.Raw, name string) bson.Raw {
	for _, f := range fieldsOf(schema) {
		if n, ok := text(f, "field"); ok && n == name {
			return f
		}
	}
	return nil
}

// fieldsOf are the schemas of a struct's fields.
func fieldsOf(schema bson.Raw) (fields []bson.Raw) {
	if schema == nil {
		return nil
	}
	list, ok := bsondoc.Lookup(schema, "fields")
	if !ok {
		return nil
	}
	array, ok := list.ArrayOK()
	if !ok {
		return nil
	}
	values, err := array.Values()
	if err != nil {
		return nil
	}
	for _, v := range values {
		if f, ok := v.DocumentOK(); ok {
			fields = append(fields, f)
		}
	}
	return fields
}

// columns gives the columns of a row the types that its schema names and JSON has not: dates, decimals and bytes. All else, and what does not
// fit, stays as it is.
func columns(row, schema bson.Raw) bson.Raw {
	semantic := map[string]bson.Raw{}
	for _, f := range fieldsOf(schema) {
		name, _ := text(f, "field")
		if kind, _ := text(f, "type"); kind == "bytes" {
			semantic[name] = f
		} else if _, named := text(f, "name"); named {
			semantic[name] = f
		}
	}
	if len(semantic) == 0 {
		return row
	}
	elements, err := row.Elements()
	if err != nil {
		return row
	}
	at, b := bsoncore.AppendDocumentStart(make([]byte, 0, len(row)+8))
	for _, e := range elements {
		v := e.Value()
		if f := semantic[e.Key()]; f != nil {
			if typed, ok := column(v, f); ok {
				v = typed
			}
		}
		b = appendElement(b, e.Key(), v)
	}
	return end(b, at)
}

// column gives a value the type that its schema names.
func column(v bson.RawValue, schema bson.Raw) (bson.RawValue, bool) {
	name, _ := text(schema, "name")
	instant := func(perMillisecond, milliseconds int64) (bson.RawValue, bool) {
		n, ok := v.AsInt64OK()
		if !ok || v.Type == bson.TypeDouble {
			return v, false
		}
		ms := n * milliseconds
		if perMillisecond > 1 {
			if ms = n / perMillisecond; n%perMillisecond < 0 {
				ms--
			}
		}
		return bson.RawValue{Type: bson.TypeDateTime, Value: bsoncore.AppendDateTime(nil, ms)}, true
	}
	switch name {
	case "io.debezium.time.Date", "org.apache.kafka.connect.data.Date":
		return instant(1, (24 * time.Hour).Milliseconds())
	case "io.debezium.time.Timestamp", "org.apache.kafka.connect.data.Timestamp":
		return instant(1, 1)
	case "io.debezium.time.MicroTimestamp":
		return instant(1000, 1)
	case "io.debezium.time.NanoTimestamp":
		return instant(1_000_000, 1)
	case "io.debezium.time.ZonedTimestamp":
		s, _ := v.StringValueOK()
		at, err := time.Parse(time.RFC3339Nano, s)
		return bson.RawValue{Type: bson.TypeDateTime, Value: bsoncore.AppendDateTime(nil, at.UnixMilli())}, err == nil
	case "org.apache.kafka.connect.data.Decimal":
		digits, _ := v.StringValueOK()
		scale, _ := text(schema, "parameters.scale")
		n, err := strconv.Atoi(scale)
		if err != nil {
			return v, false
		}
		return decimalColumn(digits, n)
	case "io.debezium.data.VariableScaleDecimal":
		doc, ok := v.DocumentOK()
		if !ok {
			return v, false
		}
		digits, _ := text(doc, "value")
		scale, ok := bsondoc.Lookup(doc, "scale")
		n, is := scale.AsInt64OK()
		if !ok || !is {
			return v, false
		}
		return decimalColumn(digits, int(n))
	case "":
		s, ok := v.StringValueOK()
		data, err := base64.StdEncoding.DecodeString(s)
		return bson.RawValue{Type: bson.TypeBinary, Value: bsoncore.AppendBinary(nil, 0, data)}, ok && err == nil
	}
	return v, false
}

// mostScale bounds the zeros that are written for a decimal.
const mostScale = 1000

// decimalColumn reads a decimal: the digits as a number in two's complement, in base64. One with more digits than MongoDB's type has is a text.
func decimalColumn(digits string, scale int) (bson.RawValue, bool) {
	data, err := base64.StdEncoding.DecodeString(digits)
	if err != nil || len(data) == 0 || scale > mostScale || scale < -mostScale {
		return bson.RawValue{}, false
	}
	n := new(big.Int).SetBytes(data)
	if data[0]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(data))))
	}
	if d, ok := bson.ParseDecimal128FromBigInt(n, -scale); ok {
		high, low := d.GetBytes()
		return bson.RawValue{Type: bson.TypeDecimal128, Value: bsoncore.AppendDecimal128(nil, high, low)}, true
	}
	out := n.String()
	negative := strings.HasPrefix(out, "-")
	out = strings.TrimPrefix(out, "-")
	if scale > 0 {
		if len(out) <= scale {
			out = strings.Repeat("0", scale-len(out)+1) + out
		}
		out = out[:len(out)-scale] + "." + out[len(out)-scale:]
	} else {
		out += strings.Repeat("0", -scale)
	}
	if negative {
		out = "-" + out
	}
	return bson.RawValue{Type: bson.TypeString, Value: bsoncore.AppendString(nil, out)}, true
}
