package anthropic

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file exchanges assertions for tokens.
//
//   - An exchange makes something: a token that nobody can list or end. It is sent
//     once, and if its answer is lost, so is the token.
//   - The assertion decides how long the token lives: Anthropic gives it twice what
//     is left of the assertion, 60 seconds at least, and what the rule allows at
//     most.
//   - Every denial is the same 401.

var (
	opMint       = operation{name: "exchange token", method: http.MethodPost, creates: true}
	opAdminToken = operation{name: "get an admin token", method: http.MethodPost}
	opDelete     = operation{name: "revoke token"}
)

const (
	// leastLifetime is the shortest life of a token.
	leastLifetime = time.Minute
	// reserve is added to what is left of an assertion. It is what the exchange may
	// take to get there, without that the token ends before it should.
	reserve = 5 * time.Second
	// clockTrust is how far the clocks may be apart before the provider's counts;
	// Anthropic itself allows 30 seconds.
	clockTrust = 5 * time.Second
	// maxOver is by how much a token may live longer than asked: what assertionEnd adds,
	// twice.
	maxOver = 30 * time.Second
	// longestName bounds what an assertion says of its holder, in bytes.
	longestName = 256
)

// Mint exchanges an assertion that names the holder for a token.
//
// After a rotation Anthropic may not know the new key yet (how long it keeps the old
// set is not documented): if it denies that one, the previous one is tried. A denied
// exchange has made nothing.
func (c *federated) Mint(ctx context.Context, spec provider.Spec) (provider.Key, error) {
	if spec.Role.String(fieldRule) == "" {
		return provider.Key{}, c.refuse(opMint, "the role has no "+fieldRule+
			"; make the rule that a read of the role shows as federation_rule, and write its id to the role")
	}
	ring, err := c.ring(opMint)
	if err != nil {
		return provider.Key{}, err
	}
	id := cmp.Or(spec.ID, spec.Name)
	key, err := c.mintWith(ctx, ring, ring.Workload, id, spec)
	for n, previous := range ring.Previous {
		if !provider.IsKind(err, provider.Unauthorized) {
			break
		}
		older, olderErr := c.mintWith(ctx, ring, previous, fmt.Sprintf("%s.%d", id, n+2), spec)
		if !provider.IsKind(olderErr, provider.Unauthorized) {
			key, err = older, olderErr
		}
	}
	if provider.IsKind(err, provider.Unauthorized) {
		err = c.denied(err, ring, spec.Role)
	}
	return key, err
}

func (c *federated) mintWith(ctx context.Context, ring keyring, key jwk, id string, spec provider.Spec) (provider.Key, error) {
	before, now := time.Now(), c.now()
	claims := c.claims(now, assertionEnd(now, spec.ExpiresAt.Sub(before)), issuerURL(c.config, ring), subject(spec.Holder), id)
	claims["vault_mount"] = clip(spec.Holder.Mount)
	claims["vault_role"] = clip(spec.Holder.Role)
	claims["vault_entity_id"] = clip(spec.Holder.EntityID)
	claims["vault_entity_name"] = clip(spec.Holder.EntityName)
	got, err := c.exchange(ctx, opMint, ring, key, claims, exchanged{
		Rule: spec.Role.String(fieldRule), Account: spec.Role.String(fieldAccount), Workspace: spec.Role.String(fieldWorkspace),
	})
	if err != nil {
		return provider.Key{}, err
	}
	if most := max(spec.ExpiresAt.Sub(before), leastLifetime) + maxOver; got.life() > most {
		return provider.Key{}, &provider.Error{
			Kind: provider.Ambiguous, Provider: c.name, Op: opMint.name,
			Reason: fmt.Sprintf("Anthropic made a token for %s where at most %s were asked for; nobody gets it, and nothing ends it before", got.life(), most),
		}
	}
	data := map[string]string{fieldWorkspace: spec.Role.String(fieldWorkspace), fieldAccount: spec.Role.String(fieldAccount)}
	if c.ownURL != "" {
		data["base_url"] = c.ownURL
	}
	return provider.Key{
		ID: id, Secret: got.Token, Field: "auth_token", ExpiresAt: before.Add(got.life()), Data: data,
	}, nil
}

// denied says what to check, for Anthropic does not say why it denies.
func (c *federated) denied(err error, ring keyring, role provider.Values) error {
	return c.because(err, provider.Unauthorized, opMint, fmt.Sprintf("Anthropic does not say why it denies; check that the "+
		"rule %s is not archived, targets %s and fits the subject_prefix that a read of the role shows; that its issuer has "+
		"the issuer_url %s and the key %s; that the audience is %s; that the service account is a member of the workspace %s; "+
		"that both clocks are right", role.String(fieldRule), role.String(fieldAccount), issuerURL(c.config, ring),
		ring.Workload.Kid, audience(c.config), role.String(fieldWorkspace)))
}

// Delete says that there is nothing to delete: a token ends at its expiry.
func (c *federated) Delete(context.Context, provider.Ref) error {
	return c.refuse(opDelete, "a token of Anthropic cannot be revoked; it ends at its expiry")
}

// Find yields nothing: tokens are in no list.
func (c *federated) Find(context.Context, string) iter.Seq2[provider.Found, error] {
	return func(func(provider.Found, error) bool) {}
}

// subject is what an assertion says of its holder. Rules match its beginning, so no
// part of it may hold the colon that ends a part.
func subject(h provider.Holder) string {
	return subjectPrefix(h.Mount, h.Role) + cmp.Or(escape(h.EntityID), "-")
}

func subjectPrefix(mount, role string) string {
	return "vault-llm:" + escape(mount) + ":" + escape(role) + ":"
}

// adminSubject is the subject of assertions for the engine itself.
const adminSubject = "vault-llm:admin"

func escape(part string) string {
	return strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(part))
}

func clip(text string) string {
	if len(text) > longestName {
		text = strings.ToValidUTF8(text[:longestName], "")
	}
	return text
}

// now is the time by which Anthropic judges an assertion.
func (c *federated) now() time.Time {
	if theirs, known := c.transport.Now(); known && time.Until(theirs).Abs() > clockTrust {
		return theirs
	}
	return time.Now()
}

// assertionEnd is the expiry of an assertion for a token that lives for so long, or a
// quarter of a minute longer at most, unless that is less than a minute.
func assertionEnd(now time.Time, life time.Duration) time.Time {
	life = max(life, leastLifetime)
	if whole := life.Truncate(time.Second); whole < life {
		life = whole + time.Second
	}
	end := now.Add(life/2 + reserve)
	if whole := end.Truncate(time.Second); whole.Before(end) {
		end = whole.Add(time.Second)
	}
	return end
}

// claims are those of every assertion.
func (c *federated) claims(now, end time.Time, issuer, subject, id string) map[string]any {
	return map[string]any{
		"iss": issuer, "sub": subject, "aud": audience(c.config), "jti": id, "iat": now.Unix(), "exp": end.Unix(),
	}
}

// exchanged is the body of an exchange. Its names are exact: Anthropic drops all
// others.
type exchanged struct {
	Grant     string `json:"grant_type"`
	Assertion string `json:"assertion"`
	Rule      string `json:"federation_rule_id"`
	Org       string `json:"organization_id"`
	Account   string `json:"service_account_id,omitempty"`
	Workspace string `json:"workspace_id,omitempty"`
}

// A grant is a token.
type grant struct {
	Token     provider.Secret `json:"access_token"`
	Type      string          `json:"token_type"`
	ExpiresIn int             `json:"expires_in"` // seconds
}

func (g *grant) valid() bool {
	return g.Token != "" && g.ExpiresIn > 0 && (g.Type == "" || strings.EqualFold(g.Type, "Bearer"))
}

func (g *grant) life() time.Duration { return time.Duration(g.ExpiresIn) * time.Second }

func (c *federated) exchange(ctx context.Context, op operation, ring keyring, key jwk, claims map[string]any, body exchanged) (*grant, error) {
	assertion, err := key.sign(claims)
	if err != nil {
		return nil, c.refuse(op, "the assertion cannot be signed")
	}
	body.Grant, body.Assertion = "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion.Reveal()
	body.Org = c.config.String(fieldOrganization)
	return do(ctx, c.api, request{
		op: op, path: "/v1/oauth/token", body: body, beta: betaExchange,
		Hide: append(ring.hidden(), assertion, signatureOf(assertion), c.Admin),
	}, (*grant).valid)
}

// signatureOf is what makes an assertion one: without it the rest is of no use.
func signatureOf(assertion provider.Secret) provider.Secret {
	return assertion[strings.LastIndexByte(string(assertion), '.')+1:]
}

// adminLife is that of the assertions for the engine itself. The token lives twice
// as long at most.
const adminLife = 5 * time.Minute

// An adminToken is a token of the scope org:admin.
type adminToken struct {
	Token provider.Secret
	until time.Time
}

// asAdmin returns a token of the scope org:admin, which is used for as long as it
// lasts.
func (c *federated) asAdmin(ctx context.Context) (token provider.Secret, err error) {
	rule := c.config.String(fieldAdminRule)
	if rule == "" {
		return "", c.refuse(opAdminToken, "the connection has no "+fieldAdminRule+"; write the id of a rule of the scope org:admin to it")
	}
	ring, err := c.ring(opAdminToken)
	if err != nil {
		return "", err
	}
	var held adminToken
	select {
	case held = <-c.cached:
	case <-ctx.Done():
		return "", c.unproven(opAdminToken, context.Cause(ctx).Error())
	}
	defer func() { c.cached <- held }()
	if held.Token != "" && time.Until(held.until) > time.Minute {
		return held.Token, nil
	}
	held = adminToken{}
	now, before := c.now(), time.Now()
	claims := c.claims(now, now.Add(adminLife), adminIssuerURL(c.config, ring), adminSubject, rand.Text())
	got, err := c.exchange(ctx, opAdminToken, ring, ring.Admin, claims, exchanged{Rule: rule})
	if err != nil {
		return "", err
	}
	held = adminToken{Token: got.Token, until: before.Add(got.life())}
	return held.Token, nil
}

// forget drops a token that was refused.
func (c *federated) forget(token provider.Secret) {
	select {
	case held := <-c.cached:
		if held.Token == token {
			held = adminToken{}
		}
		c.cached <- held
	default: // somebody is getting another one
	}
}

// adminDo makes a call with a token of the scope org:admin.
func adminDo[T any](ctx context.Context, c *federated, r request, valid func(*T) bool) (*T, error) {
	token, err := c.asAdmin(ctx)
	if err != nil {
		return nil, err
	}
	r.Token, r.Hide = token, append(r.Hide, c.Admin)
	out, err := do(ctx, c.api, r, valid)
	if provider.IsKind(err, provider.Unauthorized) {
		c.forget(token)
	}
	return out, err
}

// tried says of an error that it came of a trial.
func tried(err error) error {
	if e, ok := errors.AsType[*provider.Error](err); ok {
		trial := *e
		trial.Op = "try the admin key: " + e.Op
		return &trial
	}
	return err
}
