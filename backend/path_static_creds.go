package backend

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// This file hands out the keys of static roles. What it answers is a contract with
// clients that compare it byte by byte, or sleep for as long as it says:
//
//   - between two rotations nothing but ttl changes;
//   - ttl is a whole number of seconds, at least 1, and reaches its end when the next
//     rotation is due; if that is late, it says when to ask again;
//   - rotation_period is always there, also beside rotation_schedule.

func (b *backend) staticCredsPaths() []*framework.Path {
	return []*framework.Path{
		{
			Pattern:      "static-creds" + pathList,
			DisplayAttrs: display("static-credential-roles|static-credential-roles-below"),
			Fields: map[string]*framework.FieldSchema{
				"prefix": {Type: framework.TypeString, Description: "What the names begin with, up to a slash: team-a/."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: listing(b.listStaticRoles, "List the static roles whose keys can be read."),
			},
			HelpSynopsis:    "List the static roles whose keys can be read.",
			HelpDescription: "The same names as under static-roles/.",
		},
		{
			Pattern:      "static-creds" + pathName,
			DisplayAttrs: display("static-credentials"),
			Fields: map[string]*framework.FieldSchema{
				"name": {Type: framework.TypeString, Description: "Name of the static role.", Required: true},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayRefuse(reading(b.readStaticCreds, "Read the key of a static role.", b.staticCredsFields()), http.StatusForbidden, http.StatusNotFound, http.StatusServiceUnavailable),
			},
			HelpSynopsis: "Read the key of a static role.",
			HelpDescription: `
There is no lease: all who read it get the same key, until it is rotated. Read it
again when ttl is over. After a rotation the key that was read before stays valid
for the overlap of the role.`,
		},
	}
}

// staticCredsFields describes the key of a static role, and what its users need.
func (b *backend) staticCredsFields() map[string]*framework.FieldSchema {
	fields := b.keyFields()
	for _, leased := range []string{"role", "expires_at", "auth_token"} {
		delete(fields, leased)
	}
	fields["api_key"].Description = "The key."
	for _, name := range b.registry.Names() {
		if p, _ := b.registry.Get(name); p.Limits().Irrevocable { // a token is never static
			for field := range p.Answers().Key {
				delete(fields, field)
			}
		}
	}
	fields["last_vault_rotation"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the key was rotated last, in RFC 3339 to the nanosecond."}
	fields["rotation_period"] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Seconds between two rotations; of a schedule, from the last one to the next."}
	fields["rotation_schedule"] = &framework.FieldSchema{Type: framework.TypeString, Description: "When the key is rotated, as five fields of cron in UTC; absent if it is by a period."}
	fields["ttl"] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Seconds until the next rotation, at least 1; if that is overdue, until the next try, at least 5."}
	return fields
}

func (b *backend) readStaticCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	before := ""
	for {
		e, err := loadStatic(ctx, req.Storage, name)
		if err != nil || e == nil {
			return nil, err
		}
		if err := e.mayAsk(ctx, req); err != nil {
			return nil, err
		}
		alive, err := b.staticKeyAlive(ctx, req.Storage, e)
		switch {
		case err != nil:
			return nil, err
		case alive:
			return &logical.Response{Data: b.staticCreds(e)}, nil
		case e.Key == nil || e.Key.Record == before:
			return nil, errVacant(name)
		}
		before = e.Key.Record // a rotation may have replaced it since the role was read
	}
}

func (b *backend) staticCreds(e *staticEntry) map[string]any {
	data := map[string]any{}
	for field, value := range e.Key.Data {
		data[field] = value
	}
	data["api_key"] = e.Key.Key
	data["key_id"] = e.Key.KeyID
	data["name"] = e.Key.Name
	data["provider"] = e.Key.Provider
	data["last_vault_rotation"] = rfc3339(e.Rotation.Last)
	data["rotation_period"] = int64(e.period())
	data["ttl"] = e.ttl(b.now())
	if e.Rotation.Schedule != "" {
		data["rotation_schedule"] = e.Rotation.Schedule
	}
	return data
}
