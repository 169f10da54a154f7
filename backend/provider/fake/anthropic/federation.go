package fakeanthropic

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file is issuers and rules.

// The scopes that a token may have. A caller with a token may grant the first two.
const (
	scopeInference = "workspace:inference"
	scopeDeveloper = "workspace:developer"
	scopeAdmin     = "org:admin"
)

// defaultWorkspace is how an exchange and a rule name the default workspace, of
// which every service account is a member.
const defaultWorkspace = "default"

type account struct {
	id, name   string
	archivedAt time.Time
}

type issuer struct {
	id, name, url string
	keys          []json.RawMessage // as they were given
	maxLifetime   int
	checkJTI      bool
	createdAt     time.Time
	archivedAt    time.Time

	changedAt time.Time         // the keys
	before    []json.RawMessage // that the exchange knew until then
}

type rule struct {
	id, name, issuerID string
	match              ruleMatch
	account            string
	workspaces         []string
	everywhere         bool
	scope              string
	lifetime           int
	createdAt          time.Time
	archivedAt         time.Time
}

type ruleMatch struct {
	SubjectPrefix string            `json:"subject_prefix,omitempty"`
	Audience      string            `json:"audience,omitempty"`
	Claims        map[string]string `json:"claims,omitempty"`
}

var slug = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,254}$`)

func (s *Server) accountLocked(id string) *account {
	for _, a := range s.accounts {
		if a.id == id {
			return a
		}
	}
	return nil
}

func (s *Server) issuerLocked(id string) *issuer {
	for _, i := range s.issuers {
		if i.id == id {
			return i
		}
	}
	return nil
}

func (s *Server) ruleLocked(id string) *rule {
	for _, r := range s.rules {
		if r.id == id {
			return r
		}
	}
	return nil
}

// keysAt are the keys of an issuer that the exchange knows at a time.
func (i *issuer) keysAt(now time.Time, cache time.Duration) []json.RawMessage {
	if now.Sub(i.changedAt) < cache {
		return i.before
	}
	return i.keys
}

func (i *issuer) shown() object {
	keys := []any{}
	for _, raw := range i.keys {
		keys = append(keys, raw)
	}
	return object{
		"type": "federation_issuer", "id": i.id, "name": i.name, "issuer_url": i.url, "check_jti": i.checkJTI,
		"jwks": object{"type": "inline", "keys": keys}, "max_jwt_lifetime_seconds": i.maxLifetime, "poll_status": nil,
		"created_at": stamp(i.createdAt), "archived_at": stamp(i.archivedAt), "jwks_polling_disabled_at": nil,
	}
}

// readJWKS reads the keys of an issuer. What else a set may be is not simulated.
func (f *fields) readJWKS() (keys []json.RawMessage) {
	inner := f.within("jwks")
	var kind string
	inner.need("type", &kind)
	if kind != "inline" {
		inner.refuse("jwks.type: only inline is simulated")
	}
	inner.need("keys", &keys)
	if len(keys) == 0 {
		inner.refuse("jwks.keys: at least one key is required")
	}
	seen := map[string]bool{}
	for _, raw := range keys {
		known, err := parseJWK(raw)
		switch {
		case err != nil:
			inner.refuse("jwks.keys: %s", err)
		case seen[known.kid]:
			inner.refuse("jwks.keys: a kid is there twice")
		default:
			seen[known.kid] = true
		}
	}
	f.refused = inner.end()
	return keys
}

// createIssuer is POST /federation_issuers.
func (s *Server) createIssuer(c *call) (any, *refusal) {
	f := c.fields()
	i := issuer{id: newID("fdis"), maxLifetime: 3600, checkJTI: true, createdAt: c.now}
	f.need("name", &i.name)
	f.need("issuer_url", &i.url)
	if u, err := url.Parse(i.url); err != nil || u.Scheme != "https" || u.Host == "" {
		f.refuse("issuer_url: Input should be an https URL")
	}
	if !slug.MatchString(i.name) {
		f.refuse("name: Input should be a slug")
	}
	i.keys = f.readJWKS()
	f.read("check_jti", &i.checkJTI)
	if f.read("max_jwt_lifetime_seconds", &i.maxLifetime) && (i.maxLifetime < 1 || i.maxLifetime > 176400) {
		f.refuse("max_jwt_lifetime_seconds: Input should be between 1 and 176400")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if slices.ContainsFunc(s.issuers, func(other *issuer) bool { return other.name == i.name }) {
		return nil, conflict("an issuer of that name exists")
	}
	s.issuers = append(s.issuers, &i)
	return i.shown(), nil
}

// getIssuer is GET /federation_issuers/{id}.
func (s *Server) getIssuer(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	i := s.issuerLocked(c.ids[0])
	if i == nil {
		return nil, notFound()
	}
	return i.shown(), nil
}

// updateIssuer is POST /federation_issuers/{id}. A caller with a token may not
// touch an issuer that backs a rule of a scope which it may not grant.
func (s *Server) updateIssuer(c *call) (any, *refusal) {
	i := s.issuerLocked(c.ids[0])
	switch {
	case i == nil:
		return nil, notFound()
	case !i.archivedAt.IsZero():
		return nil, badRequest("the issuer is archived")
	}
	for _, r := range s.rules {
		if r.issuerID == i.id && r.scope == scopeAdmin && !c.console {
			return nil, &refusal{http.StatusForbidden, "permission_error", "this issuer backs a rule that needs a Console session"}
		}
	}
	f := c.fields()
	changed := *i
	if _, given := f.raw["jwks"]; given {
		changed.keys = f.readJWKS()
	}
	f.known["jwks"] = true
	f.read("check_jti", &changed.checkJTI)
	f.read("max_jwt_lifetime_seconds", &changed.maxLifetime)
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if !c.knobs.LoseIssuerUpdate {
		changed.before, changed.changedAt = i.keysAt(c.now, c.knobs.JWKSCache), c.now
		*i = changed
	}
	return changed.shown(), nil
}

// archiveIssuer is POST /federation_issuers/{id}/archive.
func (s *Server) archiveIssuer(c *call) (any, *refusal) {
	i := s.issuerLocked(c.ids[0])
	if i == nil {
		return nil, notFound()
	}
	for _, r := range s.rules {
		if r.issuerID == i.id && r.archivedAt.IsZero() {
			return nil, badRequest("live rules refer to the issuer")
		}
	}
	if i.archivedAt.IsZero() {
		i.archivedAt = c.now
	}
	return i.shown(), nil
}

func (r *rule) shown() object {
	return object{
		"type": "federation_rule", "id": r.id, "name": r.name, "issuer_id": r.issuerID, "issuer_name": "issuer",
		"match":       object{"subject_prefix": nullable(r.match.SubjectPrefix), "audience": nullable(r.match.Audience), "claims": r.match.Claims, "condition": nil},
		"target":      object{"type": "service_account", "service_account_id": r.account, "service_account_name": nil},
		"oauth_scope": r.scope, "token_lifetime_seconds": r.lifetime, "applies_to_all_workspaces": r.everywhere,
		"workspace_ids": append([]string{}, r.workspaces...), "description": "",
		"created_at": stamp(r.createdAt), "archived_at": stamp(r.archivedAt),
	}
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// readMatch reads what an assertion must be. What CEL does is not simulated.
func (f *fields) readMatch() (m ruleMatch) {
	inner := f.within("match")
	inner.read("subject_prefix", &m.SubjectPrefix)
	inner.read("audience", &m.Audience)
	inner.read("claims", &m.Claims)
	if strings.Trim(m.SubjectPrefix, "*") == "" && len(m.Claims) == 0 {
		inner.refuse("match: subject_prefix or claims is required")
	}
	f.refused = inner.end()
	return m
}

func (f *fields) readTarget(s *Server) (id string) {
	inner := f.within("target")
	var kind string
	inner.need("type", &kind)
	inner.need("service_account_id", &id)
	if a := s.accountLocked(id); kind != "service_account" || a == nil || !a.archivedAt.IsZero() {
		inner.refuse("target: no such service account")
	}
	f.refused = inner.end()
	return id
}

// createRule is POST /federation_rules.
func (s *Server) createRule(c *call) (any, *refusal) {
	f := c.fields()
	r := rule{id: newID("fdrl"), lifetime: 3600, createdAt: c.now}
	f.need("name", &r.name)
	f.need("issuer_id", &r.issuerID)
	f.need("oauth_scope", &r.scope)
	r.match = f.readMatch()
	r.account = f.readTarget(s)
	f.read("applies_to_all_workspaces", &r.everywhere)
	var in, description string
	f.read("description", &description)
	if f.read("workspace_id", &in) {
		r.workspaces = []string{in}
	}
	if f.read("token_lifetime_seconds", &r.lifetime) && (r.lifetime < 60 || r.lifetime > 86400) {
		f.refuse("token_lifetime_seconds: Input should be between 60 and 86400")
	}
	i := s.issuerLocked(r.issuerID)
	switch {
	case !slug.MatchString(r.name):
		f.refuse("name: Input should be a slug")
	case i == nil || !i.archivedAt.IsZero():
		f.refuse("issuer_id: no such issuer")
	case in == "" && !r.everywhere:
		f.refuse("workspace_id: Field required")
	case in != "" && in != defaultWorkspace && s.workspaceLocked(in) == nil:
		f.refuse("workspace_id: no such workspace")
	case !slices.Contains([]string{scopeInference, scopeDeveloper, scopeAdmin}, r.scope):
		f.refuse("oauth_scope: unknown")
	}
	if refused := f.end(); refused != nil {
		return nil, refused
	}
	if r.scope == scopeAdmin && !c.console {
		return nil, &refusal{http.StatusForbidden, "permission_error", "this scope needs a Console session"}
	}
	if slices.ContainsFunc(s.rules, func(other *rule) bool { return other.name == r.name }) {
		return nil, conflict("a rule of that name exists")
	}
	s.rules = append(s.rules, &r)
	return r.shown(), nil
}

// getRule is GET /federation_rules/{id}.
func (s *Server) getRule(c *call) (any, *refusal) {
	if _, refused := c.query(); refused != nil {
		return nil, refused
	}
	r := s.ruleLocked(c.ids[0])
	if r == nil {
		return nil, notFound()
	}
	return r.shown(), nil
}

// archiveRule is POST /federation_rules/{id}/archive. It is idempotent, and ends no
// token.
func (s *Server) archiveRule(c *call) (any, *refusal) {
	r := s.ruleLocked(c.ids[0])
	if r == nil {
		return nil, notFound()
	}
	if r.archivedAt.IsZero() {
		r.archivedAt = c.now
	}
	return r.shown(), nil
}
