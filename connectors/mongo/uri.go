package mongo

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

const (
	schemePlain = "mongodb://"
	schemeSRV   = "mongodb+srv://"
)

// target is what may be said about a connection string.
type target struct {
	hosts string // host:port, with commas between several
	user  string

	tls, tlsSaid bool // TLS is on; and whether it says so or not
}

// parseURI checks a connection string offline. For mongodb+srv:// the driver itself would ask DNS, so its parts are
// checked as those of a mongodb:// one. The error is free of secrets: problems of user name, password and hosts are
// found here first and never quoted (without an @ the password may stand where a host is expected).
func parseURI(uri string) (target, error) {
	rest, plain := strings.CutPrefix(uri, schemePlain)
	if !plain {
		var srv bool
		if rest, srv = strings.CutPrefix(uri, schemeSRV); !srv {
			return target{}, errors.New("it must start with mongodb:// or mongodb+srv://")
		}
	}
	user, after, err := checkUserInfo(rest)
	if err != nil {
		return target{}, err
	}
	hosts, tail := after, ""
	if i := strings.IndexAny(after, "/?"); i >= 0 {
		hosts, tail = after[:i], after[i:]
	}
	if strings.HasPrefix(tail, "?") {
		return target{}, errors.New("a / must stand before the ?")
	}
	if err := checkHosts(hosts, plain); err != nil {
		return target{}, err
	}
	checked := uri
	if !plain {
		checked = schemePlain + rest[:len(rest)-len(tail)] + withoutOptions(tail, "srvmaxhosts", "srvservicename")
	}
	parsed, err := connstring.ParseAndValidate(checked)
	if err != nil {
		return target{}, newScrubber(uri).scrub(err)
	}
	t := target{hosts: hosts, user: user}
	t.tls, t.tlsSaid = tlsOf(parsed, plain)
	return t, nil
}

// checkUserInfo returns the user name and what follows the user info.
func checkUserInfo(rest string) (user, after string, err error) {
	switch strings.Count(rest, "@") {
	case 0:
		return "", rest, nil
	case 1:
	default:
		return "", "", errors.New("it has more than one @; an @ in a user name, a password or an option is written %40")
	}
	info, after, _ := strings.Cut(rest, "@")
	name, password, _ := strings.Cut(info, ":")
	switch {
	case name == "":
		return "", "", errors.New("the user name before the @ is empty")
	case strings.ContainsAny(info, "/"):
		return "", "", errors.New("a / in a user name or password is written %2F")
	case strings.Contains(password, ":"):
		return "", "", errors.New("a : in a password is written %3A")
	}
	if user, err = url.PathUnescape(name); err != nil {
		return "", "", errors.New("a % in a user name is written %25")
	}
	if _, err = url.PathUnescape(password); err != nil {
		return "", "", errors.New("a % in a password is written %25")
	}
	return user, after, nil
}

func checkHosts(hosts string, plain bool) error {
	if hosts == "" {
		return errors.New("it names no host")
	}
	list := strings.Split(hosts, ",")
	if !plain {
		if len(list) != 1 {
			return errors.New("mongodb+srv:// takes exactly one host")
		}
		if strings.Contains(hosts, ":") {
			return errors.New("mongodb+srv:// takes a host without a port")
		}
	}
	for i, h := range list {
		if h == "" {
			return fmt.Errorf("host %d of %d is empty", i+1, len(list))
		}
		if strings.HasSuffix(h, ".sock") || !strings.Contains(strings.TrimPrefix(h[strings.LastIndex(h, "]")+1:], "]"), ":") {
			continue
		}
		_, port, err := net.SplitHostPort(h)
		if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 {
			return fmt.Errorf("host %d of %d has no valid port (1 to 65535); a user name and password end with an @", i+1, len(list))
		}
	}
	return nil
}

// withoutOptions removes options, given in lower case, from the part of a connection string that follows its hosts.
func withoutOptions(tail string, names ...string) string {
	path, query, ok := strings.Cut(tail, "?")
	if !ok {
		return tail
	}
	kept := slices.DeleteFunc(strings.FieldsFunc(query, isOptionSeparator), func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return slices.Contains(names, strings.ToLower(name))
	})
	return path + "?" + strings.Join(kept, "&")
}

func isOptionSeparator(r rune) bool { return r == '&' || r == ';' }
