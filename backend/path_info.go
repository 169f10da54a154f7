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
				"providers": {Type: framework.TypeMap, Description: "Providers of this build, and what each can do."},
			}),
		},
		HelpSynopsis:    "Read the version of the plugin and what each provider can do.",
		HelpDescription: "A provider can at least mint; revoke means that it can end a key before its expiry, extend that a renew moves that expiry, rotate_admin that rotate-root/ can replace the admin key, and models, budget, budget_period, requests_per_minute and tokens_per_minute that it enforces these for each key.",
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
