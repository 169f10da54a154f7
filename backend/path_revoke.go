package backend

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file looks keys up and revokes them, for a person who holds a leaked key, or
// knows an agent or a user that must have none any more.
//
//   - A leaked key is hashed at once. It is not stored, logged or repeated.
//   - What is asked for by one key and is not known is 404: that must not look like
//     success.

func (b *backend) revokePaths() []*framework.Path {
	key := func(what string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: what, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}}
	}
	return []*framework.Path{
		{
			Pattern:      "lookup$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "look-up", OperationSuffix: "leaked-key"},
			Fields: map[string]*framework.FieldSchema{
				"api_key": key("The key itself, as it was found. It is hashed at once, and neither kept nor logged."),
				"key_id":  {Type: framework.TypeString, Description: "The provider's id of the key."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: mayRefuse(forwarded(b.lookup, "Say whose a key is.", okResponse(recordFields())), http.StatusNotFound),
			},
			HelpSynopsis:    "Say whose a key is, by the key itself or by the provider's id of it.",
			HelpDescription: "Give api_key or key_id. The answer is what keys/ says of the key, or 404 if no key of this mount is known by that.",
		},
		{
			Pattern:      "revoke$",
			DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "revoke", OperationSuffix: "live-keys"},
			Fields: map[string]*framework.FieldSchema{
				"id":        {Type: framework.TypeString, Description: "Id of a key's record, as keys/ lists it."},
				"key_id":    {Type: framework.TypeString, Description: "The provider's id of a key."},
				"api_key":   key("A key itself, as it was found. It is hashed at once, and neither kept nor logged."),
				"entity_id": {Type: framework.TypeString, Description: "Identity entity, which may be deleted in Vault: all keys that it asked for."},
				"role":      {Type: framework.TypeString, Description: "Role, which may be deleted: all of its keys. With a slash at the end, those of all roles below it."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: mayRefuse(forwarded(b.revokeKeys, "Delete keys at their provider now.", okResponse(withKillAnswer(nil))), http.StatusNotFound),
			},
			HelpSynopsis: "Delete keys at their provider now, whatever leases hold them.",
			HelpDescription: `
Give exactly one of id, key_id, api_key, entity_id and role. What cannot be deleted
now stays queued and is tried again until it is gone. Leases of revoked keys are
left in Vault: they can be neither renewed nor used, and end by themselves. New
keys can still be read; suspend/ is what stops them.`,
		},
	}
}

// withKillAnswer adds to an answer what says how a kill went.
func withKillAnswer(fields map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	answer := map[string]*framework.FieldSchema{
		"revoked": {Type: framework.TypeInt, Description: "Keys that are gone at their provider now."},
		"queued":  {Type: framework.TypeInt, Description: "Keys for which there was no time: they are marked, and the sweep deletes them. Tokens that nothing can revoke: they end by themselves."},
		"failed":  {Type: framework.TypeSlice, Description: "Keys whose deletion failed, with id and error: they stay queued too."},
	}
	maps.Copy(answer, fields)
	return answer
}

// response is how a kill is answered.
func (r *killResult) response() *logical.Response {
	failed := make([]map[string]any, 0, len(r.failed))
	for _, f := range r.failed {
		failed = append(failed, map[string]any{"id": f.id, "error": provider.HideKeys(f.err.Error())})
	}
	resp := &logical.Response{Data: map[string]any{"revoked": r.revoked, "queued": r.queued + r.tokens, "failed": failed}}
	if r.tokens > 0 {
		resp.AddWarning(fmt.Sprintf("%s cannot be revoked at the provider and may work until %s, when the last of them ends", countOf(r.tokens, "token"), rfc3339(r.lastEnd.Truncate(time.Second))))
	}
	if alive := r.queued + len(r.failed); alive > 0 {
		resp.AddWarning(fmt.Sprintf("%s may still work; deletion is tried again until the provider confirms it: see keys/ with state=revoking", keysOf(alive)))
	}
	return resp
}

// oneOf returns the only field of a request that has a value.
func oneOf(d *framework.FieldData, fields ...string) (field, value string, err error) {
	for _, name := range fields {
		text := strings.TrimSpace(d.Get(name).(string))
		switch {
		case text == "":
		case field != "":
			return "", "", badField(name, "is given beside %s; give exactly one of %s", field, strings.Join(fields, ", "))
		default:
			field, value = name, text
		}
	}
	if field != "api_key" && provider.HideKeys(value) != value {
		return "", "", badField(field, "looks like a key; give it as api_key, where it is hashed at once")
	}
	if field == "" {
		return "", "", badRequest(fmt.Sprintf("nothing says which keys; give exactly one of %s", strings.Join(fields, ", ")))
	}
	return field, value, nil
}

// namedBy returns the record of the key that a field of a request names.
func (b *backend) namedBy(ctx context.Context, s logical.Storage, field, value string) (record, error) {
	f := byID(value)
	switch field {
	case "api_key":
		mount, err := b.mount(ctx, s)
		if err != nil {
			return record{}, err
		}
		f = byKeyHash(keyHash(mount.Salt, value))
	case "key_id":
		f = byKeyID(value)
	case "id":
		if !isID(value) {
			return record{}, errNoKey()
		}
	}
	recs, err := b.recordsWith(ctx, s, f)
	if err != nil {
		return record{}, err
	}
	switch len(recs) {
	case 0:
		return record{}, errNoKey()
	case 1:
		return recs[0], nil
	}
	var ids []string
	for _, rec := range recs {
		ids = append(ids, rec.ID)
	}
	slices.Sort(ids)
	return record{}, badField(field, "names %d keys, of several connections; name one by its id: %s", len(recs), strings.Join(ids, ", "))
}

func (b *backend) lookup(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	field, value, err := oneOf(d, "api_key", "key_id")
	if err != nil {
		return nil, err
	}
	rec, err := b.namedBy(ctx, req.Storage, field, value)
	if isNotKnown(err) {
		return b.lookupPooled(ctx, req.Storage, field, value, err)
	}
	if err != nil {
		return nil, err
	}
	b.Logger().Info("key looked up", "by", b.callerOf(req).String(), "with", field, "id", rec.ID, "role", rec.Role, "config", rec.Config)
	return &logical.Response{Data: recordData(rec)}, nil
}

func (b *backend) revokeKeys(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	field, value, err := oneOf(d, "id", "key_id", "api_key", "entity_id", "role")
	if err != nil {
		return nil, err
	}
	switch field {
	case "role":
		if err := checkName(strings.TrimSuffix(value, "/")); err != nil {
			return nil, badField("role", "%q is not the name of a role, or such a name with a slash at the end", value)
		}
		if err := b.mustMean(ctx, req.Storage, value); err != nil {
			return nil, err
		}
		return b.revokeTarget(ctx, req, target{role: value})
	case "entity_id":
		return b.revokeTarget(ctx, req, target{entityID: value})
	}
	rec, err := b.namedBy(ctx, req.Storage, field, value)
	if isNotKnown(err) {
		return b.revokePooled(ctx, req, field, value, err)
	}
	if err != nil {
		return nil, err
	}
	who := b.callerOf(req)
	b.Logger().Info("revoke of a key", "by", who.String(), "with", field, "id", rec.ID, "role", rec.Role, "config", rec.Config)
	result, err := b.killRecord(ctx, req.Storage, rec, who)
	if err != nil {
		return nil, err
	}
	resp := result.response()
	if e, err := loadPooled(ctx, req.Storage, rec.Config, rec.KeyID); rec.KeyID != "" && err == nil && e != nil && !e.RetiredAt.IsZero() {
		e.warnRetired(resp)
	}
	return resp, nil
}

// lookupPooled looks up a key that no record names: it may be of a pool.
func (b *backend) lookupPooled(ctx context.Context, s logical.Storage, field, value string, notKnown error) (*logical.Response, error) {
	e, err := b.pooledBy(ctx, s, field, value)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, notKnown
	}
	rec, err := b.holderOf(ctx, s, e)
	if err != nil {
		return nil, err
	}
	if rec != nil { // it is being handed out, or nobody knows whether it was
		return &logical.Response{Data: recordData(*rec)}, nil
	}
	return pooledAnswer(e), nil
}

// revokePooled retires a key of a pool that no record names, and kills that of whoever
// is about to get it.
func (b *backend) revokePooled(ctx context.Context, req *logical.Request, field, value string, notKnown error) (*logical.Response, error) {
	e, err := b.pooledBy(ctx, req.Storage, field, value)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, notKnown
	}
	if err := b.retire(ctx, req.Storage, e); err != nil {
		return nil, err
	}
	result := &killResult{}
	// Who has taken it since has not handed it over, or sees that it is retired.
	if e, err = loadPooled(ctx, req.Storage, e.config, e.KeyID); err != nil || e == nil {
		return nil, err
	}
	rec, err := b.holderOf(ctx, req.Storage, e)
	if err != nil {
		return nil, err
	}
	if rec != nil {
		if result, err = b.killRecord(ctx, req.Storage, *rec, b.callerOf(req)); err != nil {
			return nil, err
		}
	}
	resp := result.response()
	e.warnRetired(resp)
	return resp, nil
}

func (b *backend) killRecord(ctx context.Context, s logical.Storage, rec record, who owner) (*killResult, error) {
	t := target{record: new(rec.pointer())}
	if rec.Kind != admin {
		return b.killTarget(ctx, s, t, who)
	}
	result, err := b.killAdmin(ctx, s, rec)
	if err == nil {
		b.tellKilled(t.String(), who, result)
	}
	return result, err
}

// revokeTarget kills many keys. None may be a typing error, so it is said.
func (b *backend) revokeTarget(ctx context.Context, req *logical.Request, t target) (*logical.Response, error) {
	who := b.callerOf(req)
	b.Logger().Info("a kill begins", "target", t.String(), "by", who.String())
	result, err := b.killTarget(ctx, req.Storage, t, who)
	if err != nil {
		return nil, err
	}
	resp := result.response()
	if result.revoked+result.queued+result.tokens+len(result.failed) == 0 {
		resp.AddWarning(fmt.Sprintf("no key of %s is in the ledger", t))
	}
	return resp, nil
}

// mustMean refuses a role that does not exist and has no key: in an incident, a
// typing error must not look like success.
func (b *backend) mustMean(ctx context.Context, s logical.Storage, role string) error {
	stored, err := rolesUnder(ctx, s, role)
	if err != nil || len(stored) > 0 {
		return err
	}
	keys, err := b.ledger(s).pointersUnder(ctx, role)
	if err != nil || len(keys) > 0 {
		return err
	}
	others, err := b.ledger(s).pointersUnder(ctx, otherMeaning(role))
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return badField("role", "there is no key of %q, but %s of %q", role, keysOf(len(others)), otherMeaning(role))
	}
	return badField("role", "there is neither a role %q nor a key of one; see roles/ and keys/", role)
}

// keysOf is a number of keys in words.
func keysOf(n int) string { return countOf(n, "key") }

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
