package postgres

import (
	"encoding/binary"
	"errors"
)

// errTuple is damage in a message of pgoutput.
var errTuple = errors.New("a row of the stream that can't be read")

// cell is a column of a row in the stream.
type cell struct {
	text      []byte // nil is NULL, or what unchanged says
	unchanged bool   // a large value that was not written again, and does not come
}

// change is a row's message: Insert, Update or Delete (Manual, "Logical Replication Message Formats").
type rowMessage struct {
	kind     byte // I, U or D
	relation uint32
	old      []cell // of an update and a delete: the row as it was, or its key alone
	oldKey   bool   // it is the key alone
	row      []cell // of an insert and an update
}

// parseRow reads a row's message. The cells' texts are parts of data; the slices are used again.
func (m *rowMessage) parse(data []byte) error {
	m.old, m.row, m.oldKey = m.old[:0], m.row[:0], false
	if len(data) < 6 {
		return errTuple
	}
	m.kind, m.relation = data[0], binary.BigEndian.Uint32(data[1:])
	data = data[5:]
	var err error
	if tag := data[0]; m.kind != 'I' && (tag == 'K' || tag == 'O') {
		m.oldKey = tag == 'K'
		if m.old, data, err = parseTuple(m.old, data[1:]); err != nil {
			return err
		}
	}
	if m.kind != 'D' {
		if len(data) == 0 || data[0] != 'N' {
			return errTuple
		}
		if m.row, data, err = parseTuple(m.row, data[1:]); err != nil {
			return err
		}
	}
	if len(data) > 0 || m.kind == 'D' && len(m.old) == 0 {
		return errTuple
	}
	return nil
}

func parseTuple(cells []cell, data []byte) ([]cell, []byte, error) {
	if len(data) < 2 {
		return cells, nil, errTuple
	}
	n := int(binary.BigEndian.Uint16(data))
	data = data[2:]
	for range n {
		if len(data) == 0 {
			return cells, nil, errTuple
		}
		tag := data[0]
		data = data[1:]
		switch tag {
		case 'n':
			cells = append(cells, cell{})
		case 'u':
			cells = append(cells, cell{unchanged: true})
		case 't':
			if len(data) < 4 {
				return cells, nil, errTuple
			}
			size := binary.BigEndian.Uint32(data)
			data = data[4:]
			if uint64(size) > uint64(len(data)) {
				return cells, nil, errTuple
			}
			cells = append(cells, cell{text: data[:size:size]})
			data = data[size:]
		default:
			return cells, nil, errTuple
		}
	}
	return cells, data, nil
}
