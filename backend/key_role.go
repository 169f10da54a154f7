package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

// A keyRole is what roles and static roles have in common: where their keys are
// minted, what they are named, and who answers for them. No role has the name of a
// static role.
type keyRole struct {
	Config        string            `json:"config_name"`
	NameTemplate  string            `json:"name_template,omitempty"`
	RequireEntity bool              `json:"require_entity,omitempty"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Fields        provider.Values   `json:"fields,omitempty"` // the provider's own

	name string // from where it is stored
}

// roleCheckBudget bounds the question whether what a role names exists.
const roleCheckBudget = 10 * time.Second

func (r keyRole) clone() keyRole {
	r.Metadata = maps.Clone(r.Metadata)
	r.Fields = maps.Clone(r.Fields)
	if r.Fields == nil {
		r.Fields = provider.Values{}
	}
	return r
}

// keyRoleFields are the fields of a write that are common to both.
func (b *backend) keyRoleFields() map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		"name":           {Type: framework.TypeString, Description: "Name of the role; slashes make a tree.", Required: true},
		"config_name":    {Type: framework.TypeString, Description: "Connection through which keys are minted. Required."},
		"name_template":  {Type: framework.TypeString, Description: "Template for the middle of a key's name at the provider, over .RoleName, .DisplayName, .EntityID, .EntityName and .Metadata."},
		"require_entity": {Type: framework.TypeBool, Description: "Refuse callers without an identity entity."},
		"metadata":       {Type: framework.TypeKVPairs, Description: "Facts about the role, such as owner, environment or ticket; recorded with each key."},
	}
	maps.Copy(fields, b.registry.RoleFields())
	return fields
}

// keyRoleAnswer describes what a read of either returns of its fields.
func keyRoleAnswer(fields map[string]*framework.FieldSchema) map[string]*framework.FieldSchema {
	answer := answering(fields, "name", "api_key")
	maps.Copy(answer, suspendedFields())
	return answer
}

// apply applies a write, and checks what comes of it as far as that needs no call.
func (r *keyRole) apply(ctx context.Context, b *backend, s logical.Storage, d *framework.FieldData) (*connection, error) {
	set(d, "config_name", &r.Config)
	set(d, "name_template", &r.NameTemplate)
	set(d, "require_entity", &r.RequireEntity)
	set(d, "metadata", &r.Metadata)
	if r.Config == "" {
		return nil, badField("config_name", "is missing; give the name of a connection under config/")
	}
	conn, err := b.connection(ctx, s, r.Config)
	if errors.Is(err, errNoConnection) {
		return nil, badField("config_name", "connection %q does not exist; write config/%s first", r.Config, r.Config)
	}
	if err != nil {
		return nil, err
	}
	return conn, firstErrorOf(
		func() error {
			return r.applyFields(b, conn, d)
		},
		func() error { return checkTemplate(r.NameTemplate) },
		func() error { return conn.allows(r) },
	)
}

// applyFields applies the fields that the provider declares. A bound is kept even if
// the provider does not enforce it: then the role is refused, be it that the bound
// is new or the provider is. What else belongs to a provider that the role has left
// is forgotten.
func (r *keyRole) applyFields(b *backend, conn *connection, d *framework.FieldData) error {
	own := provider.RoleFields(conn.provider)
	for name, schema := range b.registry.RoleFields() {
		if provider.IsGuardrail(name) {
			own[name] = schema
		}
	}
	maps.DeleteFunc(r.Fields, func(name string, _ any) bool { return own[name] == nil })
	return setProviderFields(d, b.registry.RoleFields(), own, conn.provider, r.Fields)
}

// keyRoleData is a read of the common fields, and of what suspends the role.
func (b *backend) keyRoleData(ctx context.Context, s logical.Storage, r *keyRole) (map[string]any, error) {
	suspended, err := suspensionOf(ctx, s, r.name)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"config_name":    r.Config,
		"name_template":  r.NameTemplate,
		"require_entity": r.RequireEntity,
		"metadata":       nonNilMap(r.Metadata),
		"suspended":      suspended != nil,
	}
	if suspended != nil {
		maps.Copy(data, suspended.data())
	}
	shown := b.roleFields(ctx, s, r.Config)
	for name, schema := range b.registry.RoleFields() {
		if provider.IsGuardrail(name) && provider.AsksFor(r.Fields, name) {
			shown[name] = schema // also one that the connection's provider has no use for any more
		}
	}
	providerFields(shown, r.Fields, data)
	return data, b.publishRole(ctx, s, r, data)
}

// publishRole adds to a read of a role what has to be entered at its provider.
func (b *backend) publishRole(ctx context.Context, s logical.Storage, r *keyRole, data map[string]any) error {
	entry, publisher := b.publisher(ctx, s, r.Config)
	if publisher == nil {
		return nil
	}
	mount, err := b.mount(ctx, s)
	if err != nil {
		return err
	}
	copyStrings(data, publisher.PublishRole(entry.settings(), mount.Tag, r.name, r.Fields))
	return nil
}

// publisher returns a connection and its provider, if that has something to show; nil
// also if the connection cannot be used: a role of it can be read all the same.
func (b *backend) publisher(ctx context.Context, s logical.Storage, config string) (*configEntry, provider.Publisher) {
	if conn, err := b.connection(ctx, s, config); err == nil {
		publisher, _ := conn.provider.(provider.Publisher)
		return conn.entry, publisher
	}
	return nil, nil
}

func copyStrings(into map[string]any, from map[string]string) {
	for name, value := range from {
		into[name] = value
	}
}

// roleFields are the fields that the provider of a connection declares. Without
// the connection, those of all providers.
func (b *backend) roleFields(ctx context.Context, s logical.Storage, config string) map[string]*framework.FieldSchema {
	if conn, err := b.connection(ctx, s, config); err == nil {
		return provider.RoleFields(conn.provider)
	}
	return b.registry.RoleFields()
}

// mintsAlike reports whether two versions of a role mint in the same place.
func mintsAlike(conn *connection, old, next *keyRole) bool {
	return old.Config == next.Config && conn.provider.Scope(old.Fields) == conn.provider.Scope(next.Fields)
}

// checkRoleAt asks the provider whether what a role names exists, if that has
// changed; old is nil for a new role. A provider that cannot be asked does not keep
// a role from being written: then there is a warning.
func (b *backend) checkRoleAt(ctx context.Context, conn *connection, old, next *keyRole) (warning string, err error) {
	checker, ok := conn.client.(provider.RoleChecker)
	if !ok || old != nil && mintsAlike(conn, old, next) && reflect.DeepEqual(old.Fields, next.Fields) {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, roleCheckBudget)
	defer cancel()
	err = checker.CheckRoleAt(ctx, next.Fields)
	if _, bad := errors.AsType[*provider.FieldError](err); bad || err == nil {
		return "", err
	}
	return fmt.Sprintf("the role is stored, but the provider could not be asked whether %q exists: %s", conn.provider.Scope(next.Fields), b.noted(conn, err)), nil
}

// mayAsk refuses a caller who may not have a key of the role.
func (r *keyRole) mayAsk(ctx context.Context, req *logical.Request) error {
	if err := mayUse(ctx, req.Storage, r.name); err != nil {
		return err
	}
	if r.RequireEntity && req.EntityID == "" {
		return errNoEntity(r.name)
	}
	return nil
}

// loadKeyRole returns what is stored under a name, be it a role or a static role;
// nil if neither is.
func loadKeyRole(ctx context.Context, s logical.Storage, name string) (*keyRole, error) {
	role, err := loadRole(ctx, s, name)
	if err != nil {
		return nil, err
	}
	if role != nil {
		return &role.keyRole, nil
	}
	static, err := loadStatic(ctx, s, name)
	if err != nil || static == nil {
		return nil, err
	}
	return &static.keyRole, nil
}

// walkKeyRoles calls visit with all roles and static roles.
func walkKeyRoles(ctx context.Context, s logical.Storage, visit func(*keyRole)) error {
	for _, prefix := range []string{rolePrefix, staticPrefix} {
		err := walk(ctx, s, prefix, func(key string) error {
			role, err := load[keyRole](ctx, s, key)
			if role != nil {
				role.name = strings.TrimPrefix(key, prefix)
				visit(role)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// listNames answers a LIST of the names below a part of a tree.
func listNames(ctx context.Context, s logical.Storage, root string, d *framework.FieldData) (*logical.Response, error) {
	prefix := d.Get("prefix").(string)
	if prefix != "" {
		if err := checkName(strings.TrimSuffix(prefix, "/")); err != nil {
			return nil, err
		}
	}
	names, err := list(ctx, s, root+prefix)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}
