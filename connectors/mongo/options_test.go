package mongo

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/syncd-io/syncd"
	"github.com/syncd-io/syncd/spec"
)

func TestOptions(t *testing.T) {
	for options, want := range map[string]string{ // of mongodb://h/? unless there is a scheme; want is all that is said, if it ends with a dot, or a part of it
		// What runs.
		"":                                  "",
		"replicaSet=rs0&w=majority":         "",
		"readPreference=SecondaryPreferred": "",
		"readPreference=secondary&readPreferenceTags=dc:ny,use:batch&readPreferenceTags=": "",
		"readPreference=nearest&maxStalenessSeconds=90":                                   "",
		"readPreference=primary&maxStalenessSeconds=0":                                    "",
		"minPoolSize=10&maxPoolSize=0":                                                    "",
		"minPoolSize=10&maxPoolSize=10":                                                   "",
		"heartbeatFrequencyMS=500":                                                        "",
		"heartbeatFrequencyMS=100000&readPreference=nearest&maxStalenessSeconds=110":      "",
		"retryWrites=true&w=majority&appName=Cluster0":                                    "",
		"RETRYREADS=false&READCONCERNLEVEL=majority":                                      "",
		"tlsCAFile=/no/such/file&tls=true":                                                "",
		"compressors=snappy,zstd&zlibCompressionLevel=3":                                  "",
		"uuidRepresentation=standard&wtimeoutMS=1000&waitQueueTimeoutMS=5":                "",
		"appName=a&appName=a":                                                             "",
		"directConnection=true&replicaSet=rs0":                                            "",
		"authSource=admin":                                                                "",
		"loadBalanced=false":                                                              "",
		"mongodb+srv://h.example.com/?srvMaxHosts=2&readPreference=nearest":               "",
		"mongodb+srv://u:p@h.example.com/?authMechanism=SCRAM-SHA-256":                    "",
		"mongodb://u:p%3Fx@a:1,b:2/?readPreference=nearest":                               "",
		"mongodb://h/?authMechanism=MONGODB-X509&tlsCertificateKeyFile=/no/such":          "",
		// What does not.
		"readPreference=bogus":                                                       "error: has a readPreference that does not exist; write primary,",
		"readPreference=":                                                            "",
		"readPreferenceTags=dc:ny":                                                   "error: has readPreferenceTags, which needs readPreference;",
		"maxStalenessSeconds=0":                                                      "error: has maxStalenessSeconds, which needs readPreference;",
		"maxStalenessSeconds=120":                                                    "error: has maxStalenessSeconds, which needs readPreference;",
		"readPreference=primary&readPreferenceTags=dc:ny":                            "error: has readPreferenceTags, which readPreference=primary excludes;",
		"readPreference=primary&maxStalenessSeconds=120":                             "error: has maxStalenessSeconds, which readPreference=primary excludes;",
		"readPreference=secondaryPreferred&maxStalenessSeconds=10":                   "error: has maxStalenessSeconds=10; it must be at least 90",
		"readPreference=nearest&maxStaleness=89":                                     "error: has maxStalenessSeconds=89;",
		"heartbeatFrequencyMS=100000&readPreference=nearest&maxStalenessSeconds=109": "error: has maxStalenessSeconds=109;",
		"minPoolSize=10&maxPoolSize=5":                                               "error: has minPoolSize=10, more than maxPoolSize=5",
		"heartbeatFrequencyMS=1":                                                     "error: has heartbeatFrequencyMS=1; it must be at least 500",
		"readConcernLevel=majorty":                                                   "error: has a readConcernLevel that does not exist;",
		"replicaSet=a&replicaSet=b":                                                  "error: has replicaSet more than once, with different values; keep one",
		"readPreference=nearest&readpreference=secondary":                            "error: has readPreference more than once",
		"heartbeatIntervalMS=600&heartbeatFrequencyMS=700":                           "error: has heartbeatFrequencyMS more than once",
		"mongodb://u@h/?authMechanism=GSSAPI":                                        "error: is refused by MongoDB's driver: ",
		"mongodb://h/?authMechanism=MONGODB-OIDC":                                    "error: is refused by MongoDB's driver: ",
		"tlsDisableOCSPEndpointCheck=true&tlsDisableCertificateRevocationCheck=true&tlsCertificateKeyFile=x": "error: is refused by MongoDB's driver: ",
		"mongodb+srv://h.example.com/?directConnection=true":                                                 "error: can't be used: a direct connection cannot be made if an SRV URI is used",
		"mongodb+srv://h.example.com/?srvMaxHosts=2&replicaSet=rs":                                           "error: can't be used: srvMaxHosts cannot be a positive value if a replica set name is specified",
		"mongodb+srv://h.example.com/?srvMaxHosts=two":                                                       "error: can't be used: srvMaxHosts must be",
		"mongodb+srv://h.example.com/?srvServiceName=":                                                       "error: can't be used: srvServiceName must have",
		"mongodb+srv://u:p@h.example.com/?readPreference=bogus":                                              "error: has a readPreference that does not exist",
		"mongodb://u:s3cret@h/?readPreference=s3cret&minPoolSize=1":                                          "error: has a readPreference that does not exist",
		// What has no effect.
		"readPrefrence=secondaryPreferred":     `warning: has the option "readPrefrence", which MongoDB's driver does not know, so that it has no effect; did you mean "readPreference"?`,
		"replicaset_=rs0":                      `did you mean "replicaSet"?`,
		"authSorce=admin":                      `did you mean "authSource"?`,
		"tlsAllowInvalidCertificates=true":     "warning: has the option tlsAllowInvalidCertificates, which MongoDB's driver does not know, so that it has no effect; set tlsInsecure=true",
		"slaveOk=true":                         "set readPreference",
		"proxyHost=p":                          "this driver connects without a proxy",
		"w=1&s3cret=x":                         "warning: has an option, its 2nd, which MongoDB's driver does not know",
		"compressors=gzip":                     "warning: has a compressor that MongoDB's driver does not know",
		"readPreference=bogus&readPrefrence=x": `error: has a readPreference that does not exist; write primary, primaryPreferred, secondary, secondaryPreferred or nearest [not-one-of]` + "\n" + `warning: has the option "readPrefrence"`,
	} {
		uri := options
		if !strings.Contains(uri, "://") {
			uri = "mongodb://h/?" + options
		}
		if _, err := parseURI(uri); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
		var lines []string
		for _, p := range checkOptions(uri) {
			line := string(p.severity) + ": " + p.message
			if p.hint != "" {
				line += "; " + p.hint
			}
			lines = append(lines, fmt.Sprintf("%s [%s]", line, p.code))
		}
		got := strings.Join(lines, "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "s3cret") {
			t.Errorf("%s: %q; want %q", options, got, want)
		}
	}
}

// TestKnownOptions holds the list to the driver.
func TestKnownOptions(t *testing.T) {
	for _, name := range knownOptions {
		// What the driver does not accept as a value it knows by name.
		if parsed, err := connstring.Parse("mongodb://h/?" + name + "=x"); err == nil && len(parsed.UnknownOptions) > 0 {
			t.Errorf("%s is not known to the driver", name)
		}
	}
	for _, name := range harmless {
		if parsed, err := connstring.Parse("mongodb://h/?" + name + "=1"); err != nil || len(parsed.UnknownOptions) == 0 {
			t.Errorf("%s is known to the driver: %v", name, err)
		}
	}
}

// TestOptionsAreReported checks the place and the code of a report.
func TestOptionsAreReported(t *testing.T) {
	n := &spec.Node{Kind: spec.Map, Entries: []spec.Entry{
		{Name: "uri", Value: &spec.Node{Text: "mongodb://h/?readPreference=bogus&readPrefrence=x", Pos: spec.Pos{Source: "f", Line: 3, Column: 7}}},
		{Name: "database", Value: &spec.Node{Text: "db"}},
	}}
	diags := spec.Decode(n, Plugin().Config(), "source", "mongo")
	if got := diags.Error(); len(diags) != 2 || !strings.HasPrefix(got, "f:3:7: error: source.mongo.uri has a readPreference that does not exist") || !strings.Contains(got, "f:3:7: warning: source.mongo.uri has the option") {
		t.Error(got)
	}
}

// member is what a member of a replica set says of itself.
func member(addr, set string, kind string, tags bson.D) bson.D {
	if tags == nil {
		tags = bson.D{}
	}
	return bson.D{
		{Key: "setName", Value: set}, {Key: "hosts", Value: bson.A{addr}}, {Key: "me", Value: addr}, {Key: "tags", Value: tags},
		{Key: "ismaster", Value: kind == "primary"}, {Key: "isWritablePrimary", Value: kind == "primary"}, {Key: "secondary", Value: kind == "secondary"},
		{Key: "arbiterOnly", Value: kind == "arbiter"},
		{Key: "maxBsonObjectSize", Value: 16 << 20}, {Key: "maxMessageSizeBytes", Value: 48000000}, {Key: "maxWriteBatchSize", Value: 100000},
		{Key: "minWireVersion", Value: 0}, {Key: "maxWireVersion", Value: 25}, {Key: "ok", Value: 1},
		{Key: "lastWrite", Value: bson.D{{Key: "lastWriteDate", Value: bson.NewDateTimeFromTime(time.Now())}}},
	}
}

// TestServersThatDoNotMatch: what the connection string asks for and no server is, is named as such.
func TestServersThatDoNotMatch(t *testing.T) {
	for _, c := range []struct {
		name, options string
		hello         func(addr string) bson.D // nil: a standalone
		want          string                   // ADDR is the server; empty: it connects
		unavailable   bool
	}{
		{"another replica set", "replicaSet=wrong", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "source.mongo.uri wants replicaSet=wrong, but ADDR is of replica set rs0", false},
		{"another replica set's secondary", "replicaSet=wrong&readPreference=nearest", func(a string) bson.D { return member(a, "rs0", "secondary", nil) }, "wants replicaSet=wrong, but ADDR is of replica set rs0", false},
		{"another replica set, directly", "replicaSet=wrong&directConnection=true", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "wants replicaSet=wrong, but ADDR is of replica set rs0", false},
		{"in other case", "replicaSet=RS0", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "wants replicaSet=RS0, but ADDR is of replica set rs0", false},
		{"no replica set", "replicaSet=rs0", nil, "wants replicaSet=rs0, but ADDR is a server of no replica set", false},
		{"a mongos", "replicaSet=rs0", func(a string) bson.D {
			return append(member(a, "", "primary", nil)[3:], bson.E{Key: "msg", Value: "isdbgrid"})
		}, "but ADDR is a mongos, which is of no replica set", false},
		{"no secondary", "readPreference=secondary", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "no server matches readPreference=secondary: ADDR is the primary", true},
		{"no primary", "", func(a string) bson.D { return member(a, "rs0", "secondary", nil) }, "no server matches readPreference=primary: ADDR is a secondary", true},
		{"other tags", "readPreference=nearest&readPreferenceTags=dc:ny", func(a string) bson.D { return member(a, "rs0", "primary", bson.D{{Key: "dc", Value: "sf"}}) }, "no server matches readPreference=nearest&readPreferenceTags=dc:ny: ADDR is the primary with tags dc:sf", true},
		{"an arbiter", "readPreference=nearest", func(a string) bson.D { return member(a, "rs0", "arbiter", nil) }, "ADDR is a member that holds no data", true},
		{"the right replica set", "replicaSet=rs0", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "", false},
		{"the right tags", "readPreference=nearest&readPreferenceTags=dc:ny&readPreferenceTags=", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "", false},
		{"a secondary on a standalone", "readPreference=secondary", nil, "", false},
		{"preferred only", "readPreference=secondaryPreferred", func(a string) bson.D { return member(a, "rs0", "primary", nil) }, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newStub(t)
			if c.hello != nil {
				server.intercept = func(name string, _ bson.Raw) (bson.D, bool) {
					if name == "hello" || strings.EqualFold(name, "ismaster") {
						return c.hello(server.addr()), false
					}
					return nil, false
				}
			}
			cfg := defaults()
			cfg.URI, cfg.Database, cfg.ConnectTimeout = spec.Secret("mongodb://"+server.addr()+"/?"+c.options), "db", 300*time.Millisecond
			src, err := open(t.Context(), cfg, syncd.Env{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := src.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			want := strings.ReplaceAll(c.want, "ADDR", server.addr())
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(syncd.HintOf(err), "source.mongo.uri") || errors.Is(err, syncd.ErrUnavailable) != c.unavailable {
				t.Errorf("%v; hint %q; want %q", err, syncd.HintOf(err), want)
			}
		})
	}
}
