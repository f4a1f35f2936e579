package change

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Where a sandbox listens unless it is told otherwise.
const (
	MongoAddr  = "127.0.0.1:37017"
	QdrantAddr = "127.0.0.1:36334"
	KafkaAddr  = "127.0.0.1:39092"
	EmbedAddr  = "127.0.0.1:38080"
)

// Usage describes the commands.
const Usage = `  sandbox add COLLECTION [N]       insert N documents (1): missing in the index until they are sent
  sandbox change COLLECTION [N]    give the first N documents another title and updatedAt: stale
  sandbox delete COLLECTION [N]    delete the last N documents: orphans in the index
  sandbox lose COLLECTION [N]      delete the last chunk of N documents from the index: partial
`

type verb struct {
	did, now string
	do       func(Data, context.Context, string, int) ([]any, error)
}

var verbs = map[string]verb{
	"add":    {"Added", "missing", Data.Add},
	"change": {"Changed", "stale", Data.Change},
	"delete": {"Deleted", "an orphan, as far as it was indexed", Data.Delete},
	"lose":   {"Deleted the last chunk of", "partial", Data.Lose},
}

// Is reports whether Command has a command of that name.
func Is(name string) bool { return verbs[name].do != nil }

// shown is how many ids are named at most.
const shown = 5

// Command does what the arguments say to the sandbox that flags, or else the variables MONGODB_URI, QDRANT_URL and
// QDRANT_COLLECTION, name, or else to the usual one.
func Command(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("sandbox "+args[0], flag.ContinueOnError)
	f.SetOutput(out)
	d := Data{}
	f.StringVar(&d.Mongo, "mongo", cmp.Or(os.Getenv("MONGODB_URI"), "mongodb://"+MongoAddr), "the connection string of the sandbox's MongoDB")
	f.StringVar(&d.Qdrant, "qdrant", cmp.Or(os.Getenv("QDRANT_URL"), QdrantAddr), "the address of the sandbox's Qdrant")
	f.StringVar(&d.Collection, "index", cmp.Or(os.Getenv("QDRANT_COLLECTION"), "pms_collection"), "the collection in Qdrant")
	if err := f.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	collection, n := f.Arg(0), 1
	if collection == "" || f.NArg() > 2 {
		return fmt.Errorf("which collection? for example: sandbox %s workItem 3", args[0])
	}
	if text := f.Arg(1); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 {
			return fmt.Errorf("how many? %q is not a number of documents", text)
		}
	}
	v := verbs[args[0]]
	done, err := v.do(d, ctx, collection, n)
	if err != nil {
		if mongo.IsTimeout(err) || mongo.IsNetworkError(err) || status.Code(err) == codes.Unavailable {
			err = fmt.Errorf("%w\nis the sandbox up? make sandbox starts it; of one on other ports set MONGODB_URI and QDRANT_URL", err)
		}
		return err
	}
	fmt.Fprintf(out, "%s %d of %s; each is now %s:\n", v.did, len(done), collection, v.now)
	for i, id := range done {
		if i == shown {
			fmt.Fprintf(out, "  and %d more\n", len(done)-shown)
			break
		}
		fmt.Fprintf(out, "  %s\n", Text(id))
	}
	return nil
}
