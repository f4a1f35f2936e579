package mongo

// Why a question was asked again, for people and for counting.
const (
	retryNetwork   = "network"
	retryNoServer  = "no usable server"
	retryTimeout   = "timeout"
	retryPrimary   = "not primary"
	retryShutdown  = "shutting down"
	retryCursor    = "cursor lost"
	retryMoved     = "data moved"
	retrySnapshot  = "snapshot gone"
	retryThrottled = "throttled"
	retryKilled    = "interrupted"
	retryOther     = "other"
)

// transientCodes are errors of a server or a cursor that another attempt can be spared from, each with the reason that is
// told. They are those that the driver repeats a read for (retryableCodes, and notPrimaryCodes, in x/mongo/driver/errors.go)
// or resumes a change stream after (resumableChangeStreamErrors in mongo/change_stream.go), and of the server's own list
// (src/mongo/base/error_codes.yml) what a read can meet in the categories RetriableError, NetworkError, NotPrimaryError,
// ShutdownError, CursorInvalidatedError, SnapshotError, StaleShardVersionError, ExceededTimeLimitError and
// SystemOverloadedError. Cosmos DB's are in its manual, "Prevent rate-limiting errors".
var transientCodes = map[int]string{
	6:        retryNetwork,   // HostUnreachable
	7:        retryNetwork,   // HostNotFound
	24:       retryTimeout,   // LockTimeout
	43:       retryCursor,    // CursorNotFound: timed out, killed, or its server is gone
	50:       retryTimeout,   // MaxTimeMSExpired; Cosmos DB's ExceededTimeLimit, of a request that it throttled for a minute
	63:       retryMoved,     // StaleShardVersion
	89:       retryNetwork,   // NetworkTimeout
	91:       retryShutdown,  // ShutdownInProgress
	133:      retryNoServer,  // FailedToSatisfyReadPreference
	134:      retrySnapshot,  // ReadConcernMajorityNotAvailableYet
	136:      retryCursor,    // CappedPositionLost
	143:      retryCursor,    // CursorInUse: by a request whose connection was cut
	150:      retryMoved,     // StaleEpoch
	175:      retryCursor,    // QueryPlanKilled: an index or a chunk moved under the query
	189:      retryPrimary,   // PrimarySteppedDown
	202:      retryTimeout,   // NetworkInterfaceExceededTimeLimit
	206:      retryCursor,    // NoSuchSession
	234:      retryCursor,    // RetryChangeStream
	237:      retryCursor,    // CursorKilled
	239:      retrySnapshot,  // SnapshotTooOld
	246:      retrySnapshot,  // SnapshotUnavailable
	249:      retryMoved,     // StaleDbVersion
	250:      retryMoved,     // StaleChunkHistory
	262:      retryTimeout,   // ExceededTimeLimit
	272:      retryMoved,     // MigrationConflict
	314:      retryCursor,    // ObjectIsBusy
	317:      retryNetwork,   // ConnectionPoolExpired
	355:      retryKilled,    // InterruptedDueToStorageChange
	365:      retryThrottled, // TemporarilyUnavailable
	384:      retryNetwork,   // ConnectionError
	402:      retryThrottled, // ResourceExhausted
	407:      retryTimeout,   // PooledConnectionAcquisitionExceededTimeLimit
	433:      retryThrottled, // AdmissionQueueOverflow
	449:      retryThrottled, // RateLimitExceeded
	450:      retryThrottled, // PooledConnectionAcquisitionRejected
	453:      retryMoved,     // InterruptedDueToReshardingCriticalSection
	462:      retryThrottled, // IngressRequestRateLimitExceeded
	9001:     retryNetwork,   // SocketException
	10058:    retryPrimary,   // LegacyNotPrimary
	10107:    retryPrimary,   // NotWritablePrimary
	11600:    retryShutdown,  // InterruptedAtShutdown
	11601:    retryKilled,    // Interrupted
	11602:    retryPrimary,   // InterruptedDueToReplStateChange
	13388:    retryMoved,     // StaleConfig
	13435:    retryPrimary,   // NotPrimaryNoSecondaryOk
	13436:    retryPrimary,   // NotPrimaryOrSecondary
	16500:    retryThrottled, // Cosmos DB's TooManyRequests
	56846:    retryNoServer,  // ConfigServerUnreachable
	91331:    retryKilled,    // RetriableRemoteCommandFailure
	10045600: retryKilled,    // InterruptedDueToFCVChange
}

// lostCursorCodes are those of them that end one cursor or session and say nothing against the server.
var lostCursorCodes = []int{
	43,  // CursorNotFound
	136, // CappedPositionLost
	175, // QueryPlanKilled
	206, // NoSuchSession
	237, // CursorKilled
}
