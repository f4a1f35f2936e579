package mongo

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/syncd-io/syncd/spec"
)

// knownOptions are the driver's options of a connection string, to be proposed for what is misspelt. Which there are decides
// the driver; a test holds the two together.
var knownOptions = []string{
	"appName", "authMechanism", "authMechanismProperties", "authSource", "compressors", "connect", "connectTimeoutMS",
	"directConnection", "enableOverloadRetargeting", "heartbeatFrequencyMS", "journal", "loadBalanced", "localThresholdMS",
	"maxAdaptiveRetries", "maxConnecting", "maxIdleTimeMS", "maxPoolSize", "maxStalenessSeconds", "minPoolSize", "readConcernLevel",
	"readPreference", "readPreferenceTags", "replicaSet", "retryReads", "retryWrites", "serverMonitoringMode",
	"serverSelectionTimeoutMS", "socketTimeoutMS", "srvMaxHosts", "srvServiceName", "ssl", "timeoutMS", "tls", "tlsCAFile",
	"tlsCertificateFile", "tlsCertificateKeyFile", "tlsCertificateKeyFilePassword", "tlsDisableCertificateRevocationCheck",
	"tlsDisableOCSPEndpointCheck", "tlsInsecure", "tlsPrivateKeyFile", "w", "zlibCompressionLevel", "zstdCompressionLevel",
}

// harmless are options of other drivers that change nothing about reading: a connection string may be shared with programs in
// other languages.
var harmless = []string{
	"wtimeout", "wtimeoutms", "uuidrepresentation", "waitqueuetimeoutms", "waitqueuemultiple", "maxlifetimems", "serverselectiontryonce",
}

// elsewhere are options of other drivers, and what does the same here.
var elsewhere = map[string]string{
	"tlsallowinvalidcertificates": "set tlsInsecure=true, or source.mongo.tls.insecure_skip_verify",
	"tlsallowinvalidhostnames":    "set source.mongo.tls.server_name",
	"slaveok":                     "set readPreference",
	"readconcern":                 "set readConcernLevel",
	"gssapiservicename":           "set authMechanismProperties=SERVICE_NAME:…",
	"proxyhost":                   "this driver connects without a proxy",
	"proxyport":                   "this driver connects without a proxy",
	"proxyusername":               "this driver connects without a proxy",
	"proxypassword":               "this driver connects without a proxy",
}

// synonyms are two names of one option.
var synonyms = map[string]string{"maxstaleness": "maxstalenessseconds", "heartbeatintervalms": "heartbeatfrequencyms"}

// fileOptions name files, which a check of a configuration does not read.
var fileOptions = []string{
	"tlscafile", "sslcertificateauthorityfile", "tlscertificatekeyfile", "sslclientcertificatekeyfile", "tlscertificatefile",
	"tlsprivatekeyfile", "tlscertificatekeyfilepassword", "sslclientcertificatekeypassword",
}

// What the server selection specification of MongoDB's drivers says of maxStalenessSeconds and heartbeatFrequencyMS.
const (
	leastStaleness   = 90 * time.Second
	idleWrites       = 10 * time.Second
	defaultHeartbeat = 10 * time.Second
	leastHeartbeat   = 500 * time.Millisecond
)

var readConcernLevels = []string{"local", "available", "majority", "linearizable", "snapshot"}

// optionProblem is what is wrong with an option of a connection string. It quotes no value: an option may be the end of a
// password that nobody encoded.
type optionProblem struct {
	severity spec.Severity
	code     spec.Code
	message  string // goes on from "source.mongo.uri "
	hint     string
}

// checkOptions finds what the driver or a server will refuse, or take no notice of, in a connection string that parseURI accepts.
func checkOptions(uri string) []optionProblem {
	parsed, err := connstring.Parse(offline(uri))
	if err != nil {
		return nil // which parseURI has said
	}
	var found []optionProblem
	refuse := func(code spec.Code, hint, format string, args ...any) {
		found = append(found, optionProblem{spec.Error, code, fmt.Sprintf(format, args...), hint})
	}
	found = append(found, repeatedOptions(parsed)...)
	mode, err := readpref.ModeFromString(parsed.ReadPreference)
	choosy := ""
	switch {
	case len(parsed.ReadPreferenceTagSets) > 0:
		choosy = "readPreferenceTags"
	case parsed.MaxStalenessSet:
		choosy = "maxStalenessSeconds"
	}
	heartbeat := defaultHeartbeat
	if parsed.HeartbeatIntervalSet {
		heartbeat = parsed.HeartbeatInterval
	}
	const modes = "primary, primaryPreferred, secondary, secondaryPreferred or nearest"
	switch {
	case parsed.ReadPreference == "" && choosy != "":
		refuse(spec.CodeBadValue, "add readPreference=nearest, say", "has %s, which needs readPreference", choosy)
	case parsed.ReadPreference != "" && err != nil:
		refuse(spec.CodeNotOneOf, "write "+modes, "has a readPreference that does not exist")
	case mode == readpref.PrimaryMode && (len(parsed.ReadPreferenceTagSets) > 0 || parsed.MaxStaleness > 0):
		refuse(spec.CodeContradiction, "remove it, or choose another readPreference", "has %s, which readPreference=primary excludes", choosy)
	case parsed.MaxStaleness > 0 && parsed.MaxStaleness < max(leastStaleness, heartbeat+idleWrites):
		refuse(spec.CodeOutOfRange, "", "has maxStalenessSeconds=%.f; it must be at least %.f, and 10 seconds more than heartbeatFrequencyMS",
			parsed.MaxStaleness.Seconds(), leastStaleness.Seconds())
	}
	if parsed.HeartbeatIntervalSet && heartbeat < leastHeartbeat {
		refuse(spec.CodeOutOfRange, "", "has heartbeatFrequencyMS=%d; it must be at least %d", heartbeat.Milliseconds(), leastHeartbeat.Milliseconds())
	}
	if parsed.MaxPoolSizeSet && parsed.MaxPoolSize != 0 && parsed.MinPoolSize > parsed.MaxPoolSize {
		refuse(spec.CodeContradiction, "", "has minPoolSize=%d, more than maxPoolSize=%d", parsed.MinPoolSize, parsed.MaxPoolSize)
	}
	if level := parsed.ReadConcernLevel; level != "" && !slices.Contains(readConcernLevels, level) {
		refuse(spec.CodeNotOneOf, "write "+strings.Join(readConcernLevels, ", "), "has a readConcernLevel that does not exist")
	}
	if strings.HasPrefix(uri, schemeSRV) {
		if err := checkSRV(uri, parsed); err != nil {
			refuse(spec.CodeContradiction, "", "can't be used: %v", err)
		}
	}
	if len(found) == 0 {
		if err := askDriver(uri); err != nil {
			refuse(spec.CodeBadValue, "", "is refused by MongoDB's driver: %v", err)
		}
	}
	return append(found, ignoredOptions(uri, parsed)...)
}

// offline is a connection string as a mongodb:// one, without the options that only mongodb+srv:// takes and some others: of a
// mongodb+srv:// one the driver would ask DNS.
func offline(uri string, without ...string) string {
	rest, srv := strings.CutPrefix(uri, schemeSRV)
	if srv {
		without = append(without, "srvmaxhosts", "srvservicename")
	}
	rest = strings.TrimPrefix(rest, schemePlain)
	info := ""
	if i := strings.LastIndex(rest, "@"); i >= 0 {
		info, rest = rest[:i+1], rest[i+1:]
	}
	return schemePlain + info + withoutOptions(rest, without...)
}

// askDriver has the driver make of a connection string what it needs to connect.
func askDriver(uri string) error {
	opts := options.Client().ApplyURI(offline(uri, fileOptions...))
	err := opts.Validate()
	if err == nil {
		_, err = topology.NewConfig(opts, nil)
	}
	if err != nil {
		return newScrubber(uri).scrub(err)
	}
	return nil
}

// checkSRV checks what offline has left out.
func checkSRV(uri string, parsed *connstring.ConnString) error {
	srv, given := *parsed, uriOptions(uri)
	srv.Scheme = connstring.SchemeMongoDBSRV
	if n, there := given["srvmaxhosts"]; there {
		var err error
		if srv.SRVMaxHosts, err = strconv.Atoi(n); err != nil || srv.SRVMaxHosts < 0 {
			return errors.New("srvMaxHosts must be a whole number of at least 0")
		}
	}
	if name, there := given["srvservicename"]; there && (name == "" || len(name) > 62) {
		return errors.New("srvServiceName must have 1 to 62 characters")
	}
	return srv.Validate()
}

// repeatedOptions finds options that stand there twice and differ: the driver takes the last.
func repeatedOptions(parsed *connstring.ConnString) []optionProblem {
	values := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(parsed.Options)) {
		as := name
		if other, there := synonyms[name]; there {
			as = other
		}
		values[as] = append(values[as], parsed.Options[name]...)
	}
	var found []optionProblem
	for _, name := range slices.Sorted(maps.Keys(values)) {
		_, unknown := parsed.UnknownOptions[name]
		if all := values[name]; name != "readpreferencetags" && !unknown && slices.ContainsFunc(all, func(v string) bool { return v != all[0] }) {
			found = append(found, optionProblem{spec.Error, spec.CodeContradiction, "has " + written(name) + " more than once, with different values", "keep one"})
		}
	}
	return found
}

// ignoredOptions warns of options and values that the driver takes no notice of.
func ignoredOptions(uri string, parsed *connstring.ConnString) []optionProblem {
	var found []optionProblem
	warn := func(hint, format string, args ...any) {
		found = append(found, optionProblem{spec.Warning, spec.CodeNoEffect, fmt.Sprintf(format, args...), hint})
	}
	_, query, _ := strings.Cut(uri, "?")
	for i, arg := range strings.FieldsFunc(query, isOptionSeparator) {
		name, _, _ := strings.Cut(arg, "=")
		folded := strings.ToLower(name)
		if _, unknown := parsed.UnknownOptions[folded]; !unknown || slices.Contains(harmless, folded) {
			continue
		}
		const noEffect = "which MongoDB's driver does not know, so that it has no effect"
		near := spec.Nearest(name, knownOptions)
		switch instead := elsewhere[folded]; {
		case instead != "":
			warn(instead, "has the option %s, %s", name, noEffect)
		case near != "":
			warn(fmt.Sprintf("did you mean %q?", near), "has the option %q, %s", name, noEffect)
		default: // its name is not shown: where a password was not encoded, it may be a part of that
			warn("remove it, unless it is a part of a value, in which & is written %26", "has an option, its %s, %s", ordinal(i+1), noEffect)
		}
	}
	for _, c := range parsed.Compressors {
		if !slices.Contains([]string{"snappy", "zlib", "zstd"}, c) {
			warn("write snappy, zlib or zstd", "has a compressor that MongoDB's driver does not know, so that it is not used")
		}
	}
	return found
}

// written is how an option is written, by its name in lower case.
func written(folded string) string {
	if i := slices.IndexFunc(knownOptions, func(name string) bool { return strings.EqualFold(name, folded) }); i >= 0 {
		return knownOptions[i]
	}
	return folded
}

func ordinal(n int) string {
	suffix := "th"
	if tens := n % 100; tens < 11 || tens > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}
