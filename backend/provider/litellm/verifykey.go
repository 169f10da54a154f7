package litellm

import (
	"context"
	"encoding/json"
	"net/http"

	"vault-plugin-secrets-llm/backend/provider"
)

var opTryKey = operation{name: "try key", method: http.MethodGet, path: "/v1/models"}

// VerifyKey lists the models with the key itself, which costs nothing. The admin key
// may do so too: it is no key to hand out.
func (c *client) VerifyKey(ctx context.Context, key provider.Secret) error {
	if key == c.Admin {
		return fail(opTryKey, provider.Unauthorized, "it is the connection's admin key")
	}
	type answer struct {
		Data *[]json.RawMessage `json:"data"`
	}
	_, err := do(provider.Aside(ctx), c.as(key), opTryKey, nil, nil, func(a *answer) bool { return a.Data != nil })
	return err
}
