package backend

import (
	"context"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

const rotateRootPrefix = "rotate-root/"

func (b *backend) rotateRootPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern:      rotateRootPrefix + framework.GenericNameRegex("name") + "$",
		DisplayAttrs: display("root-credentials"),
		Fields: map[string]*framework.FieldSchema{
			"name": {Type: framework.TypeString, Description: "Name of the connection.", Required: true},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: rotating(mayRefuse(forwarded(b.rotateRoot, "Rotate the admin key of a connection.", okResponse(map[string]*framework.FieldSchema{
				"admin_key_id":        {Type: framework.TypeString, Description: "The provider's id of the new admin key."},
				"last_vault_rotation": {Type: framework.TypeString, Description: "When the new admin key was put in use, in RFC 3339."},
			})), http.StatusNotFound, http.StatusConflict, http.StatusBadGateway, http.StatusServiceUnavailable)),
		},
		HelpSynopsis: "Replace the admin key of a connection by a new one.",
		HelpDescription: `
The present admin key makes a new one, which is tried before it is put in use. The
replaced one stays valid for rotation_overlap, so that no request under way fails,
and is then deleted with the new one. If anything fails, the connection keeps the
key that it had. The new key is never shown: from the first rotation on, nobody
but this mount has it.`,
	}}
}

// rotating names an operation that rotates.
func rotating(op *framework.PathOperation) *framework.PathOperation {
	op.DisplayAttrs = &framework.DisplayAttributes{OperationVerb: "rotate"}
	return op
}

func (b *backend) rotateRoot(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := d.Get("name").(string)
	if err := checkName(name); err != nil {
		return nil, err
	}
	m, err := b.rotateNow(ctx, req.Storage, name, b.callerOf(req))
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{
		"admin_key_id":        m.entry.AdminKeyID,
		"last_vault_rotation": rfc3339(m.entry.Rotation.Last),
	}}
	for _, warning := range m.warnings {
		resp.AddWarning(provider.HideKeys(warning))
	}
	return resp, nil
}

// rotateCredential is called by the rotation manager of Vault Enterprise, if an
// operator has registered config/<name> or rotate-root/<name> there. The engine
// itself registers nothing: it has a schedule of its own.
func (b *backend) rotateCredential(ctx context.Context, req *logical.Request) error {
	name, ok := strings.CutPrefix(req.Path, rotateRootPrefix)
	if !ok {
		name, ok = strings.CutPrefix(req.Path, configPrefix)
	}
	if !ok || !isName(name) {
		return logical.ErrUnsupportedPath
	}
	_, err := b.rotateNow(ctx, req.Storage, name, owner{DisplayName: "rotation manager", RequestID: req.ID})
	_, err = answer(nil, err)
	return err
}

func errRotating(config string) error {
	return refuse(http.StatusConflict, "the admin key of connection %q is being rotated; ask again in a minute if another rotation is needed", config)
}

func errNoSuchConnection(config string) error {
	return refuse(http.StatusNotFound, "connection %q does not exist; write config/%s", config, config)
}
