package anthropic

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is the rules by which roles mint: whether they are as they should be,
// and their end. All of it needs an admin rule.

var (
	opGetRule      = operation{name: "read rule", method: http.MethodGet}
	opArchiveRule  = operation{name: "archive rule", method: http.MethodPost}
	opRemoveMember = operation{name: "remove service account from workspace", method: http.MethodDelete}
)

// A rule is what Anthropic shows of one.
type rule struct {
	ID         string     `json:"id"`
	IssuerID   string     `json:"issuer_id"`
	ArchivedAt *time.Time `json:"archived_at"`
	Scope      string     `json:"oauth_scope"`
	Match      struct {
		Subject string `json:"subject_prefix"`
	} `json:"match"`
	Target struct {
		Account string `json:"service_account_id"`
	} `json:"target"`
	Workspaces []string `json:"workspace_ids"`
	Everywhere bool     `json:"applies_to_all_workspaces"`
}

// CheckRoleAt checks the role's rule. Where the connection has no admin rule, or the
// role none of its own yet, there is nothing that could be asked.
func (c *federated) CheckRoleAt(ctx context.Context, role provider.Values) error {
	id := role.String(fieldRule)
	if id == "" || c.config.String(fieldAdminRule) == "" {
		return nil
	}
	r, err := c.readRule(ctx, id)
	if provider.IsKind(err, provider.NotFound) {
		return provider.FieldErrorf(fieldRule, "there is no rule %q in this organization", id)
	}
	if err != nil {
		return err
	}
	if problem := r.problem(c.config.String(fieldIssuer), role); problem != "" {
		return provider.FieldErrorf(fieldRule, "the rule %s %s; a read of the role shows how it should be", id, problem)
	}
	return nil
}

func (c *federated) readRule(ctx context.Context, id string) (*rule, error) {
	path, ok := segment(id)
	if !ok {
		return nil, c.refuse(opGetRule, "that is not the id of a rule")
	}
	return adminDo(ctx, c, request{op: opGetRule, path: rulesPath + path},
		func(r *rule) bool { return r.ID == id && r.Scope != "" && r.IssuerID != "" })
}

// mustBeRuleOf refuses to close what mints for another role: who may write a role may
// not close those of others by it.
func (c *federated) mustBeRuleOf(ctx context.Context, id, subject string) error {
	r, err := c.readRule(ctx, id)
	if err == nil && r.Match.Subject != subject {
		err = c.refuse(opArchiveRule, "the rule "+id+" is not for this role alone, by its subject_prefix; archive it in the Console if it is to end")
	}
	return err
}

const rulesPath = "/v1/organizations/federation_rules/"

// problem says why a rule mints nothing for a role, or more than for that. The rule
// does not know the role's name here, so that only the beginning of its subject is
// checked. Older rules list no workspaces.
func (r *rule) problem(issuerID string, role provider.Values) string {
	account, workspace := role.String(fieldAccount), role.String(fieldWorkspace)
	switch {
	case r.ArchivedAt != nil:
		return "is archived"
	case issuerID != "" && r.IssuerID != issuerID:
		return "belongs to another issuer than the connection's"
	case r.Target.Account != account:
		return "targets another service account than " + account
	case r.Scope != "workspace:inference" && r.Scope != "workspace:developer":
		return "grants the scope " + provider.Redact(r.Scope)
	case !r.Everywhere && len(r.Workspaces) > 0 && workspace != defaultWorkspace && !slices.Contains(r.Workspaces, workspace):
		return "is not enabled for the workspace " + workspace
	case !strings.HasPrefix(r.Match.Subject, "vault-llm:"):
		return "has a subject_prefix that is not of this engine"
	case strings.Count(r.Match.Subject, ":") < 3:
		return "has a subject_prefix that fits more than one role"
	}
	return ""
}

// CloseRole archives the role's rule, which stops every exchange by it, and takes the
// service account out of the workspace. Whether that ends tokens is not documented.
func (c *federated) CloseRole(ctx context.Context, holder provider.Holder, role provider.Values) (string, error) {
	id, account, workspace := role.String(fieldRule), role.String(fieldAccount), role.String(fieldWorkspace)
	if id == "" {
		return "The role names no " + fieldRule + "; archive in the Console what was made for it.", nil
	}
	ctx = provider.Repeatable(ctx)
	if err := c.mustBeRuleOf(ctx, id, subjectPrefix(holder.Mount, holder.Role)+"*"); err != nil {
		return "", err
	}
	if err := c.archive(ctx, id); err != nil {
		return "", err
	}
	done := "The rule " + id + " is archived: it mints nothing any more. Tokens that it has minted work until they expire"
	if workspace == defaultWorkspace {
		return done + "; in the default workspace nothing ends them before.", nil
	}
	if err := c.removeMember(ctx, workspace, account); err != nil {
		return "", c.because(err, provider.KindOf(err), opRemoveMember, "the rule "+id+" is archived, but not all is done")
	}
	return done + ", unless Anthropic ends them because the service account " + account + " is no longer in the workspace " +
		workspace + ", which it does not promise. Other roles with that account mint nothing there any more, either.", nil
}

// archive archives a rule. One that is not found may be one of another organization.
func (c *federated) archive(ctx context.Context, id string) error {
	path, ok := segment(id)
	if !ok {
		return c.refuse(opArchiveRule, "that is not the id of a rule")
	}
	_, err := adminDo(ctx, c, request{op: opArchiveRule, path: rulesPath + path + "/archive"},
		func(r *rule) bool { return r.ID == id && r.ArchivedAt != nil })
	return err
}

func (c *federated) removeMember(ctx context.Context, workspace, account string) error {
	in, okIn := segment(workspace)
	who, okWho := segment(account)
	if !okIn || !okWho {
		return c.refuse(opRemoveMember, "that is not the id of a workspace and of a service account")
	}
	type answer struct {
		Account   string `json:"service_account_id"`
		Workspace string `json:"workspace_id"`
	}
	_, err := adminDo(ctx, c, request{op: opRemoveMember, path: "/v1/organizations/workspaces/" + in + "/service_accounts/" + who},
		func(a *answer) bool { return a.Account == account && a.Workspace == workspace })
	return err
}
