package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// This file holds every answer that a test gets to what its path says of it, whatever
// the test is about: OpenAPI and docs/reference.md say nothing else.
//
//   - An answer has no field that the path does not describe, and none of another type.
//   - What is inside an object or a list is named by the description of its field.
//   - A status is one that the operation has declared: 400 and 500 need not be.

// A checkedEngine is the engine, with its answers looked at.
type checkedEngine struct {
	*backend
	m *testMount
}

func (c checkedEngine) HandleRequest(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	resp, err := c.backend.HandleRequest(ctx, req)
	for _, problem := range c.m.answers.check(c.backend, req, resp, err) {
		c.m.t.Errorf("%s %s: %s", req.Operation, req.Path, problem)
	}
	return resp, err
}

// Answers are what was seen, by operation.
type answers struct {
	mu   sync.Mutex
	seen map[string]bool
}

// operationOf returns the path and the operation of a request; nil if there is none,
// or if it is of a kind that no path describes.
func operationOf(b *backend, req *logical.Request) (*framework.Path, framework.OperationHandler) {
	path := b.Route(req.Path)
	if path == nil {
		return nil, nil
	}
	return path, path.Operations[req.Operation]
}

// check returns what of an answer the operation does not describe.
func (a *answers) check(b *backend, req *logical.Request, resp *logical.Response, err error) []string {
	path, op := operationOf(b, req)
	if op == nil {
		return nil
	}
	status := statusOf(req, resp, err)
	id := string(req.Operation) + " " + path.Pattern
	a.note(fmt.Sprint(id, " ", status))
	declared, ok := op.Properties().Responses[status]
	if !ok && status != http.StatusBadRequest && status != http.StatusInternalServerError {
		return []string{fmt.Sprintf("answers %d, which the operation does not declare", status)}
	}
	if err != nil || resp == nil || resp.IsError() || status != http.StatusOK {
		return nil
	}
	if _, raw := resp.Data[logical.HTTPRawBody]; raw {
		return checkRaw(declared[0], resp)
	}
	return a.checkData(id, declared[0].Fields, resp.Data)
}

// statusOf is the status that Vault answers with.
func statusOf(req *logical.Request, resp *logical.Response, err error) int {
	status, _ := outcome(resp, err)
	asks := req.Operation == logical.ReadOperation || req.Operation == logical.ListOperation
	switch {
	case err != nil || resp.IsError():
	case asks && resp == nil:
		return http.StatusNotFound
	case req.Operation == logical.ListOperation && resp.Data["keys"] == nil:
		return http.StatusNotFound
	}
	return status
}

func checkRaw(declared framework.Response, resp *logical.Response) []string {
	whole, _ := resp.Data[logical.HTTPContentType].(string)
	if got, _, _ := strings.Cut(whole, ";"); got != declared.MediaType {
		return []string{fmt.Sprintf("answers a text of the type %q, and declares %q", got, declared.MediaType)}
	}
	return nil
}

// checkData compares data, as it arrives, with the fields of a response.
func (a *answers) checkData(id string, fields map[string]*framework.FieldSchema, data map[string]any) (problems []string) {
	text, err := json.Marshal(data)
	var arrived map[string]any
	if err == nil {
		err = json.Unmarshal(text, &arrived)
	}
	if err != nil {
		return []string{err.Error()}
	}
	for _, name := range slices.Sorted(maps.Keys(arrived)) {
		schema := fields[name]
		if schema == nil {
			problems = append(problems, fmt.Sprintf("the answer has %s, which the path does not describe", name))
			continue
		}
		a.note(id + " field " + name)
		if !isOfType(schema.Type, arrived[name]) {
			problems = append(problems, fmt.Sprintf("%s is %v, and is described as %s", name, arrived[name], schema.Type))
		}
		if schema.Type == framework.TypeKVPairs {
			continue // whose names are the operator's
		}
		for _, inner := range innerNames(arrived[name], strings.HasPrefix(schema.Description, "For each ")) {
			if !names(schema.Description, inner) {
				problems = append(problems, fmt.Sprintf("%s holds %s, which its description does not name", name, inner))
			}
		}
	}
	return problems
}

func (a *answers) note(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen == nil {
		a.seen = map[string]bool{}
	}
	a.seen[what] = true
}

// isOfType reports whether a value from JSON is what readers of the schema expect.
func isOfType(kind framework.FieldType, value any) bool {
	switch v := value.(type) {
	case string:
		return kind == framework.TypeString
	case bool:
		return kind == framework.TypeBool
	case float64:
		return kind == framework.TypeFloat || kind == framework.TypeInt && v == math.Trunc(v)
	case []any:
		texts := !slices.ContainsFunc(v, func(item any) bool { _, text := item.(string); return !text })
		return kind == framework.TypeStringSlice && texts || kind == framework.TypeSlice
	case map[string]any:
		texts := true
		for _, item := range v {
			_, text := item.(string)
			texts = texts && text
		}
		return kind == framework.TypeKVPairs && texts || kind == framework.TypeMap
	}
	return false
}

// innerNames are the names of fields at all depths of an object, or of the objects
// under names of their own.
func innerNames(value any, keyed bool) (inner []string) {
	switch v := value.(type) {
	case map[string]any:
		for name, item := range v {
			if !keyed {
				inner = append(inner, name)
			}
			inner = append(inner, innerNames(item, false)...)
		}
	case []any:
		for _, item := range v {
			inner = append(inner, innerNames(item, false)...)
		}
	}
	slices.Sort(inner)
	return slices.Compact(inner)
}

// names reports whether a description names a field.
func names(description, field string) bool {
	words := strings.FieldsFunc(description, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) })
	return slices.Contains(words, field)
}
