package backend

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// This file shows the ledger. Nothing here holds a key, and nothing here changes
// anything.

const (
	// keysLimit is how many keys a page has, if the caller does not say.
	keysLimit = 100
	// keysMost is how many it may have.
	keysMost = 1000
	// keysScan is how many records a page reads at most. A filter that few records
	// meet gives short pages.
	keysScan = 20_000
)

func (b *backend) keyPaths() []*framework.Path {
	filters := map[string]*framework.FieldSchema{
		"role":      {Type: framework.TypeString, Description: "Only keys of this role; with a slash at the end, of all roles below it.", Query: true},
		"entity_id": {Type: framework.TypeString, Description: "Only keys that this identity entity asked for.", Query: true},
		"kind":      {Type: framework.TypeString, Description: "Only keys of this kind: lease, static or admin.", Query: true},
		"state":     {Type: framework.TypeString, Description: "Only keys in this state: pending, active or revoking.", Query: true},
		"after":     {Type: framework.TypeString, Description: "Only keys whose id comes after this one: where the page before ended.", Query: true},
		"limit":     {Type: framework.TypeInt, Description: "How many keys at most: 1 to 1000.", Default: keysLimit, Query: true},
	}
	page := map[string]*framework.FieldSchema{
		"keys":     {Type: framework.TypeStringSlice, Description: "Ids of keys, the oldest first."},
		"key_info": {Type: framework.TypeMap, Description: "For each id: role, config, kind, state, owner, entity_id, key_id, created_at and expires_at."},
		"next":     {Type: framework.TypeString, Description: "What to give as after for the next page; absent on the last."},
	}
	return []*framework.Path{
		{
			Pattern:      "keys/?$",
			DisplayAttrs: display("keys"),
			Fields:       filters,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: mayRefuse(reading(b.listKeys, "List keys.", page), http.StatusNotFound),
				logical.ReadOperation: reading(b.listKeys, "List keys, for clients that cannot filter a LIST.", page),
			},
			HelpSynopsis: "List the keys that may exist at the providers because of this mount.",
			HelpDescription: `
Every key has a record from before it is made until its provider has confirmed
that it is gone. The ids are those of records, the oldest first, by pages: give
next as after. The command line sends no filters with a list; use read instead,
as in vault read llm/keys role=team-a/ state=revoking.`,
		},
		{
			Pattern:      "keys/(?P<id>[^/]+)$",
			DisplayAttrs: display("key"),
			Fields: map[string]*framework.FieldSchema{
				"id": {Type: framework.TypeString, Description: "Id of the key's record.", Required: true},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayRefuse(reading(b.readKey, "Read what is known of a key.", recordFields()), http.StatusNotFound),
			},
			HelpSynopsis:    "Read what is known of a key: whose it is, what it is for and what becomes of it.",
			HelpDescription: "The key itself is not kept and cannot be read. A key that is gone has no record.",
		},
	}
}

// recordFields describes a record as it is read.
func recordFields() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	return map[string]*framework.FieldSchema{
		"id":             text("Id of the record."),
		"role":           text("Role under which the key was issued; empty for an admin key."),
		"config":         text("Connection of the key."),
		"provider":       text("Provider of the key."),
		"key_id":         text("The provider's id of the key; empty while it is not known."),
		"name":           text("Name of the key at the provider."),
		"scope":          text("Where the provider lists the key: a project at OpenAI."),
		"kind":           text("What holds the key: lease, static for a static role, or admin for the admin key of a connection; in a lookup also pool, for a key of a pool that nobody holds."),
		"state":          text("pending: its creation is under way or had no answer. active: somebody has it. revoking: it is to be deleted. Empty for a key of a pool that nobody holds."),
		"entity_id":      text("Identity entity that asked for the key; empty for a token without one."),
		"entity_name":    text("Name of the entity when the key was asked for."),
		"display_name":   text("Display name of the token that asked for the key."),
		"aliases":        {Type: framework.TypeStringSlice, Description: "How the entity logs in, as type/name: type of the auth mount, and name there."},
		"alias_metadata": {Type: framework.TypeKVPairs, Description: "Metadata of the entity's aliases, under type/name/key."},
		"metadata":       {Type: framework.TypeKVPairs, Description: "Metadata of the role when the key was asked for."},
		"request_id":     text("Id of the request, as in Vault's audit log."),
		"created_at":     text("When the key was asked for, in RFC 3339."),
		"expires_at":     text("When the provider itself refuses the key, in RFC 3339; empty if it never does, or while that is not known."),
		"next_attempt":   text("When the deletion of a key that is being revoked is tried next, in RFC 3339; empty for all others."),
		"attempts":       {Type: framework.TypeInt, Description: "Deletions of the key that failed."},
		"last_error":     text("Why the last deletion failed; empty if none did."),
	}
}

// recordData is a record as it is read.
func recordData(rec record) map[string]any {
	next := ""
	if rec.State == revoking && !rec.Token {
		next = rfc3339(rec.Due)
	}
	return map[string]any{
		"id":             rec.ID,
		"role":           rec.Role,
		"config":         rec.Config,
		"provider":       rec.Provider,
		"key_id":         rec.KeyID,
		"name":           rec.Name,
		"scope":          rec.Scope,
		"kind":           string(rec.Kind),
		"state":          string(rec.State),
		"entity_id":      rec.EntityID,
		"entity_name":    rec.EntityName,
		"display_name":   rec.DisplayName,
		"aliases":        nonNil(rec.Aliases),
		"alias_metadata": nonNilMap(rec.AliasMetadata),
		"metadata":       nonNilMap(rec.Metadata),
		"request_id":     rec.RequestID,
		"created_at":     rfc3339(rec.CreatedAt),
		"expires_at":     rfc3339(rec.ExpiresAt),
		"next_attempt":   next,
		"attempts":       rec.Attempts,
		"last_error":     rec.LastError,
	}
}

// A keyFilter says which keys a page is to hold.
type keyFilter struct {
	role, entityID string
	kind           kind
	state          state
	after          string
	limit          int
}

func readFilter(d *framework.FieldData) (keyFilter, error) {
	f := keyFilter{limit: keysLimit}
	set(d, "role", &f.role)
	if given(d, "role") && f.role == "" { // Vault's policies let it through, whatever roles they allow
		return f, badField("role", "is empty; give the name of a role, or such a name with a slash at the end, or leave it out")
	}
	set(d, "entity_id", &f.entityID)
	set(d, "after", &f.after)
	f.state = state(d.Get("state").(string))
	f.kind = kind(d.Get("kind").(string))
	switch f.kind {
	case "", lease, static, admin:
	default:
		return f, badField("kind", "is %q; give lease, static or admin", f.kind)
	}
	switch f.state {
	case "", pending, active, revoking:
	default:
		return f, badField("state", "is %q; give pending, active or revoking", f.state)
	}
	if f.role != "" {
		if err := checkName(strings.TrimSuffix(f.role, "/")); err != nil {
			return f, badField("role", "%q is not the name of a role, or such a name with a slash at the end", f.role)
		}
	}
	return f, setInt(d, "limit", &f.limit, 1, keysMost)
}

func (f keyFilter) takes(rec record) bool {
	return (f.state == "" || rec.State == f.state) && (f.kind == "" || rec.Kind == f.kind) && (f.role == "" || standsFor(f.role, rec.Role))
}

func (b *backend) listKeys(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	filter, err := readFilter(d)
	if err != nil {
		return nil, err
	}
	pointers, err := b.pointersFor(ctx, req.Storage, filter)
	if err != nil {
		return nil, err
	}
	recs, next, err := b.ledger(req.Storage).page(ctx, pointers, filter)
	if err != nil {
		return nil, err
	}
	ids, info := make([]string, 0, len(recs)), map[string]any{}
	for _, rec := range recs {
		ids = append(ids, rec.ID)
		info[rec.ID] = summary(rec)
	}
	resp := &logical.Response{Data: map[string]any{"keys": ids, "key_info": info}}
	if next != "" {
		resp.Data["next"] = next
	}
	if len(ids) == 0 && req.Operation == logical.ListOperation {
		delete(resp.Data, "keys") // Vault answers an empty list as 404, even if there is a next page
		if next == "" {
			delete(resp.Data, "key_info")
		}
	}
	return resp, nil
}

// summary is what a list says of a key.
func summary(rec record) map[string]any {
	return map[string]any{
		"role":       rec.Role,
		"config":     rec.Config,
		"kind":       string(rec.Kind),
		"state":      string(rec.State),
		"owner":      rec.owner.String(),
		"entity_id":  rec.EntityID,
		"key_id":     rec.KeyID,
		"created_at": rfc3339(rec.CreatedAt),
		"expires_at": rfc3339(rec.ExpiresAt),
	}
}

// pointersFor returns where the records may be that a filter takes, by id.
func (b *backend) pointersFor(ctx context.Context, s logical.Storage, f keyFilter) ([]pointer, error) {
	var pointers []pointer
	var err error
	if f.entityID != "" {
		pointers, err = b.pointersWith(ctx, s, byEntity(f.entityID))
	} else {
		pointers, err = b.ledger(s).pointersUnder(ctx, f.role)
	}
	pointers = slices.DeleteFunc(pointers, func(p pointer) bool { return p.id <= f.after })
	slices.SortFunc(pointers, func(a, b pointer) int { return strings.Compare(a.id, b.id) })
	return pointers, err
}

// page reads records up to the limit of a filter. Next is the last that was read, if
// there are more.
func (l ledger) page(ctx context.Context, pointers []pointer, f keyFilter) (recs []record, next string, err error) {
	for i, p := range pointers {
		if len(recs) == f.limit || i == keysScan {
			return recs, pointers[i-1].id, nil
		}
		rec, err := l.get(ctx, p)
		if err != nil {
			return nil, "", err
		}
		if rec != nil && f.takes(*rec) {
			recs = append(recs, *rec)
		}
	}
	return recs, "", nil
}

func (b *backend) readKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	id := d.Get("id").(string)
	if !isID(id) {
		return nil, nil
	}
	recs, err := b.recordsWith(ctx, req.Storage, byID(id))
	if err != nil || len(recs) == 0 {
		return nil, err
	}
	return &logical.Response{Data: recordData(recs[0])}, nil
}

// errNoKey is the answer to a question about a key that has no record.
func errNoKey() error {
	return refuse(http.StatusNotFound, "no key of this mount is known by that: it is gone, or it was never issued here; see audit/ for keys that others made")
}
