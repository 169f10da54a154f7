package openrouter

import (
	"context"
	"net/http"

	"vault-plugin-secrets-llm/backend/provider"
)

var opTryKey = operation{name: "try key", method: http.MethodGet}

// VerifyKey asks what the key is, with the key itself, which costs nothing. A
// management key may ask too, but calls no model.
func (c *client) VerifyKey(ctx context.Context, key provider.Secret) error {
	type answer struct {
		Data struct {
			Label   string `json:"label"`
			Manages bool   `json:"is_management_key"`
		} `json:"data"`
	}
	res, err := do(provider.Aside(ctx), c.as(key), opTryKey, "/key", nil, nil,
		func(a *answer) bool { return a.Data.Label != "" })
	if err == nil && res.Data.Manages {
		return &provider.Error{
			Kind: provider.Unauthorized, Provider: name, Op: opTryKey.name,
			Reason: "it is a management key, which calls no model",
		}
	}
	return err
}
