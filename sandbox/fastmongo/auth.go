package fastmongo

import (
	"context"
	"errors"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

const (
	mechanism    = "SCRAM-SHA-256"
	authDatabase = "admin"
	iterations   = 4096 // the least that drivers accept; logging in is not what tests wait for
)

// authenticator knows the one user.
type authenticator struct{ server *scram.Server }

func newAuthenticator(user, password string) (*authenticator, error) {
	client, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		return nil, err
	}
	stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "fastmongo's salt", Iters: iterations})
	if err != nil {
		return nil, err
	}
	s, err := scram.SHA256.NewServer(func(name string) (scram.StoredCredentials, error) {
		if name != user {
			return scram.StoredCredentials{}, errors.New("no such user")
		}
		return stored, nil
	})
	return &authenticator{s}, err
}

// login is how far a connection has come.
type login struct {
	conversation *scram.ServerConversation
	done         bool
}

var errLogin = fail(18, "Authentication failed.")

func saslStart(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if m, _ := lookup(r.body, "mechanism").StringValueOK(); c.server.auth == nil || m != mechanism || r.db != authDatabase {
		return dst, errLogin
	}
	c.login = login{conversation: c.server.auth.server.NewConversation()}
	return c.saslStep(r, dst)
}

func saslContinue(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if c.login.conversation == nil {
		return dst, fail(17, "No SASL session state found")
	}
	return c.saslStep(r, dst)
}

func (c *conn) saslStep(r *request, dst []byte) ([]byte, error) {
	payload := lookup(r.body, "payload")
	if payload.Type != bsoncore.TypeBinary {
		return dst, errLogin
	}
	_, challenge := payload.Binary()
	if len(challenge) == 0 && c.login.done { // the empty exchange of clients that do not skip it
		return reply(dst, bson.D{{Key: "conversationId", Value: 1}, {Key: "done", Value: true}, {Key: "payload", Value: []byte{}}, fine})
	}
	answer, err := c.login.conversation.Step(string(challenge))
	if err != nil {
		c.login = login{}
		return dst, errLogin
	}
	c.login.done = c.login.conversation.Valid()
	return reply(dst, bson.D{{Key: "conversationId", Value: 1}, {Key: "done", Value: c.login.done}, {Key: "payload", Value: []byte(answer)}, fine})
}
