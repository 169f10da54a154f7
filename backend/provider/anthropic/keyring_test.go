package anthropic

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// Signatures are verified by the simulator, which has code of its own for it.

func TestKeyring(t *testing.T) {
	ring, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []jwk{ring.Workload, ring.Admin} {
		sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + k.X + `","y":"` + k.Y + `"}`))
		if want := base64.RawURLEncoding.EncodeToString(sum[:]); k.Kid != want {
			t.Errorf("got kid %s, want the thumbprint %s", k.Kid, want)
		}
	}
	next, err := newKey("vault-next")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ring.rotated(next).secret()
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseKeyring(secret)
	if err != nil || got.Workload != next || !slices.Equal(got.Previous, []jwk{ring.Workload}) || got.Admin != ring.Admin {
		t.Errorf("a rotated keyring is not what was stored: %v", err)
	}
	if text := fmt.Sprintf("%+v", next.public()); strings.Contains(text, next.D) {
		t.Error("the public key holds the private one")
	}
}

func TestBadKeyrings(t *testing.T) {
	ring, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]func(*keyring){
		"version":          func(r *keyring) { r.Version = 2 },
		"no workload key":  func(r *keyring) { r.Workload = jwk{} },
		"no admin key":     func(r *keyring) { r.Admin = jwk{} },
		"no kid":           func(r *keyring) { r.Workload.Kid = "" },
		"no private key":   func(r *keyring) { r.Workload.D = "" },
		"two halves":       func(r *keyring) { r.Workload.D = other.Workload.D },
		"no base64":        func(r *keyring) { r.Admin.D = "!" },
		"short":            func(r *keyring) { r.Admin.D = r.Admin.D[:20] },
		"previous is none": func(r *keyring) { r.Previous = []jwk{{Kid: "x"}} },
	}
	for what, spoil := range bad {
		spoiled := ring
		spoil(&spoiled)
		secret, err := spoiled.secret()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseKeyring(secret); err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	for _, text := range []provider.Secret{"", "null", "{}", "[]", "sk-ant-admin01-x"} {
		if _, err := parseKeyring(text); err == nil {
			t.Errorf("%q: got no error", text.Reveal())
		}
	}
}

func TestSubject(t *testing.T) {
	for _, c := range []struct {
		holder provider.Holder
		want   string
	}{
		{provider.Holder{Mount: "m7k2", Role: "bot"}, "vault-llm:m7k2:bot:-"},
		{provider.Holder{Mount: "m7k2", Role: "team-a/bot", EntityID: "7d2e"}, "vault-llm:m7k2:team-a/bot:7d2e"},
		{provider.Holder{Mount: "m:bot", Role: "x*", EntityID: "a b+"}, "vault-llm:m%3Abot:x%2A:a%20b%2B"},
	} {
		if got := subject(c.holder); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestAssertionEnd(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, early := range []time.Duration{0, 1, 300 * time.Millisecond, 999 * time.Millisecond} {
		for _, life := range []time.Duration{-time.Hour, 0, time.Second, time.Minute, 61 * time.Second, 15 * time.Minute, 3599500 * time.Millisecond, 24 * time.Hour} {
			now := start.Add(early)
			end := assertionEnd(now, life)
			token := 2 * end.Sub(now)
			least := max(life, time.Minute) + 2*reserve
			if token < least || token > least+4*time.Second || end.Nanosecond() != 0 {
				t.Errorf("%s after %s: a token of %s, want %s and little more", life, early, token, least)
			}
			if longest := end.Unix() - now.Unix(); longest > longestAssertion {
				t.Errorf("%s: an assertion of %d s, the issuer takes %d", life, longest, longestAssertion)
			}
		}
	}
}

func TestHints(t *testing.T) {
	const secret = "sk-ant-api03-0123456789abcdefghij"
	for hint, want := range map[string]bool{
		"sk-ant-api03-012...ghij": true, "sk-ant-api03-…ij": true, "...hij": true,
		"sk-ant-api03-...": false, "sk-ant-api03-...j": false, "": false, "sk-ant-api03": false,
		"sk-ant-api03-012...ghik": false, "sk-ant-api04-012...ghij": false, secret: false, secret + "..." + secret: false,
	} {
		if got := hints(hint, secret); got != want {
			t.Errorf("%s: got %t, want %t", hint, got, want)
		}
	}
	if hints("...", "") || hints("sk-ant-api03-...AA", "") {
		t.Error("an empty secret fits a hint")
	}
}

func TestSlugs(t *testing.T) {
	for text, want := range map[string]string{
		"m7k2-Team_A/bot": "vault-llm-m7k2-team-a-bot-2d711642", "": "vault-llm-2d711642", "--é--": "vault-llm-2d711642",
	} {
		if got := slugOf(text, "x"); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
	if got := slugOf(strings.Repeat("a/", 400), "x"); len(got) > 255 || strings.Contains(got, "--") {
		t.Errorf("got %s", got)
	}
}
