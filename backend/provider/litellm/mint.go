package litellm

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file makes keys. The key is chosen here, so that its id is known before it
// exists: when LiteLLM's answer is lost, the key can be asked for, and is handed out
// if it is there. The id is asked about, never the key.

var opCreateKey = operation{name: "create key", method: http.MethodPost, path: "/key/generate", creates: true}

const (
	// lookPatience bounds the look for a key whose creation had no answer.
	lookPatience = 15 * time.Second
	// maxLate is how much later than asked a key may end: the clocks differ, and
	// LiteLLM counts from when it is asked.
	maxLate = 5 * time.Minute
	// maxLifetime is the longest duration that is asked for. More would end in the
	// same: the engine asks for less than Limits allow.
	maxLifetime = 10 * 365 * 24 * time.Hour
)

// llmRoutes lets a key call models and nothing else. Without it a key may make
// other keys, which nobody would know of. The name of the group is LiteLLM's; that it
// covers /v1/models is not verified, and a version that does not know it is expected
// to refuse the key everywhere.
const llmRoutes = "llm_api_routes"

// The members of a key's metadata that are ours.
const (
	metaScope    = "vault_scope"
	metaAdmin    = "vault_admin"
	metaOfHolder = "vault_"
	metaOfRole   = "vault_metadata_"
)

// A newKey is what is asked for. Key is not of type Secret, which would be sent
// redacted; no newKey is ever printed.
type newKey struct {
	Key      string            `json:"key"`
	Alias    string            `json:"key_alias"`
	Duration string            `json:"duration,omitempty"`
	Team     string            `json:"team_id,omitempty"`
	User     string            `json:"user_id,omitempty"`
	Models   []string          `json:"models,omitempty"`
	Routes   []string          `json:"allowed_routes,omitempty"`
	Budget   float64           `json:"max_budget,omitempty"`
	Period   string            `json:"budget_duration,omitempty"`
	RPM      int               `json:"rpm_limit,omitempty"`
	TPM      int               `json:"tpm_limit,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// periods are the budget_duration of each budget_period. Whether a budget starts
// anew so long after the key was made, or at the next midnight, Monday or first of
// a month, differs between versions.
var periods = map[string]string{provider.PeriodDay: "1d", provider.PeriodWeek: "7d", provider.PeriodMonth: "30d"}

// newSecret is a key of 32 random bytes.
func newSecret() provider.Secret {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	return provider.Secret(keyPrefix + base64.RawURLEncoding.EncodeToString(random))
}

// idOf is the id of a key: what LiteLLM stores in its place.
func idOf(key provider.Secret) string {
	sum := sha256.Sum256([]byte(key.Reveal()))
	return hex.EncodeToString(sum[:])
}

// request is what a spec asks for.
func request(spec provider.Spec, secret provider.Secret) newKey {
	role := spec.Role
	return newKey{
		Key:      secret.Reveal(),
		Alias:    spec.Name,
		Duration: duration(spec.ExpiresAt),
		Team:     role.String(fieldTeam),
		User:     role.String(fieldUser),
		Models:   role.Strings(provider.FieldModels),
		Routes:   []string{llmRoutes},
		Budget:   role.Float(provider.FieldBudget),
		Period:   periods[role.String(provider.FieldBudgetPeriod)],
		RPM:      role.Int(provider.FieldRequestsPerMinute),
		TPM:      role.Int(provider.FieldTokensPerMinute),
		Metadata: metadata(spec),
	}
}

// metadata says for whom a key is, for people who look at it in LiteLLM and for its
// reports of use. Its members are flat texts; those that are empty are left out.
func metadata(spec provider.Spec) map[string]string {
	h := spec.Holder
	out := map[string]string{metaScope: liteLLM{}.Scope(spec.Role)}
	for field, value := range map[string]string{
		"id": spec.ID, "mount": h.Mount, "role": h.Role,
		"entity_id": h.EntityID, "entity_name": h.EntityName, "display_name": h.DisplayName,
	} {
		out[metaOfHolder+field] = value
	}
	for field, value := range h.Metadata {
		out[metaOfRole+field] = value
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}

// Mint creates a key, with all its bounds, in one call. It is handed out only if it
// is as it was asked for; otherwise it is deleted again.
func (c *client) Mint(ctx context.Context, spec provider.Spec) (provider.Key, error) {
	secret := newSecret()
	c = c.hiding(secret)
	asked := request(spec, secret)
	made, err := c.create(ctx, opCreateKey, asked)
	if err != nil {
		made, err = c.rescue(ctx, opCreateKey, asked, err)
	}
	if err != nil {
		return provider.Key{}, err
	}
	if problem := asked.unlike(*made, spec.ExpiresAt); problem != "" {
		return provider.Key{}, c.undo(ctx, opCreateKey, idOf(secret), unproven(opCreateKey, problem))
	}
	return provider.Key{ID: idOf(secret), Secret: secret, ExpiresAt: made.ExpiresAt.Time, Data: c.KeyData("")}, nil
}

// create asks for a key. An answer about any other key is none.
func (c *client) create(ctx context.Context, op operation, asked newKey) (*key, error) {
	type answer struct {
		Key provider.Secret `json:"key"`
		key
	}
	res, err := do(ctx, c, op, nil, always(asked), func(a *answer) bool {
		return a.Key.Reveal() == asked.Key && (a.Token == "" || a.Token == idOf(a.Key))
	})
	if err != nil {
		return nil, err
	}
	return &res.key, nil
}

// rescue looks for a key whose creation failed with err, and returns it if it is
// there. That it is not there proves nothing, for the request may still be under
// way: then err stands, and the engine looks for its name. A refusal, or a "not
// found", may be the answer to a request that something on the way has sent a second
// time; it is believed once LiteLLM says, in its own words, that there is no such key.
func (c *client) rescue(ctx context.Context, op operation, asked newKey, err error) (*key, error) {
	kind := provider.KindOf(err)
	if kind != provider.Ambiguous && kind != provider.Invalid && kind != provider.NotFound {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(provider.FollowUp(ctx), lookPatience)
	defer cancel()
	made, words, unread := c.lookUp(ctx, idOf(provider.Secret(asked.Key)))
	switch {
	case unread == nil:
		return made, nil
	case kind != provider.Ambiguous && !words.unknownKey():
		return nil, because(err, provider.Ambiguous, op, "the key was refused, but may exist")
	}
	return nil, err
}

// unlike says in what a new key is not as it was asked for. Where a role sets no
// bound, the proxy may have set one of its own.
func (n newKey) unlike(k key, until time.Time) string {
	what := ""
	switch {
	case k.Alias != n.Alias:
		what = "alias"
	case k.Team != n.Team:
		what = "team"
	case k.User != n.User:
		what = "user" // whose rights it would have
	case !sameTexts(k.Routes, n.Routes):
		what = "list of allowed_routes"
	case len(n.Models) > 0 && !sameTexts(k.Models, n.Models):
		what = "list of models"
	case !bounds(n.Budget, k.Budget):
		what = "budget"
	case n.Budget != 0 && k.Period != n.Period:
		what = "budget period"
	case !bounds(n.RPM, k.RPM):
		what = "number of requests per minute"
	case !bounds(n.TPM, k.TPM):
		what = "number of tokens per minute"
	case k.ExpiresAt.IsZero():
		return withoutExpiry
	case k.ExpiresAt.Sub(until).Abs() > maxLate:
		return fmt.Sprintf("the key was made to expire at %s, not at %s as asked; do the clocks agree?",
			k.ExpiresAt.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
	}
	if what == "" {
		return ""
	}
	return otherwise(what)
}

const withoutExpiry = "the key was made without an expiry"

// otherwise is the problem with a key that is not as it was asked for.
func otherwise(what string) string {
	return "the key was made with another " + what + " than asked; has the proxy default_key_generate_params of its own?"
}

// bounds reports whether a bound is the one that was asked for; zero asks for none.
func bounds[T int | float64](asked T, got *T) bool { return asked == 0 || got != nil && *got == asked }

// sameTexts compares two lists in any order.
func sameTexts(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// undo deletes a key that must not be handed out, and returns why. Only where the
// deletion is confirmed is there no key: a "not found" says nothing of one so
// young.
func (c *client) undo(ctx context.Context, op operation, id string, why error) error {
	if err := c.remove(provider.FollowUp(ctx), opDeleteKey, id); err != nil {
		return because(why, provider.Ambiguous, op, "the key may exist, for it could not be deleted after a failure")
	}
	return because(why, provider.Unavailable, op, "the key was deleted again after a failure")
}

// duration is an expiry as LiteLLM takes it: whole seconds from now, at least one.
// It rounds up twice, for LiteLLM stores no fractions below a millisecond: a key
// never ends before its lease, and ends less than two seconds after at.
func duration(at time.Time) string {
	if whole := at.Truncate(time.Second); whole.Before(at) {
		at = whole.Add(time.Second)
	}
	left := min(time.Until(at), maxLifetime)
	return fmt.Sprintf("%ds", max(1, int64((left+time.Second-1)/time.Second)))
}
