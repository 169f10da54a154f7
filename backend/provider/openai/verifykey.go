package openai

import (
	"context"
	"errors"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/pagination"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is the only one that calls the data plane: with a project key, and
// without the admin key, which does not work there.

var opTryKey = operation{name: "try key"}

// VerifyKey lists the models, which costs nothing. A key whose scopes do not
// include that is refused as Forbidden, and works.
func (c *client) VerifyKey(ctx context.Context, key provider.Secret) error {
	ctx = provider.Aside(ctx)
	var known bool
	_, err := do(ctx, c.hiding(key), opTryKey,
		func(watch option.RequestOption) (*pagination.Page[openai.Model], error) {
			res, err := c.models.List(ctx, option.WithAPIKey(key.Reveal()), watch)
			known = knowsKey(err)
			return res, err
		},
		func(res *pagination.Page[openai.Model]) bool { return res.JSON.Data.Valid() })
	if known && provider.IsKind(err, provider.Forbidden) {
		return nil
	}
	return err
}

// wrongRegion is the code of the 403 to callers from where OpenAI does no business
// (OpenAI guide "Error codes"). It says nothing of their key.
const wrongRegion = "unsupported_country_region_territory"

// knowsKey reports whether a 403 is from OpenAI itself and about the key: a gateway
// in between has no error with a message and a type.
func knowsKey(err error) bool {
	api, ok := errors.AsType[*openai.Error](err)
	return ok && isText(api.JSON.Message) && isText(api.JSON.Type) && api.Code != wrongRegion
}
