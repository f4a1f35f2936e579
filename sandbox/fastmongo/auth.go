package fastmongo

import (
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"maps"
	"slices"

	"github.com/xdg-go/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

const (
	sha256Mechanism = "SCRAM-SHA-256"
	sha1Mechanism   = "SCRAM-SHA-1"
	x509Mechanism   = "MONGODB-X509"

	authDatabase     = "admin"
	externalDatabase = "$external"

	iterations = 4096 // the least that drivers accept; logging in is not what tests wait for
)

// authenticator knows the user with a password, if there is one, for each mechanism.
type authenticator struct{ servers map[string]*scram.Server }

func newAuthenticator(user, password string) (*authenticator, error) {
	a := &authenticator{servers: map[string]*scram.Server{}}
	if user == "" {
		return a, nil
	}
	// For SCRAM-SHA-1 MongoDB's password is this digest (driver specification "Authentication", SCRAM-SHA-1).
	digest := md5.Sum([]byte(user + ":mongo:" + password))
	for name, m := range map[string]struct {
		hash     scram.HashGeneratorFcn
		password string
	}{sha256Mechanism: {scram.SHA256, password}, sha1Mechanism: {scram.SHA1, hex.EncodeToString(digest[:])}} {
		client, err := m.hash.NewClient(user, m.password, "")
		if err != nil {
			return nil, err
		}
		stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "fastmongo's salt", Iters: iterations})
		if err != nil {
			return nil, err
		}
		a.servers[name], err = m.hash.NewServer(func(name string) (scram.StoredCredentials, error) {
			if name != user {
				return scram.StoredCredentials{}, errors.New("no such user")
			}
			return stored, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *authenticator) mechanisms() []string { return slices.Sorted(maps.Keys(a.servers)) }

// login is how far a connection has come, and as whom.
type login struct {
	conversation *scram.ServerConversation
	done         bool
	user, db     string
}

var errLogin = fail(18, "Authentication failed.")

func saslStart(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	if c.server.auth == nil || r.db != authDatabase {
		return dst, errLogin
	}
	m, _ := lookup(r.body, "mechanism").StringValueOK()
	server, ok := c.server.auth.servers[m]
	if !ok {
		return dst, errLogin
	}
	c.login = login{conversation: server.NewConversation()}
	return c.saslStep(r, dst)
}

// authenticate logs in the one user that a certificate stands for. That it is genuine, TLS has made sure of.
func authenticate(_ context.Context, c *conn, r *request, dst []byte) ([]byte, error) {
	m, _ := lookup(r.body, "mechanism").StringValueOK()
	secure, ok := c.net.(*tls.Conn)
	if m != x509Mechanism || r.db != externalDatabase || !ok || c.server.cfg.Subject == "" {
		return dst, errLogin
	}
	shown := secure.ConnectionState().VerifiedChains
	if len(shown) == 0 {
		return dst, fail(18, "No verified subject name available from client")
	}
	subject := shown[0][0].Subject.String()
	if asked, given := lookup(r.body, "user").StringValueOK(); subject != c.server.cfg.Subject || given && asked != subject {
		return dst, fail(18, "Could not find user %q for db %q", subject, externalDatabase)
	}
	c.login = login{done: true, user: subject, db: externalDatabase}
	return reply(dst, bson.D{{Key: "dbname", Value: externalDatabase}, {Key: "user", Value: subject}, fine})
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
	if c.login.done = c.login.conversation.Valid(); c.login.done {
		c.login.user, c.login.db = c.server.cfg.User, authDatabase
	}
	return reply(dst, bson.D{{Key: "conversationId", Value: 1}, {Key: "done", Value: c.login.done}, {Key: "payload", Value: []byte(answer)}, fine})
}
