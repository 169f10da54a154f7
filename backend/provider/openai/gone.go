package openai

import (
	"context"
	"iter"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file decides when something is gone. The engine forgets a key that is not
// found, and its holder drops it, so a 404 alone does not do: a gateway that is
// being redeployed answers it, and so does OpenAI to the admin key of another
// organization.
//
//   - A project must be there, which proves the right account.
//   - Reading the thing must say "not found" too.
//   - In an archived project, where OpenAI refuses every change, nothing works
//     any more: all of it counts as gone. A project cannot be deleted.
//   - An admin key belongs to no project; it must be missing from the list of
//     them all, too.

// confirmGone returns what a call about something of a project that ended in err
// really means. read asks for the thing.
func (c *client) confirmGone(ctx context.Context, op operation, project string, err error, read func() error) error {
	kind := provider.KindOf(err)
	if kind != provider.NotFound && kind != provider.Invalid {
		return err
	}
	closed, unknown := c.witness(ctx, op, project)
	switch {
	case unknown != nil:
		return unknown
	case closed:
		return &provider.Error{Kind: provider.NotFound, Provider: name, Op: op.name, Reason: "its project is archived"}
	case kind == provider.Invalid:
		return err
	}
	return confirmUnreadable(op, err, read)
}

// confirmAdminGone does so for admin keys. The project is any of the account; it
// may be archived. Where it is empty, a client of another account is not told
// from the right one.
func (c *client) confirmAdminGone(ctx context.Context, ref provider.Ref, err error) error {
	if !provider.IsKind(err, provider.NotFound) {
		return err
	}
	if ref.Scope != "" {
		if _, unknown := c.witness(ctx, opDeleteAdmin, ref.Scope); unknown != nil {
			return unknown
		}
	}
	switch listed, unknown := c.listsAdmin(ctx, ref.ID); {
	case provider.IsKind(unknown, provider.NotFound):
		return unproven(opDeleteAdmin, "OpenAI answers not found, but does not find the list of admin keys either")
	case unknown != nil:
		return unknown
	case listed:
		return unproven(opDeleteAdmin, "OpenAI answers not found, yet it is still listed")
	}
	return confirmUnreadable(opDeleteAdmin, err, func() error { return c.readAdmin(ctx, ref.ID) })
}

// confirmUnreadable returns gone, which is a "not found", if reading says so too.
func confirmUnreadable(op operation, gone error, read func() error) error {
	switch still := read(); {
	case still == nil:
		return unproven(op, "OpenAI answers not found, yet it can still be read")
	case !provider.IsKind(still, provider.NotFound):
		return still
	}
	return gone
}

func unproven(op operation, reason string) error {
	return &provider.Error{Kind: provider.Unavailable, Provider: name, Op: op.name, Reason: reason}
}

// witness asks for a project that must be there if the account is the right one,
// and reports whether it is archived.
func (c *client) witness(ctx context.Context, op operation, project string) (closed bool, err error) {
	closed, err = c.projectClosed(ctx, project)
	if provider.IsKind(err, provider.NotFound) {
		return false, unproven(op, "OpenAI answers not found, but does not know the project either; is the admin key of another organization?")
	}
	return closed, err
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
	return archived(*project), nil
}

func archived(p openai.Project) bool { return p.Status == "archived" || p.ArchivedAt > 0 }

// unlessClosed yields what a project holds; nothing more once it is archived,
// for then no key of it works.
func unlessClosed[T any](ctx context.Context, c *client, project string, items iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for item, err := range items {
			if provider.IsKind(err, provider.Invalid) {
				if closed, _ := c.projectClosed(ctx, project); closed {
					return
				}
			}
			if !yield(item, err) {
				return
			}
		}
	}
}
