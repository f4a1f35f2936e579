package hexid

import (
	"encoding/hex"
	"testing"

	"github.com/google/uuid"
)

// TestEveryByteInEveryPlace: no byte of an id depends on another.
func TestEveryByteInEveryPlace(t *testing.T) {
	for _, rest := range []byte{0x00, 0xff, 0x9a} {
		for place := range 16 {
			for value := range 256 {
				var id uuid.UUID
				for i := range id {
					id[i] = rest
				}
				id[place] = byte(value)
				if got := string(AppendUUID([]byte("before"), (*[16]byte)(&id))); got != "before"+id.String() {
					t.Fatalf("%s, not %s", got, id)
				}
				oid := [12]byte(id[4:])
				if got := string(AppendObjectID([]byte("before"), &oid)); got != "before"+hex.EncodeToString(oid[:]) {
					t.Fatalf("%s, not %x", got, oid)
				}
			}
		}
	}
}

func BenchmarkAppendUUID(b *testing.B) {
	id := uuid.New()
	var text []byte
	for b.Loop() {
		text = AppendUUID(text[:0], (*[16]byte)(&id))
	}
}
