package report

import (
	"reflect"
	"time"

	"github.com/syncd-io/syncd/internal/text"
)

// shown is a copy in which every text is as a person may see it: names, ids and reasons are others' text, and so is all of a file.
func (r *Report) shown() *Report {
	out := &Report{}
	show(reflect.ValueOf(out).Elem(), reflect.ValueOf(r).Elem())
	return out
}

// show sets dst to a copy of src.
func show(dst, src reflect.Value) {
	switch v := src.Interface().(type) {
	case time.Time:
		dst.Set(src)
		return
	case Example:
		dst.Set(reflect.ValueOf(Example{Collection: text.Line(v.Collection), ID: text.ID(v.ID, v.NoID), Reason: text.Line(v.Reason)}))
		return
	}
	switch src.Kind() {
	case reflect.String:
		dst.SetString(text.Line(src.String()))
	case reflect.Struct:
		for i := range src.NumField() {
			show(dst.Field(i), src.Field(i))
		}
	case reflect.Slice:
		dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			show(dst.Index(i), src.Index(i))
		}
	default: // numbers, and pointers to them
		dst.Set(src)
	}
}
