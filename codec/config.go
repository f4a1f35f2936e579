package codec

import (
	"github.com/syncd-io/syncd/internal/bsondoc"
	"github.com/syncd-io/syncd/spec"
)

// Profile is a form of events.
type Profile string

// The profiles.
const (
	// Plain is what a reader without a BSON library understands, see [AppendValue].
	Plain Profile = "plain"
	// MongoKafka is what the MongoDB Kafka source connector writes for a copied document, see [Encoder].
	MongoKafka Profile = "mongo_kafka"
)

// Format is how the connector writes values as JSON, its output.json.formatter.
type Format string

// The formats.
const (
	DefaultJSON    Format = "default"    // DefaultJson: Extended JSON v1
	ExtendedJSON   Format = "extended"   // ExtendedJson: Extended JSON v2, canonical
	SimplifiedJSON Format = "simplified" // SimplifiedJson: ids, dates, decimals and binary as text
)

// Wire is how a key or a value becomes the bytes of a record: the connector's output.format and the worker's converter.
type Wire string

// The wire forms.
const (
	WireString            Wire = "string"              // the JSON text, as StringConverter writes it
	WireConnectJSONSchema Wire = "connect_json_schema" // {"schema":…,"payload":"…"}, as JsonConverter does with schemas.enable
	WireConnectJSON       Wire = "connect_json"        // the JSON text as a JSON string, as JsonConverter does without
	WireBSON              Wire = "bson"                // BSON, as ByteArrayConverter writes output.format bson
)

// ID is what the top-level _id of an event is.
type ID string

// The event ids.
const (
	CopyID ID = "copy" // {"_id": …, "copyingData": true}, which marks a copied document
	NoID   ID = "none" // there is none
)

// DeleteFormat is what a delete is.
type DeleteFormat string

// The forms of deletes.
const (
	DeleteEvent     DeleteFormat = "event"     // an event with the operation delete
	DeleteTombstone DeleteFormat = "tombstone" // a record without a value
)

// Config is the `event` section of a byte sink's settings: the form of what it writes. All but Profile and DeleteFormat is for
// the profile mongo_kafka.
type Config struct {
	Profile          Profile      `yaml:"profile" rule:"oneof=plain mongo_kafka" doc:"The form of events: plain JSON (plain), or byte for byte what the MongoDB Kafka source connector writes when it copies a collection (mongo_kafka)."`
	DeleteFormat     DeleteFormat `yaml:"delete_format" rule:"oneof=event tombstone" doc:"What a delete is: an event with operationType delete (event), or a record without a value (tombstone)."`
	JSON             Format       `yaml:"json" rule:"oneof=default extended simplified" doc:"With mongo_kafka, the connector's output.json.formatter: DefaultJson (default), ExtendedJson (extended) or SimplifiedJson (simplified)."`
	Wire             Wire         `yaml:"wire" rule:"oneof=string connect_json_schema connect_json bson" doc:"With mongo_kafka, how values become bytes, by the worker's value.converter: StringConverter (string), JsonConverter (connect_json_schema), JsonConverter with schemas.enable=false (connect_json), or ByteArrayConverter with output.format.value=bson (bson)."`
	KeyWire          Wire         `yaml:"key_wire" rule:"omitempty,oneof=string connect_json_schema connect_json bson" doc:"With mongo_kafka, how keys become bytes, where the worker's key.converter is another than its value.converter; if it is not set, as wire says."`
	ID               ID           `yaml:"id" rule:"oneof=copy none" doc:"With mongo_kafka, the top-level _id of an event: the connector's mark of a copied document (copy), or none (none)."`
	FullDocumentOnly bool         `yaml:"full_document_only" doc:"With mongo_kafka, the connector's publish.full.document.only: an event is the document alone, and a delete needs delete_format: tombstone."`
	ConnectorVersion int          `yaml:"connector_version" rule:"min=1,max=3" doc:"With mongo_kafka, the connector's major version: before 3 it writes large floating point numbers as 1.0E10, since then as 1.0E+10."`
}

// Defaults is the plain form, and the connector's own defaults for the other.
func Defaults() Config {
	return Config{Profile: Plain, DeleteFormat: DeleteEvent, JSON: DefaultJSON, Wire: WireString, ID: CopyID, ConnectorVersion: 3}
}

// CheckConfig implements spec.SelfChecker. A setting without an effect is reported if it stands in the same place as the one
// that takes its effect away: what one file, a variable or a flag sets for all profiles may be no use in one.
func (c *Config) CheckConfig(d *spec.Decoder, n *spec.Node) {
	idle := func(because, hint, format string, names ...string) {
		cause := n.Get(because)
		for _, name := range names {
			if at := n.Get(name); at != nil && (cause == nil || cause.Pos.Source == at.Pos.Source) {
				path := d.Path() + "." + name
				d.In(name, func() { d.Report(spec.Warning, at, spec.CodeNoEffect, hint, format, path) })
			}
		}
	}
	if c.Profile != MongoKafka {
		idle("profile", "remove it, or set profile: mongo_kafka", "%s has no effect with the profile plain", "json", "wire", "key_wire", "id", "full_document_only", "connector_version")
		return
	}
	if c.FullDocumentOnly {
		if c.DeleteFormat != DeleteTombstone {
			d.Errorf(n.Get("full_document_only"), spec.CodeBadValue, "set delete_format: tombstone beside it", "%s.full_document_only leaves a delete without a document to write", d.Path())
		}
		idle("full_document_only", "remove it", "%s has no effect with full_document_only: there is no event around the document", "id")
	}
	if c.Wire == WireBSON && (c.KeyWire == "" || c.KeyWire == WireBSON) {
		idle("wire", "remove it", "%s has no effect with wire bson: nothing is written as JSON", "json", "connector_version")
	}
}

// Raw reports whether the source's own form of a streamed change is passed on: see [syncd.SinkAbilities].
func (c Config) Raw() bool { return c.Profile == MongoKafka && !c.FullDocumentOnly }

// Encoder returns what writes events in this form. The Config must be valid; where a field is empty, its default counts.
func (c Config) Encoder() Encoder {
	tombstones := c.DeleteFormat == DeleteTombstone
	if c.Profile != MongoKafka {
		return Encoder{tombstones: tombstones}
	}
	e := Encoder{tombstones: tombstones, typed: true, wire: c.Wire, keyWire: c.KeyWire, copyID: c.ID != NoID, documentOnly: c.FullDocumentOnly}
	switch c.JSON {
	case ExtendedJSON:
		e.dialect = bsondoc.JavaExtended
	case SimplifiedJSON:
		e.dialect = bsondoc.JavaSimplified
	}
	if c.ConnectorVersion == 1 || c.ConnectorVersion == 2 {
		e.dialect |= bsondoc.JavaDriver4
	}
	if e.keyWire == "" {
		e.keyWire = e.wire
	}
	return e
}
