package backend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// secretType is stored in every lease: it can never change, or the leases of
// older versions could be neither renewed nor revoked.
const secretType = "llm_key"

func (b *backend) credsPaths() []*framework.Path {
	answer := b.keyFields()
	refused := []int{
		http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
	}
	return []*framework.Path{
		{
			Pattern:      "creds" + pathList,
			DisplayAttrs: display("credential-roles|credential-roles-below"),
			Fields: map[string]*framework.FieldSchema{
				"prefix": {Type: framework.TypeString, Description: "What the names begin with, up to a slash: team-a/."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: listing(b.listRoles, "List the roles for which keys can be read."),
			},
			HelpSynopsis:    "List the roles for which keys can be read.",
			HelpDescription: "The same names as under roles/.",
		},
		{
			Pattern:      "creds" + pathName,
			DisplayAttrs: display("credentials"),
			Fields: map[string]*framework.FieldSchema{
				"name": {Type: framework.TypeString, Description: "Name of the role.", Required: true},
				"ttl":  {Type: framework.TypeDurationSecond, Description: "How long the lease lasts; the role's ttl if absent, capped by its max_ttl.", Query: true},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   mayRefuse(forwarded(b.readCreds, "Issue a key as a lease.", okResponse(answer)), refused...),
				logical.UpdateOperation: mayRefuse(forwarded(b.readCreds, "Issue a key as a lease, with ttl in the body.", okResponse(answer)), refused...),
			},
			HelpSynopsis: "Issue a key of an LLM provider as a lease.",
			HelpDescription: `
Each read mints a key at the provider for the caller. The key is deleted there
when the lease ends or is revoked, and the provider itself refuses it a little
later, at expires_at, should Vault be gone by then. Renewing the lease moves
that expiry, where the provider can. A token (auth_token) cannot be revoked by
anybody: it ends with its lease, which cannot be renewed.`,
		},
	}
}

// keyFields describes the data of a lease. All are strings.
func (b *backend) keyFields() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	fields := map[string]*framework.FieldSchema{
		"api_key":    text("The key; absent if there is an auth_token."),
		"auth_token": text("The key, where the provider's SDKs take it as a bearer token."),
		"key_id":     text("The provider's id of the key."),
		"name":       text("Name of the key at the provider."),
		"provider":   text("Provider of the key."),
		"role":       text("Role under which the key was issued."),
		"expires_at": text("When the provider itself refuses the key, in RFC 3339; absent if it never does."),
		"base_url":   text("Address to use the key at, if it is not the provider's own."),
	}
	maps.Copy(fields, texts(b.registry.Answers().Key))
	for _, secret := range []string{"api_key", "auth_token"} {
		fields[secret].DisplayAttrs = &framework.DisplayAttributes{Sensitive: true}
	}
	return fields
}

func (b *backend) keySecret() *framework.Secret {
	return &framework.Secret{
		Type:   secretType,
		Fields: b.keyFields(),
		Renew:  b.renewLease,
		Revoke: b.revokeLease,
	}
}

func (b *backend) readCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	var ttl seconds
	if err := setSeconds(d, "ttl", &ttl, 0, 10*longestTTL); err != nil {
		return nil, err
	}
	made, err := b.issue(ctx, req, name, ttl.duration())
	if err != nil {
		b.tellNotIssued(lease, name, err)
		return nil, err
	}
	b.tellIssued(made.rec)
	return b.credsResponse(made), nil
}

func (b *backend) credsResponse(made *issued) *logical.Response {
	data := map[string]any{
		cmp.Or(made.key.Field, "api_key"): made.key.Secret.Reveal(),
		"key_id":                          made.key.ID,
		"name":                            made.rec.Name,
		"provider":                        made.rec.Provider,
		"role":                            made.rec.Role,
	}
	for field, value := range made.key.Data {
		data[field] = value
	}
	if end := made.key.ExpiresAt; !end.IsZero() {
		data["expires_at"] = end.UTC().Format(time.RFC3339)
	}
	resp := b.Secret(secretType).Response(data, leasePointer(made.rec))
	resp.Secret.TTL = made.term.ttl
	resp.Secret.MaxTTL = made.role.MaxTTL.duration()
	resp.Secret.Renewable = !made.rec.Token
	for _, warning := range made.term.warnings {
		resp.AddWarning(warning)
	}
	if made.key.ExpiresAt.IsZero() {
		resp.AddWarning("the provider set no expiry for this key: only the end of its lease ends it")
	}
	return resp
}

// leaseVersion is of the layout of a lease's internal data.
const leaseVersion = "1"

// leasePointer is what a lease keeps: strings, because the data travels as JSON,
// and enough to revoke the key after role and caller are gone.
func leasePointer(rec record) map[string]any {
	return map[string]any{
		"version": leaseVersion,
		"id":      rec.ID,
		"config":  rec.Config,
		"role":    rec.Role,
	}
}

// leaseData reads the internal data of a lease, of this version or an older one.
func leaseData(secret *logical.Secret) (pointer, error) {
	if secret == nil {
		return pointer{}, fmt.Errorf("the lease has no data")
	}
	p := pointer{}
	p.id, _ = secret.InternalData["id"].(string)
	p.config, _ = secret.InternalData["config"].(string)
	p.role, _ = secret.InternalData["role"].(string)
	if p.id == "" || p.config == "" || p.role == "" {
		return pointer{}, fmt.Errorf("the lease does not say which key it holds")
	}
	return p, nil
}
