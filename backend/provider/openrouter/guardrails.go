package openrouter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file bounds which models a key may call. OpenRouter knows that of guardrails
// alone, which keys are assigned to: there is one for each list of models in a
// workspace, whose name tells the list, and all keys of that list share it.
//
//   - It is looked up for each key: somebody may have changed or deleted it.
//   - It is never changed: keys that live may be under it.
//   - It is never deleted: whether keys that live are under it, this package does
//     not know.

var (
	opListGuardrails  = operation{name: "list guardrails", method: http.MethodGet}
	opCreateGuardrail = operation{name: "create guardrail", method: http.MethodPost}
	opAssign          = operation{name: "assign guardrail", method: http.MethodPost}
)

// A guardrail is what OpenRouter shows of one.
type guardrail struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Models []string `json:"allowed_models"`
	// Workspace is empty where it is not shown.
	Workspace string `json:"workspace_id"`
}

// guardrailName tells a list of models, in any order.
func guardrailName(models []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(models)), "\n")))
	return "vault-models-" + hex.EncodeToString(sum[:12])
}

// ensureGuardrail returns the id of the guardrail that allows a list of models, and
// makes it if there is none. No key exists yet: nothing that fails here is
// Ambiguous, and a guardrail whose creation had no answer is found the next time.
func (c *client) ensureGuardrail(ctx context.Context, workspace string, models []string) (string, error) {
	want := guardrailName(models)
	rails := all(ctx, c, list[guardrail]{
		op: opListGuardrails, path: "/guardrails",
		query: url.Values{"workspace_id": {workspace}, "limit": {strconv.Itoa(pageSize)}},
		id:    func(g guardrail) string { return g.ID },
	})
	for rail, err := range rails {
		switch {
		case err != nil:
			return "", fromSetup(err)
		case rail.Name != want, rail.Workspace != "" && rail.Workspace != workspace:
		case !rail.allows(models):
			return "", refuse(opListGuardrails, fmt.Sprintf("guardrail %s (%s) was changed and no longer allows just the "+
				"models of the role; rename it or restore it", want, rail.ID))
		default:
			return rail.ID, nil
		}
	}
	type answer struct {
		Data guardrail `json:"data"`
	}
	asked := struct {
		Name      string   `json:"name"`
		Workspace string   `json:"workspace_id"`
		Models    []string `json:"allowed_models"`
	}{want, workspace, slices.Sorted(slices.Values(models))}
	res, err := do(ctx, c, opCreateGuardrail, "/guardrails", nil, asked, func(a *answer) bool { return a.Data.ID != "" })
	if err != nil {
		return "", fromSetup(err)
	}
	if !res.Data.allows(models) {
		return "", unproven(opCreateGuardrail, "the guardrail was made with other models than asked: "+strings.Join(res.Data.Models, ", ")+
			"; give the role those names, if they are the same")
	}
	return res.Data.ID, nil
}

// allows reports whether a guardrail allows just the models of a list. No models at all
// means that it allows every one.
func (g guardrail) allows(models []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(g.Models)), slices.Sorted(slices.Values(models)))
}

// fromSetup is what an error means that came before there was a key: "not found"
// is about no key.
func fromSetup(err error) error {
	if provider.IsKind(err, provider.NotFound) {
		return because(err, provider.Invalid, opCreateKey, "no guardrail for the models of the role")
	}
	return err
}

// assign puts a key under a guardrail. It is safe to repeat: a key is under one
// guardrail at most.
func (c *client) assign(ctx context.Context, rail, hash string) error {
	id, ok := segment(rail)
	if !ok {
		return unproven(opAssign, "the guardrail has no id")
	}
	type answer struct {
		Count int `json:"assigned_count"`
	}
	asked := struct {
		Hashes []string `json:"key_hashes"`
	}{[]string{hash}}
	_, err := do(provider.Repeatable(ctx), c, opAssign, "/guardrails/"+id+"/assignments/keys", nil, asked,
		func(a *answer) bool { return a.Count == 1 })
	return err
}
