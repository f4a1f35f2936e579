package spec_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"gopkg.in/yaml.v3"

	"github.com/syncd-io/syncd/spec"
)

const planted = "hunter2-Zq9"

// holder is a config with secrets wherever one can be.
type holder struct {
	Password spec.Secret            `yaml:"password" json:"password" xml:"password"`
	Pointer  *spec.Secret           `yaml:"pointer" json:"pointer" xml:"pointer"`
	List     []spec.Secret          `yaml:"list" json:"list" xml:"list"`
	Map      map[string]spec.Secret `yaml:"map" json:"map" xml:"-"`
	Keys     map[spec.Secret]int    `yaml:"-" json:"-" xml:"-"` // encoding/json asks no key of a text type
	Any      any                    `yaml:"any" json:"any" xml:"any"`
}

func newHolder() holder {
	s := spec.Secret(planted)
	return holder{s, &s, []spec.Secret{s}, map[string]spec.Secret{"a": s}, map[spec.Secret]int{s: 1}, s}
}

// hidden fails if text holds the planted secret in any spelling that a formatter could give it.
func hidden(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range []string{
		planted, fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted), fmt.Sprintf("% x", planted), fmt.Sprintf("%d", []byte(planted)),
	} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the secret: %s", what, text)
		}
	}
}

func TestSecretInFmt(t *testing.T) {
	s := spec.Secret(planted)
	// Not %p of a text and not %w outside of Errorf: fmt asks nobody before it complains about those, and go vet refuses them.
	for _, verb := range "vsqxXdboOeEfFgGcUtT" {
		for _, flags := range []string{"", "+", "#", " ", "0", "-20", "20", ".3", "+#"} {
			format := "%" + flags + string(verb)
			for _, v := range []any{s, &s, newHolder(), []any{s}, map[string]any{"k": s}, struct{ S spec.Secret }{s}} {
				if _, isPointer := v.(*spec.Secret); isPointer && verb == 'x' {
					continue // an address in hexadecimal may hold anything
				}
				hidden(t, format, fmt.Sprintf(format, v))
			}
		}
	}
	for format, want := range map[string]string{
		"%v": "[redacted]", "%s": "[redacted]", "%x": "[redacted]", "%d": "[redacted]", "%q": `"[redacted]"`, "%#v": `"[redacted]"`,
		"%12s|": "  [redacted]|", "%-12v|": "[redacted]  |",
	} {
		if got := fmt.Sprintf(format, s); got != want {
			t.Errorf("%s gives %s, want %s", format, got, want)
		}
	}
	if got := fmt.Sprintf("%v %q", spec.Secret(""), spec.Secret("")); got != ` ""` {
		t.Errorf("the empty secret is %q", got)
	}
	hidden(t, "an error", fmt.Errorf("a: %w", errors.Join(fmt.Errorf("b %s", s), fmt.Errorf("c %v", newHolder()))).Error())
}

func TestSecretInEncodings(t *testing.T) {
	h := newHolder()
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	hidden(t, "JSON", string(j))
	y, err := yaml.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	hidden(t, "YAML", string(y))
	if !strings.Contains(string(y), `password: '[redacted]'`) {
		t.Errorf("YAML is %s", y)
	}
	x, err := xml.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	hidden(t, "XML", string(x))
	var b bytes.Buffer
	if err := template.Must(template.New("").Parse(`{{.Password}} {{printf "%x" .Password}} {{.Map}}`)).Execute(&b, h); err != nil {
		t.Fatal(err)
	}
	hidden(t, "a template", b.String())
}

func TestSecretInLogs(t *testing.T) {
	var b bytes.Buffer
	opts := &slog.HandlerOptions{Level: slog.LevelDebug}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, opts), slog.NewJSONHandler(&b, opts)} {
		s := spec.Secret(planted)
		slog.New(handler).With("with", s).Debug("a message", "secret", s, "pointer", &s, "struct", newHolder(), slog.Group("g", "s", s), "err", fmt.Errorf("%v", s))
	}
	hidden(t, "a log", b.String())
	if n := strings.Count(b.String(), spec.Redacted); n < 8 {
		t.Errorf("%d times redacted: %s", n, b.String())
	}
}

func TestOutline(t *testing.T) {
	for secret, want := range map[string]string{
		"":                                   "",
		"plain":                              "[redacted]",
		"mongodb://h":                        "mongodb://h",
		"mongodb://h:1,[::1]:2,h3/":          "mongodb://h:1,[::1]:2,h3/",
		"mongodb://ada:pw@h:1,h2":            "mongodb://ada:[redacted]@h:1,h2",
		"mongodb://ada:@h":                   "mongodb://ada:[redacted]@h",
		"mongodb://ada@h":                    "mongodb://[redacted]@h",
		"mongodb+srv://ada:pw@h.example/db":  "mongodb+srv://ada:[redacted]@h.example/[redacted]",
		"mongodb://h/?authMechanism=x&y=z":   "mongodb://h/[redacted]",
		"https://h?token=x":                  "https://h/[redacted]",
		"https://h#x":                        "https://h/[redacted]",
		"mongodb://ada:p@ss@h":               "[redacted]",
		"mongodb://ada:p/ss@h":               "[redacted]",
		"mongodb://ada:p:ss@h":               "[redacted]",
		"mongodb://ada:password":             "[redacted]",
		"mongodb://h/db?x=a@b":               "[redacted]",
		"mongodb://h h":                      "[redacted]",
		"see mongodb://ada:pw@h":             "[redacted]",
		"mongodb://ada:pw@h/\nmongodb://x":   "mongodb://ada:[redacted]@h/[redacted]",
		"mongodb://ada:%40%2f@h:27017/a?b=c": "mongodb://ada:[redacted]@h:27017/[redacted]",
		"postgres://h/app":                   "postgres://h/app",
		"postgresql://ada:pw@h:1,i/app?a=b":  "postgresql://ada:[redacted]@h:1,i/app?[redacted]",
		"postgres://h/?password=x":           "postgres://h/[redacted]",
		"postgres://h?password=x":            "postgres://h/[redacted]",
		"postgres://h/app/x":                 "postgres://h/[redacted]",
		"postgres://h/app#x":                 "postgres://h/[redacted]",
		"postgres://ada:p/ss@h/app":          "[redacted]",
		"postgres://ada:password/app":        "[redacted]",
		"sk-proj-://":                        "[redacted]",
		"://x":                               "[redacted]",
	} {
		if got := spec.Secret(secret).Outline(); got != want {
			t.Errorf("%q is outlined as %q, want %q", secret, got, want)
		}
	}
}

func TestScrubURLs(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"a@b":                                   "a@b",
		"http://h:1/p?q=1":                      "http://h:1/p?q=1",
		"http://ada:pw@h/p":                     "http://ada:[redacted]@h/p",
		"http://token@h":                        "http://[redacted]@h",
		"http://:pw@h":                          "http://[redacted]@h",
		"http://ada:p@ss/wo@rd@h":               "http://ada:[redacted]@h",
		"http://p/w:x@h":                        "http://[redacted]@h",
		"http://ada:p w@h":                      "http://ada:[redacted]@h",
		"a http://x:y@h, http://u:v@k":          "a http://x:[redacted]@h, http://u:[redacted]@k",
		"http://x:y@h,http://u:v@k":             "http://x:[redacted]@k",
		"https://h?api_key=abc&a=b&Token=x#f":   "https://h?api_key=[redacted]&a=b&Token=[redacted]#f",
		"https://ada:pw@h?password=x;b=2":       "https://ada:[redacted]@h?password=[redacted];b=2",
		"PLAINTEXT://h:9092,SSL://h2:9093":      "PLAINTEXT://h:9092,SSL://h2:9093",
		"{database}.{collection}?key=no-scheme": "{database}.{collection}?key=no-scheme",
	} {
		if got := spec.ScrubURLs(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func FuzzOutline(f *testing.F) {
	f.Add("ada", planted, "h:27017", "/db?x=y")
	f.Add("ada", planted, "h", "@/")
	f.Fuzz(func(t *testing.T, user, password, host, tail string) {
		if strings.Contains(user+host+tail, planted) {
			t.Skip()
		}
		uri := "mongodb://" + user + ":" + planted + password + "@" + host + tail
		for _, got := range []string{spec.Secret(uri).Outline(), spec.ScrubURLs(uri)} {
			if strings.Contains(got, planted) {
				t.Errorf("%q shows the password: %q", uri, got)
			}
		}
	})
}
