package server

import (
	"log/slog"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// TestAnUnknownUserTakesAsLongAsOneThatIsThere, whatever the cost of the users' hashes is, which htpasswd makes cheaper than most.
func TestAnUnknownUserTakesAsLongAsOneThatIsThere(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	a := NewAccess([]User{{Name: "token", Token: "0123456789abcdef"}, {Name: "ann", PasswordHash: hash}}, slog.New(slog.DiscardHandler))
	if cost, err := bcrypt.Cost(a.decoy); cost != bcrypt.MinCost || err != nil {
		t.Errorf("it has cost %d: %v", cost, err)
	}
	if i := a.byPassword(t.Context(), "eve", "right"); i >= 0 {
		t.Errorf("eve is user %d with ann's password", i)
	}
}
