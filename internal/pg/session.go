package pg

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SessionParameters make values' texts the same on every server (Manual, "Client Connection Defaults").
var SessionParameters = map[string]string{
	"client_encoding":                     "UTF8",
	"TimeZone":                            "UTC",
	"DateStyle":                           "ISO, YMD",
	"IntervalStyle":                       "iso_8601",
	"bytea_output":                        "hex",
	"extra_float_digits":                  "1",
	"lc_monetary":                         "C",
	"xmloption":                           "content",
	"statement_timeout":                   "0", // a read lasts as long as its changes take to be handled
	"idle_in_transaction_session_timeout": "0",
	"row_security":                        "off", // a policy that hides rows is an error, not fewer rows
}

// Address is where a connection string leads.
func Address(c *pgconn.Config) string {
	if strings.HasPrefix(c.Host, "/") {
		return c.Host
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

// Quote makes a name one of SQL, whatever it holds.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
