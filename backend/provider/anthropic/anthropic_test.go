package anthropic_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

const baseURL = "https://api.anthropic.test"

func TestProvider(t *testing.T) {
	t.Run("federated", func(t *testing.T) {
		providertest.Run(t, providertest.Harness{
			Provider:    anthropic.New(),
			New:         func(t *testing.T) providertest.World { return newFederation(t) },
			SigningKeys: true,
		})
	})
	t.Run("pool", func(t *testing.T) {
		providertest.Run(t, providertest.Harness{
			Provider:     anthropic.NewPool(),
			New:          func(*testing.T) providertest.World { return newPool() },
			UnscopedKeys: true,
		})
	})
}

// A world is a simulated organization, as the suite wants it of both providers.
type world struct {
	*fakeanthropic.Server
	settings provider.Settings
	role     provider.Values
	ops      map[providertest.Move]fake.Op
}

func (w *world) Settings() provider.Settings { return w.settings }

func (w *world) Role() provider.Values { return w.role }

func (w *world) URLs() []string {
	var urls []string
	for _, r := range w.Requests() {
		urls = append(urls, r.Path+"?"+r.RawQuery)
	}
	return urls
}

func (w *world) Age(string, time.Time, time.Time) bool { return false }

func (w *world) Count(m providertest.Move) int {
	op, ok := w.ops[m]
	if !ok {
		return 0
	}
	return w.Server.Count(op)
}

func (w *world) Mend() { w.ClearFaults() }

func (w *world) Break(m providertest.Move, f providertest.Fault) bool {
	op, ok := w.ops[m]
	if !ok {
		return false
	}
	out := fake.Fault{
		Op: op, Skip: f.Skip, Times: f.Times, Latency: f.Latency,
		Refuse: f.Refuse, Drop: f.Drop, Redirect: f.Redirect,
		Status: f.Status, AfterEffect: f.AfterEffect, RetryAfter: f.RetryAfter, Body: f.Body,
		Corrupt: fake.Corruption(f.Spoil),
	}
	if f.HTML {
		out.ContentType = new("text/html")
	}
	switch {
	case f.AfterEffect && f.Hang:
		out.Hang = fake.HangAfter
	case f.Hang:
		out.Hang = fake.HangBefore
	}
	if f.AfterEffect {
		out.After = f.Then
	} else {
		out.Before = f.Then
	}
	w.Inject(out)
	return true
}

func (w *world) Spoils() []string {
	var spoils []string
	for _, how := range fake.Corruptions() {
		spoils = append(spoils, string(how))
	}
	return spoils
}

// A federation is a world in which an operator has entered what the engine publishes.
type federation struct {
	*world
	issuer, adminRule, rule, account string
}

var federatedOps = map[providertest.Move]fake.Op{
	providertest.Mint:        fakeanthropic.OpExchange,
	providertest.VerifyAdmin: fakeanthropic.OpGetIssuer,
	providertest.FindAdmins:  fakeanthropic.OpGetIssuer,
	providertest.MintAdmin:   fakeanthropic.OpAddIssuerKeys,
	providertest.DeleteAdmin: fakeanthropic.OpDropIssuerKeys,
	providertest.CheckRole:   fakeanthropic.OpGetRule,
	providertest.CloseRole:   fakeanthropic.OpArchiveRule,
}

// newFederation does what the documentation tells an operator to do.
func newFederation(t *testing.T) *federation {
	t.Helper()
	return newFederationAt(t, time.Now)
}

func newFederationAt(t *testing.T, clock func() time.Time) *federation {
	t.Helper()
	s := fakeanthropic.NewAt(clock)
	key, err := anthropic.New().(provider.AdminKeyMaker).MakeAdminKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &federation{world: &world{Server: s, ops: federatedOps}, account: s.CreateServiceAccount("vault-bot")}
	s.AddMember(s.Workspace(), w.account)
	w.settings = provider.Settings{
		AdminKey: key, BaseURL: baseURL, Fields: provider.Values{"organization_id": s.OrganizationID()},
	}
	w.role = provider.Values{"service_account_id": w.account, "workspace_id": s.Workspace()}

	publisher, holder := anthropic.New().(provider.Publisher), providertest.Holder()
	published := publisher.Publish(w.settings, holder.Mount)
	w.issuer = must(t)(s.CreateIssuer(published["federation_issuer"]))
	adminIssuer := must(t)(s.CreateIssuer(published["admin_issuer"]))
	w.adminRule = must(t)(s.CreateRule(filled(published["admin_rule"], adminIssuer, s.CreateServiceAccount("vault-admin"))))
	w.settings.Fields["issuer_id"], w.settings.Fields["admin_rule_id"] = w.issuer, w.adminRule

	w.rule = must(t)(s.CreateRule(publisher.PublishRole(w.settings, holder.Mount, holder.Role, w.role)["federation_rule"]))
	w.role["federation_rule_id"] = w.rule
	return w
}

func must(t *testing.T) func(string, error) string {
	return func(id string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

// filled is an admin rule with the ids that Anthropic gave out.
func filled(rule, issuer, account string) string {
	return strings.NewReplacer("<id of the admin issuer>", issuer,
		"<id of a service account with the organization role admin>", account).Replace(rule)
}

func (w *federation) Keys() []provider.Found {
	var keys []provider.Found
	for _, token := range w.LiveTokens() {
		id, _ := token.Claims["jti"].(string)
		keys = append(keys, provider.Found{ID: id, ExpiresAt: token.ExpiresAt})
	}
	return keys
}

func (w *federation) Plant(string) provider.Key { panic("nobody else makes tokens here") }

// Secrets are those of the simulator and the private keys.
func (w *federation) Secrets() []string {
	return append(append(w.Server.Secrets(), w.settings.AdminKey.Reveal()), privates(w.settings.AdminKey)...)
}

// privates are the private parts of a keyring.
func privates(key provider.Secret) (all []string) {
	var ring map[string]json.RawMessage
	_ = json.Unmarshal([]byte(key.Reveal()), &ring)
	for _, raw := range ring {
		var one struct{ D string }
		var several []struct{ D string }
		if json.Unmarshal(raw, &one) == nil && one.D != "" {
			several = append(several, one)
		} else if json.Unmarshal(raw, &several) != nil {
			continue
		}
		for _, k := range several {
			all = append(all, k.D)
		}
	}
	return all
}

// A public is what a signing key shows.
type public struct {
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
}

func publicOf(raw []byte) (k public) {
	_ = json.Unmarshal(raw, &k)
	return k
}

// workload is the key of a keyring that signs for workloads.
func workload(key provider.Secret) public {
	var ring struct{ Workload json.RawMessage }
	_ = json.Unmarshal([]byte(key.Reveal()), &ring)
	return publicOf(ring.Workload)
}

func (w *federation) AdminKeys() []provider.Found {
	var keys []provider.Found
	for _, raw := range w.IssuerKeys(w.issuer) {
		k := publicOf(raw)
		keys = append(keys, provider.Found{ID: k.Kid, Name: k.Kid})
	}
	return keys
}

func (w *federation) AdminAlive(secret string) bool {
	own := workload(provider.Secret(secret))
	return slices.ContainsFunc(w.IssuerKeys(w.issuer), func(raw json.RawMessage) bool { return publicOf(raw) == own })
}

func (*federation) Principals() int { return 0 }

// PlantAdmin registers another key, of the same point if it is a twin.
func (w *federation) PlantAdmin(name string, twin bool) {
	key, err := anthropic.New().(provider.AdminKeyMaker).MakeAdminKey()
	if twin {
		key = w.settings.AdminKey
	}
	other := workload(key)
	other.Kid = name
	raw, encodeErr := json.Marshal(other)
	body, bodyErr := json.Marshal(map[string]any{"jwks": map[string]any{
		"type": "inline", "keys": append(w.IssuerKeys(w.issuer), raw),
	}})
	if err != nil || encodeErr != nil || bodyErr != nil || w.UpdateIssuer(w.issuer, string(body)) != nil {
		panic("a key cannot be planted")
	}
}

func (*federation) TreatAdmins(providertest.Treatment) { panic("signing keys are not treated") }

func (w *federation) Stranger() (provider.Settings, http.RoundTripper) {
	other := fakeanthropic.New()
	settings := w.settings
	settings.Fields = provider.Values{"organization_id": other.OrganizationID(), "issuer_id": "fdis_01other", "admin_rule_id": "fdrl_01other"}
	return settings, other.RoundTripper()
}

// A pool is a world of keys that a person has made.
type pool struct{ *world }

var poolOps = map[providertest.Move]fake.Op{
	providertest.Mint:        fakeanthropic.OpActivateKey,
	providertest.Delete:      fakeanthropic.OpDeactivateKey,
	providertest.TakeIn:      fakeanthropic.OpDeactivateKey,
	providertest.Find:        fakeanthropic.OpListKeys,
	providertest.ReadKey:     fakeanthropic.OpGetKey,
	providertest.VerifyKey:   fakeanthropic.OpListModels,
	providertest.VerifyAdmin: fakeanthropic.OpListWorkspaces,
	providertest.CheckRole:   fakeanthropic.OpGetWorkspace,
	providertest.FindScopes:  fakeanthropic.OpListWorkspaces,
}

func newPool() *pool {
	s := fakeanthropic.New()
	return &pool{&world{
		Server: s, ops: poolOps,
		settings: provider.Settings{
			AdminKey: provider.Secret(s.AdminKey()), BaseURL: baseURL,
			Fields: provider.Values{"allowed_workspaces": []string{s.Workspace()}, "quarantine": 300},
		},
		role: provider.Values{"workspace_id": s.Workspace()},
	}}
}

func (w *pool) Pool() provider.PooledKey {
	key := w.PlantPoolKey("pooled")
	return provider.PooledKey{ID: key.ID, Secret: provider.Secret(key.Secret)}
}

func (w *pool) Keys() []provider.Found {
	var keys []provider.Found
	for _, key := range w.LiveKeys() {
		if key.WorkspaceID == w.Workspace() {
			keys = append(keys, provider.Found{
				ID: key.ID, Name: key.Name, Owner: "service account " + key.ServiceAccountID,
				CreatedAt: key.CreatedAt, ExpiresAt: key.ExpiresAt,
			})
		}
	}
	return keys
}

func (w *pool) Plant(name string) provider.Key {
	key := w.PlantKey(w.Workspace(), name)
	return provider.Key{ID: key.ID, Secret: provider.Secret(key.Secret)}
}

func (w *pool) DelayKeys(d time.Duration) { w.SetKnobs(fakeanthropic.Knobs{ActiveDelay: d}) }

func (w *pool) AddScope() string { return w.AddWorkspace("") }

func (w *pool) CloseScope(id string) { w.ArchiveWorkspace(id) }

// connect returns a client of a connection to a simulated organization.
func connect(t *testing.T, p provider.Provider, s provider.Settings, base http.RoundTripper) provider.Client {
	t.Helper()
	transport, err := provider.NewTransport(provider.TransportConfig{Timeout: 30 * time.Second, MaxConcurrency: 16, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	client, err := p.Connect(s, transport)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAbilities(t *testing.T) {
	for _, c := range []struct {
		provider provider.Provider
		want     []string
	}{
		{anthropic.New(), []string{"check_role", "close_role", "mint", "rotate_admin", "verify_admin"}},
		{anthropic.NewPool(), []string{"check_role", "list_scopes", "mint", "pool", "revoke", "verify_admin", "verify_key"}},
	} {
		client, err := c.provider.Connect(provider.Settings{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := provider.Capabilities(c.provider, client); !slices.Equal(got, c.want) {
			t.Errorf("%s: got abilities %q, want %q", c.provider.Name(), got, c.want)
		}
	}
}
