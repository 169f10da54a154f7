package anthropic

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

// poolName is the value of a connection's provider field.
const poolName = "anthropic-pool"

// The fields of the pool alone.
const (
	fieldAllowedWorkspaces = "allowed_workspaces"
	fieldQuarantine        = "quarantine"
)

const (
	// adminKeyPrefix begins every Admin API key.
	adminKeyPrefix = "sk-ant-admin"
	// usualQuarantine is long, for how soon the data plane refuses a key that was
	// deactivated is not documented. The shortest is longer than a deactivation may be
	// repeated, which must not meet the next holder. All are in seconds.
	usualQuarantine, shortestQuarantine, longestQuarantine = 600, 120, 86400
)

type anthropicPool struct{}

var _ provider.Provider = anthropicPool{}

// NewPool returns the provider of pooled keys. It reads no environment variable.
func NewPool() provider.Provider { return anthropicPool{} }

func (anthropicPool) Name() string { return poolName }

func (anthropicPool) ConfigFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAllowedWorkspaces: {
			Type: framework.TypeCommaStringSlice,
			Description: "Anthropic: ids of the workspaces that roles of this connection may use. Empty means every " +
				"workspace of the organization.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Allowed workspaces", Group: "Anthropic"},
		},
		fieldQuarantine: {
			Type: framework.TypeInt, Default: usualQuarantine,
			Description: "Anthropic: how many seconds a pooled key rests between two holders, 120 to 86400; 600 " +
				"if never written.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Quarantine", Group: "Anthropic"},
		},
	}
}

func (anthropicPool) RoleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldWorkspace: field("Workspace ID", "id (wrkspc_…) of the workspace, or \"default\" where the provider has it. Required."),
	}
}

func (anthropicPool) Answers() provider.Answers { return provider.Answers{} }

// Guardrails says that Anthropic bounds workspaces, and no keys.
func (anthropicPool) Guardrails() provider.Guardrails {
	return provider.Guardrails{Elsewhere: elsewhere}
}

func (anthropicPool) Scope(role provider.Values) string { return role.String(fieldWorkspace) }

// Limits holds guesses, for Anthropic publishes none of them. A key expires when the
// person said who made it, so that no expiry is too far.
func (anthropicPool) Limits() provider.Limits {
	return provider.Limits{NameLength: 100, Lifetime: 365 * 24 * time.Hour, Consistency: time.Minute}
}

func (anthropicPool) CheckConfig(s provider.Settings) error {
	if problem := adminKeyProblem(s.AdminKey.Reveal()); problem != "" {
		return provider.FieldErrorf("admin_key", "%s", problem)
	}
	for _, id := range s.Fields.Strings(fieldAllowedWorkspaces) {
		if !workspaceForm.MatchString(id) {
			return provider.FieldErrorf(fieldAllowedWorkspaces, "%q is not an id; it begins with wrkspc_", provider.HideKeys(id))
		}
	}
	n := s.Fields.Int(fieldQuarantine)
	if _, written := s.Fields[fieldQuarantine]; written && (n < shortestQuarantine || n > longestQuarantine) {
		return provider.FieldErrorf(fieldQuarantine, "%d is out of range; give %d to %d seconds", n, shortestQuarantine, longestQuarantine)
	}
	return nil
}

// adminKeyProblem says what is wrong with an admin key, without any part of it.
func adminKeyProblem(key string) string {
	const remedy = "; create an Admin API key in the Claude Console"
	switch {
	case key == "":
		return "is required" + remedy
	case strings.ContainsFunc(key, isOdd):
		return "holds a blank, a line break or another character that no key has; paste the key alone"
	case !strings.HasPrefix(key, adminKeyPrefix):
		return "is no Admin API key, which begins with " + adminKeyPrefix + remedy
	case len(key) < 24:
		return "is too short; paste the whole key"
	}
	return ""
}

func (anthropicPool) CheckRole(config, role provider.Values) error {
	workspace := role.String(fieldWorkspace)
	allowed := config.Strings(fieldAllowedWorkspaces)
	switch {
	case workspace == "":
		return provider.FieldErrorf(fieldWorkspace, "is required; give the id of a workspace, which begins with wrkspc_")
	case !workspaceForm.MatchString(workspace):
		return provider.FieldErrorf(fieldWorkspace, "%q is not an id; it begins with wrkspc_", provider.HideKeys(workspace))
	case len(allowed) > 0 && !slices.Contains(allowed, workspace):
		return provider.FieldErrorf(fieldWorkspace, "%q is not among the connection's %s; use one of those, or have it added",
			workspace, fieldAllowedWorkspaces)
	}
	return nil
}

// A pool acts on the keys of one organization.
type pool struct {
	api
	// Admin makes all calls but those of VerifyKey. It is exported because package
	// fmt hides it in no other field.
	Admin provider.Secret
	rest  time.Duration
}

// What Anthropic's API can do with keys: it switches, renames and lists them.
var (
	_ provider.Client        = (*pool)(nil)
	_ provider.PoolKeeper    = (*pool)(nil)
	_ provider.KeyVerifier   = (*pool)(nil)
	_ provider.AdminVerifier = (*pool)(nil)
	_ provider.RoleChecker   = (*pool)(nil)
	_ provider.ScopeLister   = (*pool)(nil)
)

// Connect returns a client. A nil transport does for one that is only asked what it
// can do.
func (anthropicPool) Connect(s provider.Settings, t *provider.Transport) (provider.Client, error) {
	seconds := usualQuarantine
	if _, written := s.Fields[fieldQuarantine]; written {
		seconds = s.Fields.Int(fieldQuarantine)
	}
	return &pool{api: newAPI(poolName, s, t), Admin: s.AdminKey, rest: time.Duration(seconds) * time.Second}, nil
}

// Rest is the quarantine.
func (c *pool) Rest() time.Duration { return c.rest }

// admin is a call with the Admin API key.
func (c *pool) admin(op operation, path string) request {
	return request{op: op, path: path, Key: c.Admin}
}
