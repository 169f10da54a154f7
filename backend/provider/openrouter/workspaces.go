package openrouter

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opListWorkspaces = operation{name: "list workspaces", method: http.MethodGet}
	opGetWorkspace   = operation{name: "read workspace", method: http.MethodGet}
)

// A workspace is what OpenRouter shows of one.
type workspace struct {
	ID string `json:"id"`
}

// VerifyAdmin lists one workspace, which takes a management key.
func (c *client) VerifyAdmin(ctx context.Context) error {
	_, err := workspaces(1).page(ctx, c, 0)
	return err
}

// Scopes yields the ids of the workspaces.
func (c *client) Scopes(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for w, err := range all(ctx, c, workspaces(pageSize)) {
			if !yield(w.ID, err) {
				return
			}
		}
	}
}

func workspaces(size int) list[workspace] {
	return list[workspace]{
		op: opListWorkspaces, path: "/workspaces", query: url.Values{"limit": {strconv.Itoa(size)}},
		id: func(w workspace) string { return w.ID },
	}
}

// CheckRoleAt asks for the role's workspace.
func (c *client) CheckRoleAt(ctx context.Context, role provider.Values) error {
	id := role.String(fieldWorkspace)
	err := c.readWorkspace(ctx, id)
	if provider.IsKind(err, provider.NotFound) {
		return provider.FieldErrorf(fieldWorkspace, "there is no workspace %q in this account", id)
	}
	return err
}

// readWorkspace fails if a workspace cannot be read. It can be asked for by another
// name too: only its id counts.
func (c *client) readWorkspace(ctx context.Context, workspaceID string) error {
	id, ok := segment(workspaceID)
	if !ok {
		return refuse(opGetWorkspace, "that is not the id of a workspace")
	}
	type answer struct {
		Data workspace `json:"data"`
	}
	_, err := do(ctx, c, opGetWorkspace, "/workspaces/"+id, nil, nil,
		func(a *answer) bool { return a.Data.ID == workspaceID })
	return err
}
