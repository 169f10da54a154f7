package backend

import (
	"context"
	"fmt"
	"maps"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// A roleEntry is a stored role. Durations are whole seconds; zero is the mount's
// own default or maximum.
//
//	{"version":1,"config_name":"openai","ttl":3600,"max_ttl":86400,"fields":{"project_id":"proj_…"}}
type roleEntry struct {
	Version int `json:"version"`
	keyRole
	TTL           seconds `json:"ttl"`
	MaxTTL        seconds `json:"max_ttl"`
	MaxActiveKeys int     `json:"max_active_keys,omitempty"` // 0 = no cap
}

const roleVersion = 1

func newRoleEntry() *roleEntry {
	return &roleEntry{Version: roleVersion, TTL: 3600, MaxTTL: 24 * 3600, keyRole: keyRole{Fields: provider.Values{}}}
}

func (r *roleEntry) clone() *roleEntry {
	next := *r
	next.keyRole = r.keyRole.clone()
	return &next
}

func loadRole(ctx context.Context, s logical.Storage, name string) (*roleEntry, error) {
	role, err := load[roleEntry](ctx, s, roleKey(name))
	if role != nil {
		role.name = name
	}
	return role, err
}

// pathList matches a collection, or what is below a part of a name.
const pathList = `(?:/(?P<prefix>(?:[^/]+/)*))?$`

// pathName matches a name that may hold slashes. Which names are good is for
// checkName to say, in words.
const pathName = `/(?P<name>.+)$`

func (b *backend) rolePaths() []*framework.Path {
	fields := b.keyRoleFields()
	fields["ttl"] = &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: "How long a lease lasts if the caller does not say; 0 = the mount's default.", Default: 3600}
	fields["max_ttl"] = &framework.FieldSchema{Type: framework.TypeDurationSecond, Description: "How long a lease may last with all renewals; 0 = the mount's maximum.", Default: 86400}
	fields["max_active_keys"] = &framework.FieldSchema{Type: framework.TypeInt, Description: "How many keys of this role may be live at once; 0 = no cap."}
	prefix := map[string]*framework.FieldSchema{
		"prefix": {Type: framework.TypeString, Description: "What the names begin with, up to a slash: team-a/."},
	}
	answer := keyRoleAnswer(fields)
	maps.Copy(answer, texts(b.registry.Answers().Role)) // for tokens, so not for static roles
	return []*framework.Path{
		{
			Pattern:      "roles" + pathList,
			DisplayAttrs: display("roles|roles-below"),
			Fields:       prefix,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: listing(b.listRoles, "List the roles, or those below a part of a name."),
			},
			HelpSynopsis:    "List the roles.",
			HelpDescription: "Names of roles. One that ends in a slash has roles below it: list roles/<name>/.",
		},
		{
			Pattern:        "roles" + pathName,
			DisplayAttrs:   display("role"),
			Fields:         fields,
			ExistenceCheck: existence(roleKey),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   mayRefuse(reading(b.readRole, "Read a role.", answer), http.StatusNotFound),
				logical.CreateOperation: forwarded(b.writeRole, "Create a role, or change some or all of its fields.", okOrNothing()),
				logical.UpdateOperation: forwarded(b.writeRole, "Create a role, or change some or all of its fields.", okOrNothing()),
				logical.DeleteOperation: writing(b.deleteRole, "Delete a role; its leases end as they are."),
			},
			HelpSynopsis: "Say which keys can be read at creds/, for how long, and what they may do.",
			HelpDescription: `
A role names a connection and what its keys may do at the provider. Write
config_name and the provider's fields first; a later write changes only the
fields that it names, for keys that are issued from then on. Slashes in a name
make a tree, so that a policy can give a team its own part. Deleting a role
leaves its leases to end as they are, but none can be renewed.`,
		},
	}
}

// okOrNothing is the answer to a write that may have warnings.
func okOrNothing() map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusOK:        {{Description: "Stored, with warnings."}},
		http.StatusNoContent: {{Description: http.StatusText(http.StatusNoContent)}},
	}
}

func (b *backend) listRoles(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return listNames(ctx, req.Storage, rolePrefix, d)
}

func (b *backend) readRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	role, err := loadRole(ctx, req.Storage, name)
	if err != nil || role == nil {
		return nil, err
	}
	data, err := b.keyRoleData(ctx, req.Storage, &role.keyRole)
	if err != nil {
		return nil, err
	}
	data["ttl"] = int64(role.TTL)
	data["max_ttl"] = int64(role.MaxTTL)
	data["max_active_keys"] = role.MaxActiveKeys
	return &logical.Response{Data: data}, nil
}

func (b *backend) writeRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, release, err := b.lockNamed(ctx, "role", d)
	if err != nil {
		return nil, err
	}
	defer release()
	old, err := loadRole(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	next, before := newRoleEntry(), (*keyRole)(nil)
	if old != nil {
		next, before = old.clone(), &old.keyRole
	}
	next.name = name
	conn, err := b.applyRole(ctx, req.Storage, d, next)
	if err != nil {
		return nil, err
	}
	warning, err := b.checkRoleAt(ctx, conn, before, &next.keyRole)
	if err != nil {
		return nil, err
	}
	if old != nil && !mintsAlike(conn, before, &next.keyRole) {
		if err := b.retirePrincipals(ctx, req.Storage, name); err != nil {
			return nil, err
		}
	}
	if err := save(ctx, req.Storage, roleKey(name), next); err != nil {
		return nil, err
	}
	b.Logger().Info("role written", "role", name, "config", next.Config)
	if warning == "" {
		return nil, nil
	}
	return &logical.Response{Warnings: []string{warning}}, nil
}

// applyRole applies a write to a copy of what is stored, and checks it.
func (b *backend) applyRole(ctx context.Context, s logical.Storage, d *framework.FieldData, role *roleEntry) (*connection, error) {
	if err := b.nameIsFree(ctx, s, role.name, staticKey, "static role"); err != nil {
		return nil, err
	}
	conn, err := role.apply(ctx, b, s, d)
	if err != nil {
		return nil, err
	}
	err = firstError(
		setSeconds(d, "ttl", &role.TTL, 0, longestTTL),
		setSeconds(d, "max_ttl", &role.MaxTTL, 0, longestTTL),
		setInt(d, "max_active_keys", &role.MaxActiveKeys, 0, 1_000_000),
	)
	if err != nil {
		return nil, err
	}
	if role.MaxTTL > 0 && role.TTL > role.MaxTTL {
		return nil, badField("ttl", "%s is above max_ttl, which is %s; lower ttl or raise max_ttl", role.TTL.duration(), role.MaxTTL.duration())
	}
	return conn, nil
}

// nameIsFree refuses the name of a role for a static role, and the other way round.
// Both are written under one slot.
func (b *backend) nameIsFree(ctx context.Context, s logical.Storage, name string, other func(string) string, what string) error {
	taken, err := s.Get(ctx, other(name))
	if err != nil {
		return fmt.Errorf("look for a %s of the same name: %w", what, err)
	}
	if taken != nil {
		return badField("name", "%q is a %s; give another name, or delete that first", name, what)
	}
	return nil
}

func (b *backend) deleteRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, release, err := b.lockNamed(ctx, "role", d)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := b.retirePrincipals(ctx, req.Storage, name); err != nil {
		return nil, err
	}
	if err := remove(ctx, req.Storage, roleKey(name)); err != nil {
		return nil, err
	}
	b.Logger().Info("role deleted", "role", name)
	return nil, nil
}
