package anthropic

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what an operator has to enter at Anthropic: the bodies of requests,
// exact but for what stands in angle brackets, which Anthropic gives out later.

const (
	// longestAssertion bounds assertions at the issuer, in seconds. A token lives
	// twice as long as its assertion, and a day at most: rules bound it further. The
	// minute is for the reserve.
	longestAssertion = 12*3600 + 60
	// usualLifetime is that of tokens in a new rule, in seconds: an hour, and what the
	// engine asks for beyond the end of a lease.
	usualLifetime = 3600 + 120
)

// Publish shows the issuers, with public keys only.
func (anthropic) Publish(s provider.Settings, mount string) map[string]string {
	ring, err := parseKeyring(s.AdminKey)
	if err != nil {
		return nil
	}
	own := slugOf(mount, ring.Admin.Kid)
	workload := []publicJWK{ring.Workload.public()}
	return map[string]string{
		"federation_issuer": bodyOf(newIssuer(own, issuerURL(s.Fields, ring), longestAssertion, workload)),
		"jwks":              bodyOf(map[string]any{"keys": workload}),
		"admin_issuer": bodyOf(newIssuer(own+"-admin", adminIssuerURL(s.Fields, ring), int(adminLife.Seconds()),
			[]publicJWK{ring.Admin.public()})),
		"admin_rule": bodyOf(map[string]any{
			"name": own + "-admin", "issuer_id": "<id of the admin issuer>",
			"match":  match(s.Fields, adminSubject),
			"target": target("<id of a service account with the organization role admin>"),
			// It acts on the organization, yet a rule must be for some workspace.
			"applies_to_all_workspaces": true,
			"oauth_scope":               "org:admin", "token_lifetime_seconds": 2 * int(adminLife.Seconds()),
		}),
	}
}

func newIssuer(name, issuerURL string, longest int, keys []publicJWK) map[string]any {
	return map[string]any{
		"name": name, "issuer_url": issuerURL, "jwks": map[string]any{"type": "inline", "keys": keys},
		"max_jwt_lifetime_seconds": longest, "check_jti": true,
	}
}

// PublishRole shows the rule by which a role mints.
func (anthropic) PublishRole(s provider.Settings, mount, role string, fields provider.Values) map[string]string {
	prefix := subjectPrefix(mount, role)
	return map[string]string{"federation_rule": bodyOf(map[string]any{
		"name":         slugOf(mount+"-"+role, prefix),
		"issuer_id":    or(s.Fields.String(fieldIssuer), "<id of the connection's issuer>"),
		"match":        match(s.Fields, prefix+"*"),
		"target":       target(or(fields.String(fieldAccount), "<service_account_id>")),
		"workspace_id": or(fields.String(fieldWorkspace), "<workspace_id>"),
		"oauth_scope":  "workspace:inference", "token_lifetime_seconds": usualLifetime,
	})}
}

// match is what a rule wants of an assertion. The audience is left to Anthropic
// unless it is another one.
func match(config provider.Values, subject string) map[string]string {
	m := map[string]string{"subject_prefix": subject}
	if aud := config.String(fieldAudience); aud != "" {
		m["audience"] = aud
	}
	return m
}

func target(account string) map[string]string {
	return map[string]string{"type": "service_account", "service_account_id": account}
}

func or(text, placeholder string) string {
	if text == "" {
		return placeholder
	}
	return text
}

func bodyOf(v any) string {
	var out strings.Builder
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // placeholders stay readable
	if enc.Encode(v) != nil {
		return ""
	}
	return strings.TrimSpace(out.String())
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slugOf is a name for an issuer or a rule. Names are unique in an organization, so
// it ends with something of what makes this one unique.
func slugOf(text, unique string) string {
	sum := sha256.Sum256([]byte(unique))
	readable := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(text), "-"), "-")
	if len(readable) > 100 {
		readable = strings.TrimSuffix(readable[:100], "-")
	}
	return strings.ReplaceAll("vault-llm-"+readable+"-"+hex.EncodeToString(sum[:4]), "--", "-")
}
