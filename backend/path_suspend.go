package backend

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

func (b *backend) suspendPaths() []*framework.Path {
	name := &framework.FieldSchema{Type: framework.TypeString, Description: "Name of the role, or, with subtree=true, a part of names.", Required: true}
	below := &framework.FieldSchema{Type: framework.TypeBool, Description: "All roles below the name, and not the role of that name. Vault takes no write to a path that ends in a slash.", Query: true}
	return []*framework.Path{
		{
			Pattern:      "suspend/?$",
			DisplayAttrs: display("suspensions"),
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: mayRefuse(reading(b.listSuspensions, "List what is suspended.", map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "Names of suspended roles. One that ends in a slash stands for all roles below it."},
					"key_info": {Type: framework.TypeMap, Description: "For each name: suspended_at, suspended_reason and suspended_by."},
				}), http.StatusNotFound),
			},
			HelpSynopsis:    "List the roles that are suspended.",
			HelpDescription: "All names at once, with who suspended them, when and why.",
		},
		{
			Pattern:      "suspend" + pathName,
			DisplayAttrs: display("suspension"),
			Fields: map[string]*framework.FieldSchema{
				"name":    name,
				"subtree": below,
				"revoke":  {Type: framework.TypeBool, Description: "Also revoke all live keys of what is suspended."},
				"close":   {Type: framework.TypeBool, Description: "Also end at the provider, for good, that tokens can be minted for what is suspended. For providers that cannot revoke tokens."},
				"reason":  {Type: framework.TypeString, Description: "Why, for those whose requests are refused. It is shown to them."},
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: mayRefuse(reading(b.readSuspension, "Read who suspended a role, when and why.", suspendedFields()), http.StatusNotFound),
				logical.UpdateOperation: forwarded(b.suspend, "Suspend a role, or all roles below a part of a name.", okResponse(withKillAnswer(map[string]*framework.FieldSchema{
					"suspended_name": {Type: framework.TypeString, Description: "What is suspended now."},
					"roles":          {Type: framework.TypeInt, Description: "How many roles this suspends now."},
					"closed":         {Type: framework.TypeSlice, Description: "With close=true: the roles that were closed at their provider, each with role, done, which says what was done, and error if it failed."},
				}))),
			},
			HelpSynopsis: "Keep roles from issuing and renewing keys, at once.",
			HelpDescription: `
Nothing is issued and no lease is renewed under a suspended role, until a write to
resume/. Live keys go on until their leases end, unless revoke=true: then the
answer says what became of them. Where the provider cannot revoke tokens, close=true
also ends there that any can be minted, even with a stolen key: what a role needs for
that has to be made anew then. A suspension holds for the name: deleting the role
and writing it again does not lift it.`,
		},
		{
			Pattern:      "resume" + pathName,
			DisplayAttrs: display("resumption"),
			Fields:       map[string]*framework.FieldSchema{"name": name, "subtree": below},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.UpdateOperation: forwarded(b.resume, "Lift a suspension.", okOrNothing()),
			},
			HelpSynopsis:    "Let suspended roles issue and renew keys again.",
			HelpDescription: "It lifts the suspension of exactly that name: a role may still be suspended by one of a part of its name.",
		},
	}
}

// suspendedFields describe a suspension as it is read, here and with a role.
func suspendedFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		"suspended":        {Type: framework.TypeBool, Description: "Whether the role issues and renews nothing."},
		"suspended_at":     {Type: framework.TypeString, Description: "Since when the role is suspended, in RFC 3339; absent if it is not."},
		"suspended_by":     {Type: framework.TypeString, Description: "Who suspended the role."},
		"suspended_name":   {Type: framework.TypeString, Description: "What was suspended: the role, or, with a slash at its end, all roles below."},
		"suspended_reason": {Type: framework.TypeString, Description: "Why the role is suspended; empty if nobody said."},
	}
}

func (s *suspension) data() map[string]any {
	return map[string]any{
		"suspended_at":     rfc3339(s.At),
		"suspended_by":     s.By.String(),
		"suspended_name":   s.name,
		"suspended_reason": s.Reason,
	}
}

// suspendedBy is the checked name of a suspension.
func suspendedBy(d *framework.FieldData) (string, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return "", err
	}
	if d.Get("subtree").(bool) {
		name += "/"
	}
	return name, nil
}

func (b *backend) listSuspensions(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	all, err := suspensions(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	names, info := []string{}, map[string]any{}
	for _, found := range all {
		data := found.data()
		delete(data, "suspended_name")
		names, info[found.name] = append(names, found.name), data
	}
	return logical.ListResponseWithInfo(names, info), nil
}

// readSuspension reads what suspends a name, be it of a part of the name.
func (b *backend) readSuspension(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := suspendedBy(d)
	if err != nil {
		return nil, err
	}
	found, err := suspensionOf(ctx, req.Storage, name)
	if err != nil || found == nil {
		return nil, err
	}
	data := found.data()
	data["suspended"] = true
	return &logical.Response{Data: data}, nil
}

func (b *backend) suspend(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := suspendedBy(d)
	if err != nil {
		return nil, err
	}
	what, err := b.suspendable(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	closes := d.Get("close").(bool)
	if err := b.storeSuspension(ctx, req, d, name); err != nil {
		return nil, err
	}
	who := b.callerOf(req)
	b.Logger().Info("suspended", "name", name, "roles", what.roles, "by", who.String())
	resp := &logical.Response{Data: map[string]any{}}
	closing := b.beginClosing(ctx, req.Storage, name, closes)
	if d.Get("revoke").(bool) {
		result, err := b.killTarget(ctx, req.Storage, target{role: name}, who)
		if err != nil {
			_, _ = closing()
			return nil, fmt.Errorf("%q is suspended, but: %w", name, err)
		}
		resp = result.response()
	} else if what.keys > 0 {
		resp.AddWarning(fmt.Sprintf("%s issued before may still work until a lease or the provider ends it; revoke=true ends now what the provider can revoke", keysOf(what.keys)))
	}
	resp.Data["suspended_name"], resp.Data["roles"] = name, what.roles
	if closed, err := closing(); err != nil {
		return nil, fmt.Errorf("%q is suspended, but not closed at its provider: %w", name, err)
	} else if closes {
		addClosed(resp, closed)
	}
	if what.also != "" {
		resp.AddWarning(what.also)
	}
	return resp, nil
}

// beginClosing closes roles while their keys are being killed. The function that it
// returns waits for the end.
func (b *backend) beginClosing(ctx context.Context, s logical.Storage, name string, closes bool) func() ([]closedRole, error) {
	if !closes {
		return func() ([]closedRole, error) { return nil, nil }
	}
	var closed []closedRole
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { closed, err = b.closeRoles(ownIndexState(ctx), s, name) })
	return func() ([]closedRole, error) {
		wg.Wait()
		return closed, err
	}
}

// addClosed says in an answer what was closed.
func addClosed(resp *logical.Response, closed []closedRole) {
	items, failed := make([]map[string]any, 0, len(closed)), 0
	for _, c := range closed {
		items = append(items, c.data())
		if c.err != nil {
			failed++
		}
	}
	resp.Data["closed"] = items
	if failed > 0 {
		resp.AddWarning(fmt.Sprintf("%s could not be closed at the provider; see closed, and repeat this", countOf(failed, "role")))
	}
	if len(closed) == 0 {
		resp.AddWarning("nothing was closed: there is no role of that name whose provider can be asked for it. Where every key can be revoked, revoke=true is enough; else end at the provider what mints for it")
	}
}

// storeSuspension stores a suspension. One that was there keeps its reason if the
// request has none.
func (b *backend) storeSuspension(ctx context.Context, req *logical.Request, d *framework.FieldData, name string) error {
	next, err := loadSuspension(ctx, req.Storage, name)
	if err != nil {
		return err
	}
	if next == nil {
		next = &suspension{Version: suspensionVersion}
	}
	set(d, "reason", &next.Reason)
	if hidden := provider.HideKeys(next.Reason); hidden != next.Reason {
		return badField("reason", "holds what looks like a key; it is shown to callers, so leave that out")
	}
	next.At, next.By = b.now(), b.callerOf(req)
	ctx, cancel := mustRecord(ctx)
	defer cancel()
	return save(ctx, req.Storage, suspendKey(name), next)
}

// A suspended name stands for so many roles and keys now. Also is what else the
// caller may have meant.
type suspendedNow struct {
	roles, keys int
	also        string
}

// suspendable refuses a name that stands for nothing: in an incident, a typing
// error must not look like success.
func (b *backend) suspendable(ctx context.Context, s logical.Storage, name string) (suspendedNow, error) {
	stored, err := rolesUnder(ctx, s, name)
	if err != nil {
		return suspendedNow{}, err
	}
	pointers, err := b.pointersOf(ctx, s, target{role: name})
	if err != nil {
		return suspendedNow{}, err
	}
	others, err := rolesUnder(ctx, s, otherMeaning(name))
	if err != nil {
		return suspendedNow{}, err
	}
	now := suspendedNow{roles: len(stored), keys: len(pointers)}
	switch {
	case len(others) == 0:
	case subtree(name):
		now.also = fmt.Sprintf("the role %s is not suspended; write suspend/%s without subtree for that", others[0], others[0])
	case len(stored) == 0:
		return now, badField("name", "there is no role %q, but there are roles below it (%d); for these give subtree=true", name, len(others))
	default:
		now.also = fmt.Sprintf("the roles below %s/ (%d) are not suspended; for these give subtree=true", name, len(others))
	}
	if now.roles+now.keys == 0 {
		return now, badField("name", "there is neither a role %q nor a key of one; see roles/", name)
	}
	return now, nil
}

// otherMeaning is the role of the name of a subtree, and the subtree below a role.
func otherMeaning(name string) string {
	if role, ok := strings.CutSuffix(name, "/"); ok {
		return role
	}
	return name + "/"
}

func (b *backend) resume(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name, err := suspendedBy(d)
	if err != nil {
		return nil, err
	}
	found, err := loadSuspension(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if found != nil {
		if err := remove(ctx, req.Storage, suspendKey(name)); err != nil {
			return nil, err
		}
		b.Logger().Info("resumed", "name", name, "by", b.callerOf(req).String())
	}
	// Also if it was lifted before: that may have been cut short here.
	if err := b.lookAtStatics(ctx, req.Storage, name); err != nil {
		return nil, fmt.Errorf("%q is resumed, but its static roles get their next keys up to an hour later, unless this is repeated: %w", name, err)
	}
	resp := &logical.Response{}
	still, err := suspensionOf(ctx, req.Storage, name)
	if err != nil {
		return nil, err
	}
	if found == nil && still == nil {
		resp.AddWarning(fmt.Sprintf("%q was not suspended; a list of suspend/ shows what is", name))
	}
	if below := b.stillBelow(ctx, req.Storage, name); below > 0 {
		resp.AddWarning(fmt.Sprintf("roles below it stay suspended by their own names (%d); a list of suspend/ shows them", below))
	}
	if still != nil {
		resp.AddWarning(fmt.Sprintf("%q is still suspended, by %q; a write to %s lifts that", name, still.name, resumePath(still.name)))
	}
	if len(resp.Warnings) == 0 {
		return nil, nil
	}
	return resp, nil
}

// stillBelow counts the suspensions of names below that of a subtree.
func (b *backend) stillBelow(ctx context.Context, s logical.Storage, name string) int {
	all, err := suspensions(ctx, s)
	if err != nil || !subtree(name) {
		return 0
	}
	below := 0
	for _, found := range all {
		if found.name != name && strings.HasPrefix(found.name, name) {
			below++
		}
	}
	return below
}
