package openai

import (
	"context"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file decides when something is gone. The engine forgets a key that is not
// found, and its holder drops it, so a 404 alone does not do: a gateway that is being redeployed answers
// it, and so does OpenAI to the admin key of another organization.
//
//   - The project must be there, which proves the right account.
//   - Reading the thing must say "not found" too.
//   - In an archived project, where OpenAI refuses every change, nothing works
//     any more: all of it counts as gone. A project cannot be deleted.

// confirmGone returns what a call about something that ended in err really means.
// read asks for the thing.
func (c *client) confirmGone(ctx context.Context, op operation, project string, err error, read func() error) error {
	kind := provider.KindOf(err)
	if kind != provider.NotFound && kind != provider.Invalid {
		return err
	}
	closed, asked := c.projectClosed(ctx, project)
	switch {
	case provider.IsKind(asked, provider.NotFound):
		return unproven(op, "OpenAI answers not found, but does not know the project either; is the admin key of another organization?")
	case asked != nil:
		return asked
	case closed:
		return &provider.Error{Kind: provider.NotFound, Provider: name, Op: op.name, Reason: "its project is archived"}
	case kind == provider.Invalid:
		return err
	}
	switch still := read(); {
	case still == nil:
		return unproven(op, "OpenAI answers not found, yet it can still be read")
	case !provider.IsKind(still, provider.NotFound):
		return still
	}
	return err
}

func unproven(op operation, reason string) error {
	return &provider.Error{Kind: provider.Unavailable, Provider: name, Op: op.name, Reason: reason}
}

// projectClosed reports whether a project is archived.
func (c *client) projectClosed(ctx context.Context, id string) (bool, error) {
	project, err := do(ctx, c, opGetProject,
		func(watch option.RequestOption) (*openai.Project, error) {
			return c.admin.Projects.Get(ctx, id, watch)
		},
		func(p *openai.Project) bool { return isText(p.JSON.ID) })
	if err != nil {
		return false, err
	}
	return project.Status == "archived" || project.ArchivedAt > 0, nil
}
