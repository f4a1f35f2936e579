package config

import (
	"encoding/binary"
	"strings"
	"testing"
)

// FuzzIndex checks that no index, of whatever version, makes its reader panic or run on.
func FuzzIndex(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01"+strings.Repeat("\x00", 62)+"\x00c.yaml\x00"), uint8(4))
	f.Add([]byte("\x00\x00\x00\x02"+strings.Repeat("\x00", 62)+"c.yaml\x00\x00"+strings.Repeat("\x40", 64)+"d\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, rest []byte, version uint8) {
		index := append(binary.BigEndian.AppendUint32([]byte("DIRC"), uint32(version)), rest...)
		if found, err := parseIndex(index, "c.yaml"); found && !strings.Contains(string(index), "ml") {
			t.Errorf("found in %q, %v", index, err)
		}
	})
}
