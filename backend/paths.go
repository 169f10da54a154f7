package backend

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// This file holds what all paths share.

// lockNamed returns the checked name of the connection or role that a request
// changes, and takes its slot, so that changes follow each other.
func (b *backend) lockNamed(ctx context.Context, what string, d *framework.FieldData) (name string, release func(), err error) {
	name = d.Get("name").(string)
	if err := checkName(name); err != nil {
		return "", nil, err
	}
	release, err = b.slots.acquire(ctx, what+" "+name)
	if err != nil {
		return "", nil, fmt.Errorf("wait for %s %q: %w", what, name, err)
	}
	return name, release, nil
}

// existence makes the framework's existence check of what is stored under a
// name. A bad name does not exist; the write itself says what is wrong with it.
func existence(key func(name string) string) framework.ExistenceFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
		name := d.Get("name").(string)
		if !isName(name) {
			return false, nil
		}
		entry, err := req.Storage.Get(ctx, key(name))
		if err != nil {
			return false, fmt.Errorf("existence check: %w", err)
		}
		return entry != nil, nil
	}
}

// reading describes an operation that changes nothing.
func reading(handler framework.OperationFunc, summary string, fields map[string]*framework.FieldSchema) *framework.PathOperation {
	return &framework.PathOperation{Callback: handler, Summary: summary, Responses: okResponse(fields)}
}

// listing describes a LIST.
func listing(handler framework.OperationFunc, summary string) *framework.PathOperation {
	return mayRefuse(reading(handler, summary, map[string]*framework.FieldSchema{
		"keys": {Type: framework.TypeStringSlice, Description: "Names, sorted. One that ends in a slash has others below it."},
	}), http.StatusNotFound)
}

// texts describe answers that are texts.
func texts(descriptions map[string]string) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{}
	for name, description := range descriptions {
		fields[name] = &framework.FieldSchema{Type: framework.TypeString, Description: description}
	}
	return fields
}

// answering describes stored inputs as a read returns them: durations as whole seconds,
// lists as lists. Secrets, and what only a request has, are among those left out.
func answering(inputs map[string]*framework.FieldSchema, without ...string) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{}
	for name, input := range inputs {
		if slices.Contains(without, name) {
			continue
		}
		field := &framework.FieldSchema{Type: input.Type, Description: input.Description, DisplayAttrs: input.DisplayAttrs}
		switch input.Type {
		case framework.TypeDurationSecond:
			field.Type = framework.TypeInt
			field.Description += " In seconds."
		case framework.TypeCommaStringSlice:
			field.Type = framework.TypeStringSlice
		}
		fields[name] = field
	}
	return fields
}

// refusals are what a status other than 400 means, wherever it is answered.
var refusals = map[int]string{
	http.StatusForbidden:          "The role is suspended, or wants an identity entity of its callers.",
	http.StatusNotFound:           "What is asked for does not exist.",
	http.StatusConflict:           "Another request is doing this now; ask again in a minute.",
	http.StatusTooManyRequests:    "The role has its max_active_keys, or the pool no key that is free.",
	http.StatusBadGateway:         "The provider refuses, or cannot be reached; the text has its reason.",
	http.StatusServiceUnavailable: "The provider limits the rate, or a new key is being made; the text says when to ask again.",
}

// mayRefuse adds what an operation may answer beside 400 and 500.
func mayRefuse(op *framework.PathOperation, statuses ...int) *framework.PathOperation {
	for _, status := range statuses {
		op.Responses[status] = []framework.Response{{Description: refusals[status]}}
	}
	return op
}

func okResponse(fields map[string]*framework.FieldSchema) map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusOK: {{Description: http.StatusText(http.StatusOK), Fields: fields}},
	}
}

// display gives the operations of a path stable ids in OpenAPI.
func display(suffix string) *framework.DisplayAttributes {
	return &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: suffix}
}

// firstError returns the first error of several checks.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// firstErrorOf makes checks in order, up to the first that fails.
func firstErrorOf(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// writing describes an operation that changes something and answers nothing.
func writing(handler framework.OperationFunc, summary string) *framework.PathOperation {
	return forwarded(handler, summary, map[int][]framework.Response{
		http.StatusNoContent: {{Description: http.StatusText(http.StatusNoContent)}},
	})
}

// forwarded describes an operation that writes storage or changes anything at a
// provider: it is forwarded to the node that may write.
func forwarded(handler framework.OperationFunc, summary string, responses map[int][]framework.Response) *framework.PathOperation {
	return &framework.PathOperation{
		Callback: handler, Summary: summary, Responses: responses,
		ForwardPerformanceStandby: true, ForwardPerformanceSecondary: true,
	}
}
