package litellm_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
	"vault-plugin-secrets-llm/backend/provider/litellm"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

const (
	team    = "team-blue"
	user    = "bot@example.com"
	baseURL = "https://litellm.test/proxy"
	model   = "gpt-4.1-mini"
)

// plain is a role that bounds nothing, bounded one that bounds what can be.
func plain() provider.Values { return provider.Values{} }

func bounded() provider.Values {
	return provider.Values{
		"team_id": team, "user_id": user, "models": []string{model, "claude-sonnet"}, "budget": 12.5, "budget_period": "day",
		"requests_per_minute": 60, "tokens_per_minute": 100000,
	}
}

func TestProvider(t *testing.T) {
	for what, role := range map[string]func() provider.Values{"plain": plain, "bounded": bounded} {
		t.Run(what, func(t *testing.T) {
			providertest.Run(t, providertest.Harness{
				Provider:      litellm.New(),
				New:           func(*testing.T) providertest.World { return worldOf(fakelitellm.New(), role()) },
				UnscopedKeys:  true,
				KeptSecrets:   true,
				AdminsAreKeys: true,
			})
		})
	}
}

// A world is a simulated proxy as the suite wants it.
type world struct {
	*fakelitellm.Server
	role provider.Values
}

func worldOf(s *fakelitellm.Server, role provider.Values) *world {
	s.AddTeam(team)
	s.AddUser(user, fakelitellm.RoleUser)
	return &world{s, role}
}

// RoundTripper reaches the proxy behind the path of its base URL.
func (w *world) RoundTripper() http.RoundTripper { return behind{w.Server.RoundTripper()} }

// behind takes the path of the base URL away, as an ingress does.
type behind struct{ proxy http.RoundTripper }

func (b behind) RoundTrip(req *http.Request) (*http.Response, error) {
	inner := req.Clone(req.Context())
	inner.URL.Path = req.URL.Path[len("/proxy"):]
	return b.proxy.RoundTrip(inner)
}

func (w *world) Settings() provider.Settings {
	return provider.Settings{AdminKey: provider.Secret(w.AdminKey()), BaseURL: baseURL}
}

func (w *world) Role() provider.Values { return w.role }

func (w *world) Keys() []provider.Found {
	var keys []provider.Found
	for _, key := range w.LiveKeys() {
		if key.TeamID == w.role.String("team_id") {
			keys = append(keys, foundOf(key))
		}
	}
	return keys
}

func foundOf(key fakelitellm.Key) provider.Found {
	out := provider.Found{ID: key.Hash, Name: key.Alias, CreatedAt: key.CreatedAt, ExpiresAt: key.ExpiresAt.UTC()}
	if key.ExpiresAt.IsZero() {
		out.ExpiresAt = time.Time{}
	}
	switch {
	case key.UserID != "":
		out.Owner = "user " + key.UserID
	case key.TeamID != "":
		out.Owner = "team " + key.TeamID
	}
	return out
}

func (w *world) URLs() []string {
	var urls []string
	for _, r := range w.Requests() {
		urls = append(urls, r.Path+"?"+r.RawQuery)
	}
	return urls
}

func (w *world) Plant(name string) provider.Key {
	key := w.PlantKey(w.role.String("team_id"), "", name)
	return provider.Key{ID: key.Hash, Secret: provider.Secret(key.Secret)}
}

func (w *world) DelayKeys(d time.Duration) { w.SetKnobs(fakelitellm.Knobs{DataPlaneDelay: d}) }

func (w *world) Age(string, time.Time, time.Time) bool { return false }

func (w *world) AdminKeys() []provider.Found {
	var keys []provider.Found
	for _, key := range w.Server.AdminKeys() {
		keys = append(keys, foundOf(key))
	}
	return keys
}

func (w *world) AdminAlive(secret string) bool { return w.Alive(secret) }

func (w *world) Principals() int { return 0 }

func (w *world) PlantAdmin(name string, _ bool) { w.PlantAdminKey(name) }

func (w *world) TreatAdmins(t providertest.Treatment) {
	w.SetKnobs(fakelitellm.Knobs{
		WeakAdminKeys: t.Weaker, AdminKeyDelay: t.Delay, AdminHideFor: t.HideFor, AdminMaxLife: t.Lifetime,
	})
}

// Stranger is a proxy with another database. Without a team, nothing tells it if an
// operator has written a virtual key of its own to the connection; the master key may
// be the same everywhere.
func (w *world) Stranger() (provider.Settings, http.RoundTripper) {
	other := &world{fakelitellm.New(), w.role}
	settings := other.Settings()
	if w.role.String("team_id") == "" {
		settings.AdminKey = provider.Secret(other.MasterKey())
	}
	return settings, other.RoundTripper()
}

var ops = map[providertest.Move][]fake.Op{
	providertest.Mint:        {fakelitellm.OpCreateKey},
	providertest.Delete:      {fakelitellm.OpDeleteKey},
	providertest.Find:        {fakelitellm.OpListKeys},
	providertest.Extend:      {fakelitellm.OpUpdateKey},
	providertest.VerifyKey:   {fakelitellm.OpListModels},
	providertest.ReadKey:     {fakelitellm.OpReadKey},
	providertest.VerifyAdmin: {fakelitellm.OpReadOwnKey},
	providertest.CheckRole:   {fakelitellm.OpGetTeam, fakelitellm.OpGetUser},
	providertest.MintAdmin:   {fakelitellm.OpCreateAdminKey},
	providertest.FindAdmins:  {fakelitellm.OpListKeys},
	providertest.ReadAdmin:   {fakelitellm.OpReadKey},
	providertest.DeleteAdmin: {fakelitellm.OpDeleteKey},
}

func (w *world) Count(m providertest.Move) int {
	n := 0
	for _, op := range ops[m] {
		n += w.Server.Count(op)
	}
	return n
}

func (w *world) Mend() { w.ClearFaults() }

func (w *world) Break(m providertest.Move, f providertest.Fault) bool {
	if len(ops[m]) == 0 || m == providertest.CheckRole && w.role.String("team_id") == "" {
		return false // nothing is asked of a role that names nothing
	}
	for _, op := range ops[m] {
		w.Inject(faultOf(op, f))
	}
	return true
}

func faultOf(op fake.Op, f providertest.Fault) fake.Fault {
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
	return out
}

func (w *world) Spoils() []string {
	var spoils []string
	for _, how := range fake.Corruptions() {
		spoils = append(spoils, string(how))
	}
	return spoils
}

// connect returns a client of a connection to a simulated proxy.
func connect(t *testing.T, s provider.Settings, base http.RoundTripper) provider.Client {
	t.Helper()
	transport, err := provider.NewTransport(provider.TransportConfig{Timeout: 30 * time.Second, MaxConcurrency: 16, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	client, err := litellm.New().Connect(s, transport)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAbilities(t *testing.T) {
	client, err := litellm.New().Connect(provider.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"budget", "budget_period", "check_role", "extend", "mint", "models", "read_key", "requests_per_minute", "revoke", "rotate_admin",
		"tokens_per_minute", "verify_admin", "verify_key",
	}
	if got := provider.Capabilities(litellm.New(), client); !slices.Equal(got, want) {
		t.Errorf("got abilities %q, want %q", got, want)
	}
}
