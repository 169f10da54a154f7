// Package litellm keeps virtual keys of a self-hosted LiteLLM proxy, by its
// management API (https://docs.litellm.ai/docs/proxy/virtual_keys).
//
// Each key has its own expiry, which can be moved, and its own models, budget and
// rates, all of which the proxy enforces. The caller chooses the key: one whose
// answer was lost is not lost, but can be asked for. A key is known by its SHA-256,
// which is what LiteLLM stores in its place, so that no key is ever part of an
// address.
//
// What is said here of LiteLLM's behaviour is what its source says as of 2026
// (key_management_endpoints.py), unless a comment says otherwise. Versions differ,
// and deployments may be years behind.
package litellm

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-llm/backend/provider"
)

// name is the value of a connection's provider field.
const name = "litellm"

// The fields that LiteLLM adds to connections and roles.
const (
	fieldAllowedTeams = "allowed_teams"
	fieldTeam         = "team_id"
	fieldUser         = "user_id"
)

// keyPrefix begins every key of LiteLLM. Whether a key may manage others does not
// show.
const keyPrefix = "sk-"

// noTeam is the scope of roles that name no team.
const noTeam = "no-team"

// dashboardTeam is the team of the keys that LiteLLM's own pages make for each
// login. LiteLLM leaves it out of every list.
const dashboardTeam = "litellm-dashboard"

type liteLLM struct{}

var _ provider.Provider = liteLLM{}

// New returns the provider. It reads no environment variable.
func New() provider.Provider { return liteLLM{} }

func (liteLLM) Name() string { return name }

func (liteLLM) ConfigFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldAllowedTeams: {
			Type: framework.TypeCommaStringSlice,
			Description: "LiteLLM: ids of the teams that roles of this connection may use. Empty means every team, and roles " +
				"without one.",
			DisplayAttrs: &framework.DisplayAttributes{
				Name: "Allowed teams", Group: "LiteLLM",
				Description: "Ids of the teams that roles may use. None means every team, and roles without one.",
			},
		},
	}
}

func (liteLLM) RoleFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldTeam: {
			Type:         framework.TypeString,
			Description:  "LiteLLM: id of the team whose keys they are, and whose models and budget bound them too. Empty means no team.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Team ID", Group: "LiteLLM"},
		},
		fieldUser: {
			Type: framework.TypeString,
			Description: "LiteLLM: id of the user whose keys they are, and whose budget bounds them too. Never an admin. Empty means " +
				"no user.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "User ID", Group: "LiteLLM"},
		},
	}
}

func (liteLLM) Answers() provider.Answers { return provider.Answers{} }

// Guardrails are all set on the key itself.
func (liteLLM) Guardrails() provider.Guardrails {
	return provider.Guardrails{PerKey: []string{
		provider.FieldModels, provider.FieldBudget, provider.FieldBudgetPeriod,
		provider.FieldRequestsPerMinute, provider.FieldTokensPerMinute,
	}}
}

// Scope is the team, or all keys that are in none: LiteLLM lists by team. A user is
// none: one is in several teams, and a key may be nobody's.
func (liteLLM) Scope(role provider.Values) string {
	if team := role.String(fieldTeam); team != "" {
		return team
	}
	return noTeam
}

// Limits holds guesses, for LiteLLM documents none of them: the longest alias, the
// furthest expiry (a deployment may set one, and then refuses), and how long a
// replica of the database may lag behind.
func (liteLLM) Limits() provider.Limits {
	return provider.Limits{NameLength: 100, Lifetime: 365 * 24 * time.Hour, Consistency: time.Minute}
}

func (liteLLM) CheckConfig(s provider.Settings) error {
	if problem := adminKeyProblem(s.AdminKey.Reveal()); problem != "" {
		return provider.FieldErrorf("admin_key", "%s", problem)
	}
	switch address := strings.TrimRight(s.BaseURL, "/"); {
	case address == "":
		return provider.FieldErrorf("base_url", "is required; give the address of the LiteLLM proxy, like https://litellm.example.com")
	case strings.HasSuffix(address, "/v1"):
		return provider.FieldErrorf("base_url", "ends in /v1, where LiteLLM manages no keys; give the address of the proxy without it")
	}
	for _, id := range s.Fields.Strings(fieldAllowedTeams) {
		if problem := idProblem(id); problem != "" {
			return provider.FieldErrorf(fieldAllowedTeams, "%q %s", provider.HideKeys(id), problem)
		}
	}
	return nil
}

// adminKeyProblem says what is wrong with an admin key, without any part of it.
// Keys of a few characters are common: the master key is a person's choice.
func adminKeyProblem(key string) string {
	const remedy = "; give a virtual key of a user who is proxy_admin"
	switch {
	case key == "":
		return "is required" + remedy
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "holds a blank, a line break or another character that no key has; paste the key alone"
	case !strings.HasPrefix(key, keyPrefix) || len(key) == len(keyPrefix):
		return "is not a key of LiteLLM, which begins with " + keyPrefix + remedy
	}
	return ""
}

func (liteLLM) CheckRole(config, role provider.Values) error {
	team, user, allowed := role.String(fieldTeam), role.String(fieldUser), config.Strings(fieldAllowedTeams)
	for field, id := range map[string]string{fieldTeam: team, fieldUser: user} {
		if problem := idProblem(id); id != "" && problem != "" {
			return provider.FieldErrorf(field, "%q %s", provider.HideKeys(id), problem)
		}
	}
	switch {
	case len(allowed) == 0:
		return nil
	case team == "":
		return provider.FieldErrorf(fieldTeam, "is required, for the connection lists %s; give one of them", fieldAllowedTeams)
	case !slices.Contains(allowed, team):
		return provider.FieldErrorf(fieldTeam, "%q is not among the connection's %s; use one of those, or have it added", team, fieldAllowedTeams)
	}
	return nil
}

// idProblem says what is wrong with the id of a team or user. LiteLLM takes any
// text; most are UUIDs or addresses of mail.
func idProblem(id string) string {
	switch {
	case !idForm.MatchString(id):
		return "is not an id; give up to 128 characters, without blanks"
	case provider.HideKeys(id) != id || strings.HasPrefix(id, keyPrefix):
		return "looks like a key; give an id"
	case id == noTeam || id == dashboardTeam:
		return "has a meaning of its own; give the id of a team or user that you have made"
	}
	return ""
}

var idForm = regexp.MustCompile(`^[!-~]{1,128}$`)
