package backend

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend/provider"
)

func (b *backend) infoPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern:      "info$",
		DisplayAttrs: display("info"),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: reading(b.readInfo, "Read the version and the providers.", map[string]*framework.FieldSchema{
				"version":   {Type: framework.TypeString, Description: "Version of the plugin; empty for an unversioned build."},
				"providers": {Type: framework.TypeMap, Description: "For each provider of this build, what it can do."},
			}),
		},
		HelpSynopsis: "Read the version of the plugin and what each provider can do.",
		HelpDescription: `
What a provider can do decides what the engine can promise there:

  mint          keys are issued
  revoke        a key ends before its expiry
  extend        a renew moves the expiry of a key
  principal     each role has an account of its own there, which owns its keys
  pool          keys are not made but given to pool/, and switched on and off
  verify_key    a new key of a static role is tried before it is handed out
  read_key      a static role may begin with a key that exists
  verify_admin  an admin key is tried before it is stored
  rotate_admin  rotate-root/ replaces the admin key
  check_role    what a role names is looked up when the role is written
  close_role    suspend/ with close=true ends that tokens are minted
  list_scopes   an audit looks also where no role has keys

models, budget, budget_period, requests_per_minute and tokens_per_minute are bounds
on a role that the provider enforces for each key.`,
	}}
}

func (b *backend) readInfo(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	providers := map[string]any{}
	for _, name := range b.registry.Names() {
		p, _ := b.registry.Get(name)
		client, err := p.Connect(provider.Settings{}, nil)
		if err != nil {
			return nil, err
		}
		providers[name] = provider.Capabilities(p, client)
	}
	return &logical.Response{Data: map[string]any{"version": Version(), "providers": providers}}, nil
}
