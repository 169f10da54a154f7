package fakeanthropic

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"time"
)

// This file exchanges assertions for tokens. It verifies signatures by other means
// than those that make them.

// Audience is what an assertion is for, unless its rule says otherwise.
const Audience = "https://api.anthropic.com"

// skew is how far clocks may be apart.
const skew = 30 * time.Second

// A Token is one that was exchanged.
type Token struct {
	Secret                        string
	RuleID, Scope                 string
	ServiceAccountID, WorkspaceID string
	IssuedAt, ExpiresAt           time.Time
	Kid                           string         // of the key that signed the assertion
	Claims                        map[string]any // of the assertion
}

// A jwk is a public key of an issuer.
type jwk struct {
	kid  string
	x, y *big.Int
}

// parseJWK reads a public key on the curve P-256. Other kinds are not simulated. A
// private member is a leak, and refused.
func parseJWK(raw json.RawMessage) (jwk, error) {
	var k struct{ Kty, Crv, Kid, X, Y, D, Alg, Use string }
	if json.Unmarshal(raw, &k) != nil {
		return jwk{}, errors.New("a key is no object of texts")
	}
	x, errX := base64.RawURLEncoding.DecodeString(k.X)
	y, errY := base64.RawURLEncoding.DecodeString(k.Y)
	switch {
	case k.D != "":
		return jwk{}, errors.New("a key is private")
	case k.Kid == "", k.Kty != "EC", k.Crv != "P-256", errX != nil, errY != nil, len(x) != 32, len(y) != 32:
		return jwk{}, errors.New("a key is none of P-256 with a kid")
	case k.Alg != "" && k.Alg != "ES256", k.Use != "" && k.Use != "sig":
		return jwk{}, errors.New("a key is for another use")
	}
	return jwk{k.Kid, new(big.Int).SetBytes(x), new(big.Int).SetBytes(y)}, nil
}

// verify checks the signature of a JWT, which is r and s.
func (k jwk) verify(signed string, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, k.x.FillBytes(make([]byte, 32)), k.y.FillBytes(make([]byte, 32))))
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(signed))
	return ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

// An asked is the body of an exchange.
type asked struct {
	Grant     string `json:"grant_type"`
	Assertion string `json:"assertion"`
	Rule      string `json:"federation_rule_id"`
	Org       string `json:"organization_id"`
	Account   string `json:"service_account_id"`
	Workspace string `json:"workspace_id"`
}

// exchange is POST /v1/oauth/token. It drops what it does not know.
func (s *Server) exchange(c *call) (any, *refusal) {
	var a asked
	if f := c.fields(); f.refused != nil {
		return nil, f.refused
	}
	if json.Unmarshal(c.body, &a) != nil {
		return nil, badRequest("Invalid JSON body")
	}
	s.assertions = append(s.assertions, a.Assertion)
	if !c.beta(betaOAuth) || !c.beta(betaFederation) {
		return nil, badRequest("anthropic-beta: both values are required")
	}
	if a.Grant != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return nil, badRequest("unsupported grant_type")
	}
	t, lifetime, problem := s.admitLocked(c, a)
	if problem != "" {
		c.log.Denied = problem
		return nil, unauthorized("Invalid authentication credentials")
	}
	s.tokens = append(s.tokens, t)
	return object{"access_token": t.Secret, "token_type": "Bearer", "expires_in": lifetime}, nil
}

// admitLocked makes the token that an assertion is good for, or says why there is
// none.
func (s *Server) admitLocked(c *call, a asked) (t *Token, lifetime int, problem string) {
	r := s.ruleLocked(a.Rule)
	if a.Org != s.org || r == nil || !r.archivedAt.IsZero() {
		return nil, 0, "organization or rule"
	}
	i := s.issuerLocked(r.issuerID)
	if !i.archivedAt.IsZero() {
		return nil, 0, "issuer is archived"
	}
	kid, claims, problem := i.verify(a.Assertion, c.now, c.knobs.JWKSCache)
	if problem != "" {
		return nil, 0, problem
	}
	rest, problem := i.checkTimes(claims, c.now)
	if problem != "" {
		return nil, 0, problem
	}
	if problem := r.mismatch(claims, i); problem != "" {
		return nil, 0, problem
	}
	in, problem := s.targetLocked(r, a)
	if problem != "" {
		return nil, 0, problem
	}
	if jti, _ := claims["jti"].(string); i.checkJTI && jti != "" {
		if s.jtis[i.id+" "+jti] {
			return nil, 0, "jti was used"
		}
		s.jtis[i.id+" "+jti] = true
	}
	lifetime = max(60, min(r.lifetime, int(2*rest/time.Second)))
	return &Token{
		Secret: "sk-ant-oat01-" + text(60), RuleID: r.id, Scope: r.scope, ServiceAccountID: r.account, WorkspaceID: in,
		IssuedAt: c.now, ExpiresAt: c.now.Add(time.Duration(lifetime) * time.Second), Kid: kid, Claims: claims,
	}, lifetime, ""
}

// verify checks the form and the signature of an assertion.
func (i *issuer) verify(assertion string, now time.Time, cache time.Duration) (kid string, claims map[string]any, problem string) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 || len(assertion) > 16<<10 {
		return "", nil, "no JWT"
	}
	var raw [3][]byte
	for n, part := range parts {
		var err error
		if raw[n], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return "", nil, "no JWT"
		}
	}
	var header struct{ Alg, Kid string }
	if json.Unmarshal(raw[0], &header) != nil || header.Alg != "ES256" || header.Kid == "" {
		return "", nil, "header"
	}
	for _, text := range i.keysAt(now, cache) {
		k, err := parseJWK(text)
		if err != nil || k.kid != header.Kid {
			continue
		}
		if !k.verify(parts[0]+"."+parts[1], raw[2]) {
			return "", nil, "signature"
		}
		if json.Unmarshal(raw[1], &claims) != nil {
			return "", nil, "claims"
		}
		return k.kid, claims, ""
	}
	return "", nil, "kid is unknown"
}

// checkTimes returns how much is left of an assertion.
func (i *issuer) checkTimes(claims map[string]any, now time.Time) (rest time.Duration, problem string) {
	iat, okIat := claims["iat"].(float64)
	exp, okExp := claims["exp"].(float64)
	if !okIat || !okExp {
		return 0, "iat or exp"
	}
	issued, ends := time.Unix(int64(iat), 0), time.Unix(int64(exp), 0)
	switch {
	case issued.After(now.Add(skew)):
		return 0, "iat is to come"
	case !ends.After(now.Add(-skew)):
		return 0, "exp is past"
	case !ends.After(issued), ends.Sub(issued) > time.Duration(i.maxLifetime)*time.Second:
		return 0, "lifetime"
	}
	return ends.Sub(now), ""
}

// mismatch says which claim is not as the issuer or the rule wants it.
func (r *rule) mismatch(claims map[string]any, i *issuer) string {
	subject, _ := claims["sub"].(string)
	if subject == "" || claims["iss"] != i.url {
		return "sub or iss"
	}
	audience := Audience
	if r.match.Audience != "" {
		audience = r.match.Audience
	}
	if list, ok := claims["aud"].([]any); claims["aud"] != any(audience) && (!ok || !slices.Contains(list, any(audience))) {
		return "aud"
	}
	if want := r.match.SubjectPrefix; want != "" {
		prefix, open := strings.CutSuffix(want, "*")
		if open && !strings.HasPrefix(subject, prefix) || !open && subject != want {
			return "subject_prefix"
		}
	}
	for name, want := range r.match.Claims {
		if claims[name] != any(want) {
			return "claims"
		}
	}
	return ""
}

// targetLocked returns the workspace of a token.
func (s *Server) targetLocked(r *rule, a asked) (in, problem string) {
	if who := s.accountLocked(r.account); !who.archivedAt.IsZero() || a.Account != "" && a.Account != r.account {
		return "", "service account"
	}
	in = a.Workspace
	switch {
	case r.scope == scopeAdmin:
		return "", ""
	case in == "" && len(r.workspaces) == 1:
		in = r.workspaces[0]
	case in == "":
		in = defaultWorkspace
	}
	if !r.everywhere && !slices.Contains(r.workspaces, in) {
		return "", "workspace is not the rule's"
	}
	if in == defaultWorkspace {
		return in, ""
	}
	if w := s.workspaceLocked(in); w == nil || !w.archivedAt.IsZero() || !w.members[r.account] {
		return "", "membership"
	}
	return in, ""
}

// tokenLocked finds a token that lives.
func (s *Server) tokenLocked(secret string, now time.Time) *Token {
	for _, t := range s.tokens {
		if t.Secret == secret && now.Before(t.ExpiresAt) {
			return t
		}
	}
	return nil
}
