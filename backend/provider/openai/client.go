package openai

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/respjson"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file makes calls and tells their failures apart. What a call is about is
// in keys.go, verifykey.go, adminkeys.go, accounts.go and projects.go.
//
// The SDK says less than is needed: it returns no error for a success without
// content, nor for a redirect with a JSON body; it makes a string of anything,
// objects too; it loses the status of {"error":"text"}; and when the context
// ended meanwhile, it returns that instead of what the provider answered. So an
// answer counts only if it is a 2xx and holds what was asked for, and every
// failure is judged by what the transport saw.

// defaultBaseURL is OpenAI's own address.
const defaultBaseURL = "https://api.openai.com/v1"

// A client acts on one organization.
type client struct {
	// Secrets are kept out of every error: the admin key, and the key that a call is
	// about. They are exported because package fmt hides them in no other field.
	Secrets []provider.Secret

	admin        openai.AdminOrganizationService
	models       openai.ModelService // has no admin key
	organization string              // empty if the operator gave none, as is the next
	baseURL      string
}

// What OpenAI's API can do.
var (
	_ provider.Client          = (*client)(nil)
	_ provider.Extender        = (*client)(nil)
	_ provider.PrincipalKeeper = (*client)(nil)
	_ provider.KeyVerifier     = (*client)(nil)
	_ provider.KeyReader       = (*client)(nil)
	_ provider.AdminVerifier   = (*client)(nil)
	_ provider.AdminRotator    = (*client)(nil)
	_ provider.RoleChecker     = (*client)(nil)
	_ provider.ScopeLister     = (*client)(nil)
)

// Connect returns a client. A nil transport does for one that is only asked what
// it can do.
func (openAI) Connect(s provider.Settings, t *provider.Transport) (provider.Client, error) {
	options := []option.RequestOption{
		option.WithBaseURL(cmp.Or(s.BaseURL, defaultBaseURL)),
		option.WithHTTPClient(t.HTTPClient()),
		option.WithMaxRetries(0), // the transport alone repeats
	}
	if organization := s.Fields.String(fieldOrganization); organization != "" {
		options = append(options, option.WithOrganization(organization))
	}
	admin := openai.NewAdminService(append(slices.Clone(options), option.WithAdminAPIKey(s.AdminKey.Reveal()))...)
	return &client{
		Secrets:      []provider.Secret{s.AdminKey},
		admin:        admin.Organization,
		models:       openai.NewModelService(options...),
		organization: s.Fields.String(fieldOrganization),
		baseURL:      s.BaseURL,
	}, nil
}

// hiding returns a client that keeps a key out of its errors, too.
func (c *client) hiding(key provider.Secret) *client {
	out := *c
	out.Secrets = append(slices.Clone(c.Secrets), key)
	return &out
}

// An operation is a kind of call.
type operation struct {
	name    string // in errors
	creates bool   // a lost answer may mean that something exists
}

// An exchange is what the transport saw of one call.
type exchange struct {
	tried bool
	resp  *http.Response
	err   error
}

// watch makes the SDK show what it sends and gets.
func (x *exchange) watch() option.RequestOption {
	return option.WithMiddleware(func(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		x.tried = true
		x.resp, x.err = next(req)
		return x.resp, x.err
	})
}

func (x *exchange) succeeded() bool {
	return x.resp != nil && x.resp.StatusCode >= 200 && x.resp.StatusCode < 300
}

// do makes one call. What it returns is valid, or an *provider.Error says why
// there is nothing.
func do[T any](
	ctx context.Context, c *client, op operation,
	call func(watch option.RequestOption) (*T, error), valid func(*T) bool,
) (*T, error) {
	var x exchange
	res, err := call(x.watch())
	if err == nil && x.succeeded() && res != nil && valid(res) {
		return res, nil
	}
	return nil, c.fail(ctx, op, x, err)
}

// isText reports whether a member of an answer was a string, and not empty.
func isText(f respjson.Field) bool { return len(f.Raw()) > len(`""`) && f.Raw()[0] == '"' }

// told reports whether an answer has a member, null or not.
func told(f respjson.Field) bool { return f.Raw() != "" }

// text returns a member of an answer that was a string; empty if it was not.
func text(value string, f respjson.Field) string {
	if !isText(f) {
		return ""
	}
	return value
}

// isTrue reports whether a member of an answer was true.
func isTrue(f respjson.Field) bool { return f.Raw() == "true" }

// fail says what the failure of a call means. err is the SDK's and may hold the
// request: nothing but the code and message of OpenAI's own answer is shown.
func (c *client) fail(ctx context.Context, op operation, x exchange, err error) error {
	call := provider.Call{
		Provider: name, Op: op.name,
		Creates: op.creates && x.tried,
		Err:     err,
		Secrets: c.Secrets,
	}
	if x.err != nil {
		call.Err = x.err
	} else if x.resp != nil {
		call.Response = x.resp
		call.RequestID = x.resp.Header.Get("X-Request-Id")
		call.Reason = reason(ctx, x, err)
	}
	return provider.Classify(call)
}

// reason is what OpenAI says of a failure; empty if it says nothing.
func reason(ctx context.Context, x exchange, err error) string {
	if api, ok := errors.AsType[*openai.Error](err); ok {
		if api.Code != "" && api.Message != "" {
			return api.Code + ": " + api.Message
		}
		return cmp.Or(api.Message, api.Code)
	}
	if cause := context.Cause(ctx); cause != nil && x.succeeded() {
		return cause.Error()
	}
	return ""
}

// refuse is an error about what was asked, which OpenAI has not been asked or
// cannot do.
func refuse(op operation, problem string) error {
	return &provider.Error{Kind: provider.Invalid, Provider: name, Op: op.name, Reason: problem}
}
