package fakeanthropic

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A caller is who sends a request.
type caller struct{ key, token string }

// try sends a request. A body is JSON; "" is none.
func try(t *testing.T, s *Server, method, path string, as caller, body string) (int, map[string]any) {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://api.anthropic.test"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Anthropic-Version", "2023-06-01")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case as.key != "":
		req.Header.Set("X-Api-Key", as.key)
	case as.token != "":
		req.Header.Set("Authorization", "Bearer "+as.token)
		req.Header.Set("Anthropic-Beta", betaOAuth)
	default:
		req.Header.Set("Anthropic-Beta", betaOAuth+", "+betaFederation)
	}
	resp, err := s.RoundTripper().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

// A signer is a key that signs assertions.
type signer struct {
	kid string
	key *ecdsa.PrivateKey
}

func newSigner(t *testing.T, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{kid, key}
}

// jwk is the public key.
func (g signer) jwk() string {
	point, _ := g.key.PublicKey.Bytes()
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}`, g.kid, b64(point[1:33]), b64(point[33:]))
}

func (g signer) sign(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64(h) + "." + b64(c)
	sum := sha256.Sum256([]byte(signed))
	r, sig, err := ecdsa.Sign(rand.Reader, g.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), sig.FillBytes(make([]byte, 32))...))
}

// A federation is an organization with an issuer and a rule.
type federation struct {
	*Server
	t                    *testing.T
	signer               signer
	issuer, rule, member string
}

const issuerURL = "https://vault.test"

func newFederation(t *testing.T) *federation {
	t.Helper()
	f := &federation{Server: New(), t: t, signer: newSigner(t, "one")}
	f.member = f.CreateServiceAccount("bot")
	f.AddMember(f.Workspace(), f.member)
	var err error
	if f.issuer, err = f.CreateIssuer(fmt.Sprintf(`{"name":"i","issuer_url":%q,"jwks":{"type":"inline","keys":[%s]}}`, issuerURL, f.signer.jwk())); err != nil {
		t.Fatal(err)
	}
	f.rule = f.newRule("bot-rule", scopeInference, 3600)
	return f
}

func (f *federation) newRule(name, scope string, lifetime int) string {
	f.t.Helper()
	id, err := f.CreateRule(fmt.Sprintf(`{"name":%q,"issuer_id":%q,"match":{"subject_prefix":"vault:bot:*"},
		"target":{"type":"service_account","service_account_id":%q},"workspace_id":%q,"oauth_scope":%q,"token_lifetime_seconds":%d}`,
		name, f.issuer, f.member, f.Workspace(), scope, lifetime))
	if err != nil {
		f.t.Fatal(err)
	}
	return id
}

// claims are good ones; changes replace some, and nil takes them away.
func (f *federation) claims(changes map[string]any) map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": issuerURL, "sub": "vault:bot:ada", "aud": Audience, "iat": now, "exp": now + 600, "jti": rand.Text(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return claims
}

func (f *federation) header() map[string]any {
	return map[string]any{"alg": "ES256", "kid": f.signer.kid, "typ": "JWT"}
}

// exchange exchanges an assertion; changes replace members of the body.
func (f *federation) exchange(assertion string, changes map[string]any) (int, map[string]any) {
	f.t.Helper()
	body := map[string]any{
		"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion, "federation_rule_id": f.rule,
		"organization_id": f.OrganizationID(), "service_account_id": f.member, "workspace_id": f.Workspace(),
	}
	maps.Copy(body, changes)
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(body)
	if err != nil {
		f.t.Fatal(err)
	}
	return try(f.t, f.Server, "POST", "/v1/oauth/token", caller{}, string(text))
}

// token exchanges a good assertion.
func (f *federation) token(changes map[string]any) string {
	f.t.Helper()
	status, out := f.exchange(f.signer.sign(f.t, f.header(), f.claims(nil)), changes)
	if status != 200 {
		f.t.Fatalf("got %d %v", status, out)
	}
	return out["access_token"].(string)
}

// admin is a caller with a token of the scope org:admin, of an issuer of its own.
func (f *federation) admin() caller {
	f.t.Helper()
	other := newSigner(f.t, "admin")
	issuer, err := f.CreateIssuer(fmt.Sprintf(`{"name":"admin","issuer_url":%q,"jwks":{"type":"inline","keys":[%s]}}`, issuerURL, other.jwk()))
	if err != nil {
		f.t.Fatal(err)
	}
	rule, err := f.CreateRule(fmt.Sprintf(`{"name":"admin","issuer_id":%q,"match":{"subject_prefix":"vault:admin"},
		"target":{"type":"service_account","service_account_id":%q},"applies_to_all_workspaces":true,"oauth_scope":"org:admin"}`,
		issuer, f.CreateServiceAccount("admin")))
	if err != nil {
		f.t.Fatal(err)
	}
	assertion := other.sign(f.t, map[string]any{"alg": "ES256", "kid": "admin"}, f.claims(map[string]any{"sub": "vault:admin"}))
	status, out := f.exchange(assertion, map[string]any{"federation_rule_id": rule, "service_account_id": nil, "workspace_id": nil})
	if status != 200 {
		f.t.Fatalf("got %d %v", status, out)
	}
	return caller{token: out["access_token"].(string)}
}
