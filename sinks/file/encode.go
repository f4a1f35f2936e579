package file

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/codec"
)

// Values that can't be lines, whatever the file's state.
var (
	errEmptyValue = codec.NotEncodable(errors.New("an empty value has no line; format: envelope can hold it"))
	errLineBreak  = codec.NotEncodable(errors.New("the value has a line break; format: envelope can hold it"))
)

// appendLines appends one line per event to dst, and names the events that have no line.
func (s *Sink) appendLines(dst []byte, events []codec.Event) ([]byte, *syncd.BatchError) {
	failed := &syncd.BatchError{}
	for i := range events {
		if s.config.Format == formatEnvelope {
			dst = appendEnvelope(dst, &events[i])
			continue
		}
		switch v := events[i].Value; {
		case v == nil:
			dst = append(dst, "null\n"...)
		case len(v) == 0:
			failed.Fail(i, errEmptyValue)
		case bytes.ContainsAny(v, "\n\r"):
			failed.Fail(i, errLineBreak)
		default:
			dst = append(append(dst, v...), '\n')
		}
	}
	return dst, failed
}

// appendEnvelope writes everything that an event holds, so that it can be told from the line to the byte:
//
//	{"database":…,"collection":…,"content_type":…,"topic":…,"id":…,"point_id":…,"key":…,"headers":[{"name":…,"value":…}],"value":…}
//
// topic is there if the collection has its own. Texts that are not UTF-8 stand as base64 under a name with _base64 behind
// it, and so does a value that is not JSON on one line. A null value is a tombstone: the JSON text null is base64 too.
func appendEnvelope(dst []byte, e *codec.Event) []byte {
	dst = append(dst, '{')
	dst = appendText(dst, "database", e.Target.Database)
	dst = appendText(append(dst, ','), "collection", e.Target.Collection)
	dst = appendText(append(dst, ','), "content_type", e.Target.ContentType)
	if e.Target.Topic != "" {
		dst = appendText(append(dst, ','), "topic", e.Target.Topic)
	}
	dst = appendText(append(dst, ','), "id", e.ID)
	dst = append(dst, `,"point_id":"`...)
	dst = append(dst, e.PointID.String()...)
	dst = append(dst, `",`...)
	if e.Key == nil {
		dst = append(dst, `"key":null`...)
	} else {
		dst = appendText(dst, "key", string(e.Key))
	}
	dst = append(dst, `,"headers":[`...)
	for i, h := range e.Headers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(append(dst, '{'), "name", h.Name)
		dst = append(appendText(append(dst, ','), "value", h.Value), '}')
	}
	dst = append(dst, `],`...)
	switch v := e.Value; {
	case v == nil:
		dst = append(dst, `"value":null`...)
	case string(bytes.TrimSpace(v)) != "null" && !bytes.ContainsAny(v, "\n\r") && utf8.Valid(v) && json.Valid(v) && trimmed(v):
		dst = append(append(dst, `"value":`...), v...)
	default:
		dst = appendBase64(dst, "value", v)
	}
	return append(dst, "}\n"...)
}

// trimmed says that no space stands around a JSON text, which a reader of the envelope could not see.
func trimmed(v []byte) bool { return len(bytes.TrimSpace(v)) == len(v) }

func appendText(dst []byte, name, text string) []byte {
	if !utf8.ValidString(text) {
		return appendBase64(dst, name, []byte(text))
	}
	dst = append(append(append(dst, '"'), name...), `":`...)
	return appendQuoted(dst, text)
}

func appendBase64(dst []byte, name string, text []byte) []byte {
	dst = append(append(append(dst, '"'), name...), `_base64":"`...)
	return append(base64.StdEncoding.AppendEncode(dst, text), '"')
}

// appendQuoted writes text as a JSON string, with the escapes that JSON demands and no others.
func appendQuoted(dst []byte, text string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := range len(text) {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		if c < ' ' {
			dst = append(dst, `\u00`...)
			if c < 0x10 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendUint(dst, uint64(c), 16)
		} else {
			dst = append(dst, '\\', c)
		}
		from = i + 1
	}
	return append(append(dst, text[from:]...), '"')
}
