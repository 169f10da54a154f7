package anthropic

import (
	"context"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opListWorkspaces = operation{name: "list workspaces", method: http.MethodGet}
	opGetWorkspace   = operation{name: "read workspace", method: http.MethodGet}
)

const workspacesPath = "/v1/organizations/workspaces"

// A workspace is what Anthropic shows of one.
type workspace struct {
	ID         string     `json:"id"`
	ArchivedAt *time.Time `json:"archived_at"`
}

// VerifyAdmin lists one workspace, which takes the Admin API key.
func (c *pool) VerifyAdmin(ctx context.Context) error {
	_, _, err := workspaces().page(ctx, c, "", 1)
	return err
}

// Scopes yields the ids of the workspaces that are not archived. The default one,
// whose keys the engine does not keep, is not listed.
func (c *pool) Scopes(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for w, err := range all(ctx, c, workspaces()) {
			if err == nil && w.ArchivedAt != nil {
				continue
			}
			if !yield(w.ID, err) {
				return
			}
		}
	}
}

func workspaces() list[workspace] {
	return list[workspace]{op: opListWorkspaces, path: workspacesPath, id: func(w workspace) string { return w.ID }}
}

// CheckRoleAt asks for the role's workspace.
func (c *pool) CheckRoleAt(ctx context.Context, role provider.Values) error {
	id := role.String(fieldWorkspace)
	w, err := c.readWorkspace(ctx, id)
	switch {
	case provider.IsKind(err, provider.NotFound):
		return provider.FieldErrorf(fieldWorkspace, "there is no workspace %q in this organization", id)
	case err == nil && w.ArchivedAt != nil:
		return provider.FieldErrorf(fieldWorkspace, "the workspace %q is archived", id)
	}
	return err
}

func (c *pool) readWorkspace(ctx context.Context, id string) (*workspace, error) {
	part, ok := segment(id)
	if !ok {
		return nil, c.refuse(opGetWorkspace, "that is not the id of a workspace")
	}
	return do(ctx, c.api, c.admin(opGetWorkspace, workspacesPath+"/"+part), func(w *workspace) bool { return w.ID == id })
}

// pageSize is what is listed at once; Anthropic allows 1000.
const pageSize = 100

// A list is one of Anthropic's. It pages by the id of the last item. A key that is
// missed is a key that nobody deactivates: a page that repeats what was seen, or is
// empty and yet not the last, is no page.
type list[T any] struct {
	op    operation
	path  string
	query url.Values
	id    func(T) string // empty if there is none
}

// all yields the items of all pages, which are fetched as the loop goes on. An error
// is yielded once and last.
func all[T any](ctx context.Context, c *pool, l list[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		seen := map[string]bool{}
		after := ""
		for more := true; more; {
			var items []T
			var err error
			if items, more, err = l.page(ctx, c, after, pageSize); err == nil && more && len(items) == 0 {
				err = c.unproven(l.op, "a page is empty, and yet not the last")
			}
			for _, item := range items {
				if after = l.id(item); seen[after] {
					err = c.unproven(l.op, "the list repeats itself")
					break
				}
				seen[after] = true
				if !yield(item, nil) {
					return
				}
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
		}
	}
}

// page fetches the page after an item, and reports whether there are more.
func (l list[T]) page(ctx context.Context, c *pool, after string, size int) (items []T, more bool, err error) {
	query := url.Values{"limit": {strconv.Itoa(size)}}
	maps.Copy(query, l.query)
	if after != "" {
		query.Set("after_id", after)
	}
	type answer struct {
		Data *[]*T `json:"data"`
		More *bool `json:"has_more"`
	}
	r := c.admin(l.op, l.path)
	r.query = query
	res, err := do(ctx, c.api, r, func(a *answer) bool {
		if a.Data == nil || a.More == nil {
			return false
		}
		for _, item := range *a.Data {
			if item == nil || l.id(*item) == "" {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, false, err
	}
	for _, item := range *res.Data {
		items = append(items, *item)
	}
	return items, *res.More, nil
}
