// Command benthos is Benthos with what it needs to copy a MongoDB collection to Kafka, as of the last version whose components
// were all under the MIT licence. It is a module of its own, so that it is built with the libraries it was released with.
package main

import (
	"context"

	"github.com/benthosdev/benthos/v4/public/service"

	_ "github.com/benthosdev/benthos/v4/public/components/kafka"
	_ "github.com/benthosdev/benthos/v4/public/components/mongodb"
	_ "github.com/benthosdev/benthos/v4/public/components/pure"
)

func main() { service.RunCLI(context.Background()) }
