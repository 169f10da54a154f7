package backend

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

func (b *backend) staticRolePaths() []*framework.Path {
	prefix := map[string]*framework.FieldSchema{
		"prefix": {Type: framework.TypeString, Description: "What the names begin with, up to a slash: team-a/."},
	}
	refused := []int{http.StatusForbidden, http.StatusBadGateway, http.StatusServiceUnavailable}
	return []*framework.Path{
		{
			Pattern:      "static-roles" + pathList,
			DisplayAttrs: display("static-roles|static-roles-below"),
			Fields:       prefix,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: listing(b.listStaticRoles, "List the static roles, or those below a part of a name."),
			},
			HelpSynopsis:    "List the static roles.",
			HelpDescription: "Names of static roles. One that ends in a slash has static roles below it: list static-roles/<name>/.",
		},
		{
			Pattern:        "static-roles" + pathName,
			DisplayAttrs:   display("static-role"),
			Fields:         b.staticFields(),
			ExistenceCheck: existence(staticKey),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation:   mayRefuse(reading(b.readStaticRole, "Read a static role and how its rotation goes, without its key.", b.staticAnswer()), http.StatusNotFound),
				logical.CreateOperation: mayRefuse(forwarded(b.writeStaticRole, "Create a static role and its first key, or change some or all of its fields.", okOrNothing()), refused...),
				logical.UpdateOperation: mayRefuse(forwarded(b.writeStaticRole, "Create a static role and its first key, or change some or all of its fields.", okOrNothing()), refused...),
				logical.DeleteOperation: forwarded(b.deleteStaticRole, "Delete a static role; its key is deleted after the overlap.", okOrNothing()),
			},
			HelpSynopsis: "Keep one key for applications that cannot follow a lease, and replace it by a schedule.",
			HelpDescription: `
A static role has one key, which all who may read static-creds/<name> share. It is
minted when the role is written, or brought along as api_key and key_id, and
replaced at each time of the schedule: the new key is tried, then handed out, and
the old one stays valid for the overlap. If anything fails, the old key stays, and
it is tried again after a minute, later after an hour. A changed schedule counts at
once, everything else from the next rotation on.`,
		},
	}
}

// staticAnswer describes what a read of a static role returns.
func (b *backend) staticAnswer() map[string]*framework.FieldSchema {
	text := func(description string) *framework.FieldSchema {
		return &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	answer := keyRoleAnswer(b.staticFields())
	answer["key_id"] = text("The provider's id of the key that was brought along; empty if none was.")
	answer["current_key_id"] = text("The provider's id of the key that is handed out; empty while there is none.")
	answer["previous_key_id"] = text("The provider's id of the key that was replaced last, while it is valid; empty afterwards.")
	answer["previous_key_valid_until"] = text("Until when the replaced key is valid, in RFC 3339; empty afterwards.")
	answer["last_vault_rotation"] = text("When the key was rotated last, or brought along, in RFC 3339.")
	answer["next_vault_rotation"] = text("When the key is rotated next, or that is tried again, in RFC 3339.")
	answer["failed_attempts"] = &framework.FieldSchema{Type: framework.TypeInt, Description: "Rotations that failed since the last that did not."}
	answer["last_error"] = text("Why the last rotation failed, and when; empty after one that did not.")
	return answer
}

func (b *backend) listStaticRoles(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return listNames(ctx, req.Storage, staticPrefix, d)
}

func (b *backend) readStaticRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	e, err := loadStatic(ctx, req.Storage, name)
	if err != nil || e == nil {
		return nil, err
	}
	data, err := b.keyRoleData(ctx, req.Storage, &e.keyRole)
	if err != nil {
		return nil, err
	}
	maps.Copy(data, e.data())
	alive, err := b.staticKeyAlive(ctx, req.Storage, e)
	if err != nil {
		return nil, err
	}
	if !alive {
		data["current_key_id"] = ""
	}
	if err := b.previousData(ctx, req.Storage, e, data); err != nil {
		return nil, err
	}
	return &logical.Response{Data: data}, nil
}

// previousData tells of the key that was replaced, as long as it is valid.
func (b *backend) previousData(ctx context.Context, s logical.Storage, e *staticEntry, into map[string]any) error {
	if e.Previous == nil {
		return nil
	}
	rec, err := b.ledger(s).get(ctx, pointer{config: e.Previous.Config, role: e.name, id: e.Previous.Record})
	if err == nil && rec != nil && rec.NotBefore.After(b.now()) {
		into["previous_key_id"], into["previous_key_valid_until"] = rec.KeyID, rfc3339(rec.NotBefore)
	}
	return err
}

func (e *staticEntry) data() map[string]any {
	data := map[string]any{
		"rotation_period":          int64(e.Rotation.Period),
		"rotation_schedule":        e.Rotation.Schedule,
		"rotation_window":          int64(e.Rotation.Window),
		"overlap":                  int64(e.Rotation.Overlap),
		"verify":                   e.Verify,
		"key_id":                   e.ImportedID,
		"current_key_id":           "",
		"previous_key_id":          "",
		"previous_key_valid_until": "",
		"last_vault_rotation":      rfc3339(e.Rotation.Last),
		"next_vault_rotation":      rfc3339(e.rotateAt()),
		"failed_attempts":          e.Rotation.Failures,
		"last_error":               e.Rotation.LastError,
	}
	if e.Key != nil {
		data["current_key_id"] = e.Key.KeyID
	}
	return data
}

// deleteStaticRole deletes a role. Its key is deleted after the overlap, or after a
// shorter one that the request names.
func (b *backend) deleteStaticRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	for _, field := range slices.Sorted(maps.Keys(d.Raw)) {
		if field != "name" && field != "overlap" {
			return nil, badField(field, "is not for delete; leave it out")
		}
	}
	name, release, err := b.lockNamed(ctx, "role", d)
	if err != nil {
		return nil, err
	}
	defer release()
	e, err := loadAnyStatic(ctx, req.Storage, name)
	if err != nil || e == nil {
		return nil, err
	}
	overlap := e.Rotation.Overlap
	if err := setSeconds(d, "overlap", &overlap, 0, e.Rotation.Overlap.duration()); err != nil {
		return nil, err
	}
	m := b.staticMove(req.Storage, e)
	if err := m.delete(ctx, overlap.duration()); err != nil {
		return nil, err
	}
	b.Logger().Info("static role deleted", "static_role", name, "overlap", overlap.duration().String())
	if len(m.warnings) == 0 {
		return nil, nil
	}
	return &logical.Response{Warnings: m.warnings}, nil
}

// delete deletes the role, and its keys after the overlap. Once begun, it does not
// end with the caller.
func (m *staticMove) delete(ctx context.Context, overlap time.Duration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rotationBudget)
	defer cancel()
	m.askTimeOf(ctx)
	next := m.entry.clone()
	if until := m.realTime(ctx).Add(overlap); !next.leaving() || until.Before(next.Leaving) {
		next.Leaving = until
	}
	next.AtOnce, next.Candidate = next.AtOnce || overlap == 0, nil
	if err := m.put(ctx, next); err != nil && (m.lost || !m.entry.leaving()) {
		return err
	}
	if err := m.leave(ctx); err != nil {
		m.warn("the role is deleted, and its keys are marked for deletion within a minute: %s", err)
		return nil
	}
	if overlap > 0 {
		return nil
	}
	if err := m.deleteGivenUp(ctx); err != nil {
		m.warn("a key of the role may still work; its deletion is tried again until the provider confirms it: %s", err)
	}
	return nil
}

const rotateRolePrefix = "rotate-role"

func (b *backend) rotateRolePaths() []*framework.Path {
	return []*framework.Path{{
		Pattern:      rotateRolePrefix + pathName,
		DisplayAttrs: display("static-role-key"),
		Fields: map[string]*framework.FieldSchema{
			"name":    {Type: framework.TypeString, Description: "Name of the static role.", Required: true},
			"overlap": {Type: framework.TypeDurationSecond, Description: "How long the replaced key stays valid, if that is to be shorter than the role's overlap: 0 deletes it, and all that were replaced before, at once."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: rotating(mayRefuse(forwarded(b.rotateRole, "Rotate the key of a static role.", okResponse(map[string]*framework.FieldSchema{
				"key_id":              {Type: framework.TypeString, Description: "The provider's id of the new key."},
				"last_vault_rotation": {Type: framework.TypeString, Description: "When the new key was put in use, in RFC 3339."},
			})), http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable)),
		},
		HelpSynopsis: "Replace the key of a static role by a new one now.",
		HelpDescription: `
The new key is tried before it is handed out at static-creds/, and the replaced one
stays valid for the overlap of the role. In an emergency give overlap=0s: once the
new key is handed out, the replaced one is deleted. If anything fails, the old key
stays. To have a leaked key deleted whatever becomes of its users, write revoke.`,
	}}
}

func (b *backend) rotateRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	var overlap *time.Duration
	if given(d, "overlap") {
		var value seconds
		if err := setSeconds(d, "overlap", &value, 0, longestTTL); err != nil {
			return nil, err
		}
		overlap = new(value.duration())
	}
	m, err := b.rotateStatic(ctx, req.Storage, name, b.callerOf(req), overlap)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Warnings: m.warnings, Data: map[string]any{
		"last_vault_rotation": rfc3339(m.entry.Rotation.Last),
	}}
	if m.entry.Key != nil {
		resp.Data["key_id"] = m.entry.Key.KeyID
	}
	return resp, nil
}
