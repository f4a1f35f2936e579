package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/syncd-io/syncd"
)

// Codes of errors that streams have (src/mongo/base/error_codes.yml).
const (
	codeBadValue           = 2
	codeFailedToParse      = 9
	codeIllegalOperation   = 20
	codeNamespaceNotFound  = 26
	codeNoMatchingDocument = 47    // an image is required, and not there
	codeInvalidOptions     = 72    // a read concern that is not majority
	codeCappedPositionLost = 136   // also Amazon DocumentDB's, where streams are not turned on
	codeInvalidResumeToken = 260   // malformed
	codeStreamFatal        = 280   // ChangeStreamFatalError: what the token names was not found where it should be
	codeStreamHistoryLost  = 286   // ChangeStreamHistoryLost: older than the oplog
	codeShardRemoved       = 464   // ChangeStreamInvalidated, by the removal of a shard
	codeEventTooLarge      = 10334 // BSONObjectTooLarge
	codeUnknownOption      = 40415
	codeStandalone         = 40573 // $changeStream is only supported on replica sets
	codeKeyStringDamaged   = 50811 // a token whose bytes make no sense
)

const labelNotResumable = "NonResumableChangeStreamError"

// decidedCodes say by themselves what is the matter, so that there is no point in asking in another way.
var decidedCodes = []int{
	codeUnauthorized, codeAuthenticationFailed, codeAtlas, codeNamespaceNotFound, codeNoMatchingDocument, codeInvalidOptions,
	codeInvalidResumeToken, codeStreamFatal, codeStreamHistoryLost, codeShardRemoved, codeEventTooLarge, codeStandalone,
	codeKeyStringDamaged,
}

// meaning is what an error of a stream asks for.
type meaning uint8

const (
	isFinal    meaning = iota
	isPassing          // open the stream again behind the last place
	isDoubtful         // the same, once
	isLost             // the place can't be read from any more
	isLarge            // the next event is too large
	isAbsent           // what is to be followed is not there yet
	isRefused          // the server refuses to open the stream there: the place may be at fault, or the stream
)

// meaningOf tells what to do about err. opened says that the stream was open: what is refused to one that opens is another matter.
func meaningOf(err error, opened bool) meaning {
	labelled := false
	if le, ok := errors.AsType[mongodriver.LabeledError](err); ok {
		labelled = le.HasErrorLabel(labelNotResumable)
	}
	switch {
	case isAuthentication(err) || hasCode(err, codeUnauthorized):
		return isFinal
	case hasCode(err, codeStreamHistoryLost, codeShardRemoved):
		return isLost
	case hasCode(err, codeInvalidResumeToken, codeKeyStringDamaged):
		if opened {
			return isDoubtful
		}
		return isLost
	case hasCode(err, codeEventTooLarge):
		return isLarge
	case hasCode(err, codeStreamFatal):
		return isDoubtful
	case hasCode(err, codeNamespaceNotFound):
		return isAbsent
	case hasCode(err, codeNoMatchingDocument, codeInvalidOptions, codeStandalone):
		return isFinal
	case labelled:
		return isDoubtful
	case errors.Is(err, errTorn), errors.Is(err, errEnded):
		return isPassing
	case isTransient(err):
		return isPassing
	case isServerRefusal(err) && !opened:
		return isRefused
	}
	return isFinal
}

// positionError marks an error that says that a place is lost.
type positionError struct{ cause error }

func (e positionError) Error() string   { return e.cause.Error() }
func (e positionError) Unwrap() []error { return []error{syncd.ErrPositionLost, e.cause} }

// followError is explain for what happens to a stream, and says which one it was.
func (s *source) followError(ctx context.Context, st syncd.Stream, err error) error {
	return followingWhat(st, s.explainStream(ctx, st, err))
}

func (s *source) explainStream(ctx context.Context, st syncd.Stream, err error) error {
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	clean := s.scrub.scrub(err)
	because := func(why string) error { return fmt.Errorf("%s: %w", why, clean) }
	switch {
	case errors.Is(err, syncd.ErrPositionLost):
		return because(syncd.ErrPositionLost.Error())
	case isAuthentication(err) || errors.Is(err, syncd.ErrUnavailable):
	case errors.Is(err, errNoPosition):
		return syncd.Hint(err, everyInstead)
	case hasCode(err, codeUnauthorized) && s.target.user != "":
		on := ""
		if name, one := strings.CutPrefix(st.Name, onCollection); one {
			on = name
		}
		return syncd.Hint(because("not authorized to follow"+s.asUser()),
			`give the user the role "read" on database %s, or the actions find and changeStream on {db: %q, collection: %q}`, s.cfg.Database, s.cfg.Database, on)
	case hasCode(err, codeStandalone):
		return syncd.Hint(because("only replica sets and sharded clusters have change streams, and this server is a standalone one"),
			"make it a replica set, of one member if need be: start mongod with --replSet, and call rs.initiate(); or "+everyInstead)
	case hasCode(err, codeNoMatchingDocument):
		return syncd.Hint(because("a document's image, which is required, is not there"),
			"turn changeStreamPreAndPostImages on for the collection (collMod), keep images for longer than this stream may lag behind, or set %s: %s",
			s.requiredSetting(), whenAvailable)
	case hasCode(err, codeInvalidOptions):
		return syncd.Hint(because("the server refuses the read concern of a change stream"),
			"remove enableMajorityReadConcern: false from the server's configuration")
	case hasCode(err, codeUnknownOption) || s.imagesAsked() && hasCode(err, codeBadValue, codeFailedToParse):
		return syncd.Hint(because("the server does not know an option of the stream"), "%s", s.imagesHint())
	case hasCode(err, codeCappedPositionLost): // again and again, for a new stream too, which has no position to lose
		return syncd.Hint(because("the server opens no change stream"),
			`on Amazon DocumentDB, turn change streams on for the database: db.adminCommand({modifyChangeStreams: 1, database: %q, collection: "", enable: true}); or `+everyInstead, s.cfg.Database)
	case isServerRefusal(err):
		return syncd.Hint(because("the server refuses to open a change stream"),
			"only replica sets and sharded clusters of MongoDB have them, and few of the servers that are made like it; for others, "+everyInstead)
	}
	return s.explain(ctx, err)
}

const everyInstead = "fill again and again instead: without run.follow, run with --every 15m"

func (s *source) imagesAsked() bool {
	return s.cfg.Stream.FullDocument != fullLookup || s.cfg.Stream.Before != beforeOff
}

// imagesHint names the settings whose options old servers don't know.
func (s *source) imagesHint() string {
	var names []string
	if full := s.cfg.Stream.FullDocument; full != fullLookup {
		names = append(names, settingFull+": "+full)
	}
	if before := s.cfg.Stream.Before; before != beforeOff {
		names = append(names, settingBefore+": "+before)
	}
	if names == nil {
		return "change streams as they are used here need MongoDB 4.4 or newer; for others, " + everyInstead
	}
	return "remove " + strings.Join(names, " and ") + ", which needs MongoDB 6.0 or newer"
}

const (
	settingFull   = "source.mongo.stream.full_document"
	settingBefore = "source.mongo.stream.before"
)

func (s *source) requiredSetting() string {
	if s.cfg.Stream.Before == required {
		return settingBefore
	}
	return settingFull
}

// recognised refuses what is known, by its hosts' names, not to tell all changes, and would not say so.
func (s *source) recognised() error {
	for host := range strings.SplitSeq(s.target.hosts, ",") {
		host, _, _ = strings.Cut(strings.ToLower(host), ":")
		if strings.HasSuffix(host, ".mongo.cosmos.azure.com") || strings.HasSuffix(host, ".documents.azure.com") {
			return syncd.Hint(errors.New("the change streams of Azure Cosmos DB for MongoDB (RU) tell nothing of deleted documents"), everyInstead)
		}
	}
	return nil
}
