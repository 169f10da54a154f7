package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// A roleEntry is a stored role. Durations are whole seconds; zero is the mount's
// own default or maximum.
//
//	{"version":1,"config_name":"openai","ttl":3600,"max_ttl":86400,"fields":{"project_id":"proj_…"}}
type roleEntry struct {
	Version       int               `json:"version"`
	Config        string            `json:"config_name"`
	TTL           seconds           `json:"ttl"`
	MaxTTL        seconds           `json:"max_ttl"`
	NameTemplate  string            `json:"name_template,omitempty"`
	RequireEntity bool              `json:"require_entity,omitempty"`
	MaxActiveKeys int               `json:"max_active_keys,omitempty"` // 0 = no cap
	Metadata      map[string]string `json:"metadata,omitempty"`
	Fields        provider.Values   `json:"fields,omitempty"` // the provider's own

	name string // from where it is stored
}

const roleVersion = 1

// roleCheckBudget bounds the question whether what a role names exists.
const roleCheckBudget = 10 * time.Second

func newRoleEntry() *roleEntry {
	return &roleEntry{Version: roleVersion, TTL: 3600, MaxTTL: 24 * 3600, Fields: provider.Values{}}
}

func (r *roleEntry) clone() *roleEntry {
	next := *r
	next.Metadata = maps.Clone(r.Metadata)
	next.Fields = maps.Clone(r.Fields)
	if next.Fields == nil {
		next.Fields = provider.Values{}
	}
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
	fields := map[string]*framework.FieldSchema{
		"name":            {Type: framework.TypeString, Description: "Name of the role; slashes make a tree.", Required: true},
		"config_name":     {Type: framework.TypeString, Description: "Connection through which keys are minted. Required."},
		"ttl":             {Type: framework.TypeDurationSecond, Description: "How long a lease lasts if the caller does not say; 0 = the mount's default.", Default: 3600},
		"max_ttl":         {Type: framework.TypeDurationSecond, Description: "How long a lease may last with all renewals; 0 = the mount's maximum.", Default: 86400},
		"name_template":   {Type: framework.TypeString, Description: "Template for the middle of a key's name at the provider, over .RoleName, .DisplayName, .EntityID, .EntityName and .Metadata."},
		"require_entity":  {Type: framework.TypeBool, Description: "Refuse callers without an identity entity."},
		"max_active_keys": {Type: framework.TypeInt, Description: "How many keys of this role may be live at once; 0 = no cap."},
		"metadata":        {Type: framework.TypeKVPairs, Description: "Facts about the role, such as owner, environment or ticket; recorded with each key."},
	}
	maps.Copy(fields, b.registry.RoleFields())
	prefix := map[string]*framework.FieldSchema{
		"prefix": {Type: framework.TypeString, Description: "Part of the tree of names, with its slash."},
	}
	answer := maps.Clone(fields)
	delete(answer, "name")
	maps.Copy(answer, suspendedFields())
	return []*framework.Path{
		{
			Pattern:      "roles" + pathList,
			DisplayAttrs: display("roles"),
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
				logical.ReadOperation:   reading(b.readRole, "Read a role.", answer),
				logical.CreateOperation: forwarded(b.writeRole, "Create a role.", okOrNothing()),
				logical.UpdateOperation: forwarded(b.writeRole, "Change some or all fields of a role.", okOrNothing()),
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
	prefix := d.Get("prefix").(string)
	if prefix != "" {
		if err := checkName(strings.TrimSuffix(prefix, "/")); err != nil {
			return nil, err
		}
	}
	names, err := list(ctx, req.Storage, rolePrefix+prefix)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
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
	suspended, err := suspensionOf(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"config_name":     role.Config,
		"ttl":             int64(role.TTL),
		"max_ttl":         int64(role.MaxTTL),
		"name_template":   role.NameTemplate,
		"require_entity":  role.RequireEntity,
		"max_active_keys": role.MaxActiveKeys,
		"metadata":        nonNilMap(role.Metadata),
		"suspended":       suspended != nil,
	}
	if suspended != nil {
		maps.Copy(data, suspended.data())
	}
	providerFields(b.roleFields(ctx, req.Storage, role.Config), role.Fields, data)
	return &logical.Response{Data: data}, nil
}

// roleFields are the fields that the provider of a connection declares. Without
// the connection, those of all providers.
func (b *backend) roleFields(ctx context.Context, s logical.Storage, config string) map[string]*framework.FieldSchema {
	if conn, err := b.connection(ctx, s, config); err == nil {
		return conn.provider.RoleFields()
	}
	return b.registry.RoleFields()
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
	next := newRoleEntry()
	if old != nil {
		next = old.clone()
	}
	next.name = name
	conn, err := b.applyRole(ctx, req.Storage, d, next)
	if err != nil {
		return nil, err
	}
	resp, err := b.checkRoleAt(ctx, conn, old, next)
	if err != nil {
		return nil, err
	}
	if old != nil && !mintsAlike(conn, old, next) {
		if err := b.retirePrincipals(ctx, req.Storage, name); err != nil {
			return nil, err
		}
	}
	if err := save(ctx, req.Storage, roleKey(name), next); err != nil {
		return nil, err
	}
	b.Logger().Info("role written", "role", name, "config", next.Config)
	return resp, nil
}

// applyRole applies a write to a copy of what is stored, and checks it.
func (b *backend) applyRole(ctx context.Context, s logical.Storage, d *framework.FieldData, role *roleEntry) (*connection, error) {
	set(d, "config_name", &role.Config)
	set(d, "name_template", &role.NameTemplate)
	set(d, "require_entity", &role.RequireEntity)
	set(d, "metadata", &role.Metadata)
	if role.Config == "" {
		return nil, badField("config_name", "is missing; give the name of a connection under config/")
	}
	conn, err := b.connection(ctx, s, role.Config)
	if errors.Is(err, errNoConnection) {
		return nil, badField("config_name", "connection %q does not exist; write config/%s first", role.Config, role.Config)
	}
	if err != nil {
		return nil, err
	}
	longest := longestTTL
	err = firstError(
		setSeconds(d, "ttl", &role.TTL, 0, longest),
		setSeconds(d, "max_ttl", &role.MaxTTL, 0, longest),
		setInt(d, "max_active_keys", &role.MaxActiveKeys, 0, 1_000_000),
		setProviderFields(d, b.registry.RoleFields(), conn.provider.RoleFields(), conn.provider, role.Fields),
	)
	if err != nil {
		return nil, err
	}
	if role.MaxTTL > 0 && role.TTL > role.MaxTTL {
		return nil, badField("ttl", "%s is above max_ttl, which is %s; lower ttl or raise max_ttl", role.TTL.duration(), role.MaxTTL.duration())
	}
	if err := checkTemplate(role.NameTemplate); err != nil {
		return nil, err
	}
	return conn, conn.allows(role)
}

// mintsAlike reports whether two versions of a role mint in the same place.
func mintsAlike(conn *connection, old, next *roleEntry) bool {
	return old.Config == next.Config && conn.provider.Scope(old.Fields) == conn.provider.Scope(next.Fields)
}

// checkRoleAt asks the provider whether what a role names exists, if that has
// changed. A provider that cannot be asked does not keep a role from being
// written.
func (b *backend) checkRoleAt(ctx context.Context, conn *connection, old, next *roleEntry) (*logical.Response, error) {
	checker, ok := conn.client.(provider.RoleChecker)
	if !ok || old != nil && mintsAlike(conn, old, next) {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, roleCheckBudget)
	defer cancel()
	err := checker.CheckRoleAt(ctx, next.Fields)
	if _, bad := errors.AsType[*provider.FieldError](err); bad || err == nil {
		return nil, err
	}
	resp := &logical.Response{}
	resp.AddWarning(fmt.Sprintf("the role is stored, but the provider could not be asked whether %q exists: %s", conn.provider.Scope(next.Fields), b.noted(conn, err)))
	return resp, nil
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
