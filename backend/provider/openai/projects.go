package openai

import (
	"context"
	"iter"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/pagination"
	"github.com/openai/openai-go/v3/packages/param"

	"vault-plugin-secrets-llm/backend/provider"
)

var (
	opListProjects = operation{name: "list projects"}
	opGetProject   = operation{name: "read project"}
)

// VerifyAdmin lists one project. An organization may have none.
func (c *client) VerifyAdmin(ctx context.Context) error {
	_, _, err := c.firstProject(ctx)
	return err
}

// firstProject returns the id of a project that is not archived, and whether
// there is one.
func (c *client) firstProject(ctx context.Context) (id string, found bool, err error) {
	first, found, err := head(c.projects(ctx, 1))
	return first.ID, found, err
}

// Scopes yields the ids of the projects that are not archived. OpenAI lists no
// others unless it is asked to; a proxy in between may.
func (c *client) Scopes(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for p, err := range c.projects(ctx, pageSize) {
			if err == nil && archived(p) {
				continue
			}
			if !yield(p.ID, err) {
				return
			}
		}
	}
}

// projects lists the projects of the organization that are not archived, so many
// a page.
func (c *client) projects(ctx context.Context, size int64) iter.Seq2[openai.Project, error] {
	type page = pagination.ConversationCursorPage[openai.Project]
	return all(ctx, c, list[openai.Project, page]{
		op: opListProjects, read: byLastID[openai.Project],
		id: func(p openai.Project) (string, bool) { return p.ID, isText(p.JSON.ID) },
		fetch: func(after param.Opt[string], watch option.RequestOption) (*page, error) {
			return c.admin.Projects.List(ctx, openai.AdminOrganizationProjectListParams{After: after, Limit: openai.Int(size)}, watch)
		},
	})
}

// CheckRoleAt asks for the role's project. Nothing can be made in an archived
// one.
func (c *client) CheckRoleAt(ctx context.Context, role provider.Values) error {
	id := role.String(fieldProject)
	closed, err := c.projectClosed(ctx, id)
	switch {
	case provider.IsKind(err, provider.NotFound):
		return provider.FieldErrorf(fieldProject, "there is no project %q in this organization", id)
	case closed:
		return provider.FieldErrorf(fieldProject, "project %q is archived; give one that is active", id)
	}
	return err
}
