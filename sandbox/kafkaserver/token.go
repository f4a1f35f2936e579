package kafkaserver

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// bearer finds the token in a client's first message (RFC 7628, section 3.1).
var bearer = regexp.MustCompile("\x01auth=Bearer ([^\x01]*)\x01")

// acceptTokens answers SASL/OAUTHBEARER, which kfake doesn't know.
func acceptTokens(cluster *kfake.Cluster, accept func(token string) bool) {
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{"OAUTHBEARER"}
		if req.(*kmsg.SASLHandshakeRequest).Mechanism != "OAUTHBEARER" {
			resp.ErrorCode = kerr.UnsupportedSaslMechanism.Code
		}
		return resp, nil, true
	})
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		found := bearer.FindSubmatch(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		if found == nil || !accept(string(found[1])) {
			resp.ErrorCode = kerr.SaslAuthenticationFailed.Code
			resp.ErrorMessage = kmsg.StringPtr("Authentication failed during authentication due to invalid credentials with SASL mechanism OAUTHBEARER")
		}
		return resp, nil, true
	})
}
