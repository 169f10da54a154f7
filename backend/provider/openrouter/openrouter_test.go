package openrouter_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
	"vault-plugin-secrets-llm/backend/provider/openrouter"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

const (
	workspace = fakeopenrouter.DefaultWorkspace
	baseURL   = "https://openrouter.test/api/v1"
	model     = "openai/gpt-4.1-mini"
)

// plain is a role that bounds nothing, bounded one that bounds what can be.
func plain() provider.Values { return provider.Values{"workspace_id": workspace} }

func bounded() provider.Values {
	return provider.Values{
		"workspace_id": workspace, "models": []string{model, "z-ai/glm-4.6:free"}, "budget": 12.5, "budget_period": "day",
	}
}

func TestProvider(t *testing.T) {
	for what, role := range map[string]func() provider.Values{"plain": plain, "bounded": bounded} {
		t.Run(what, func(t *testing.T) {
			providertest.Run(t, providertest.Harness{
				Provider:     openrouter.New(),
				New:          func(*testing.T) providertest.World { return &world{fakeopenrouter.New(), role()} },
				UnscopedKeys: true,
				ScopesVanish: true,
			})
		})
	}
}

// A world is a simulated account as the suite wants it.
type world struct {
	*fakeopenrouter.Server
	role provider.Values
}

func (w *world) Settings() provider.Settings {
	return provider.Settings{
		AdminKey: provider.Secret(w.AdminKey()),
		BaseURL:  baseURL,
		Fields:   provider.Values{"allowed_workspaces": []string{workspace}},
	}
}

func (w *world) Role() provider.Values { return w.role }

func (w *world) Keys() []provider.Found {
	var keys []provider.Found
	for _, key := range w.LiveKeys() {
		if key.WorkspaceID == workspace {
			keys = append(keys, provider.Found{
				ID: key.Hash, Name: key.Name, Owner: "user " + fakeopenrouter.Creator,
				CreatedAt: key.CreatedAt, ExpiresAt: key.ExpiresAt,
			})
		}
	}
	return keys
}

func (w *world) URLs() []string {
	var urls []string
	for _, r := range w.Requests() {
		urls = append(urls, r.Path+"?"+r.RawQuery)
	}
	return urls
}

func (w *world) Plant(name string) provider.Key {
	key := w.PlantKey(workspace, name)
	return provider.Key{ID: key.Hash, Secret: provider.Secret(key.Secret)}
}

func (w *world) DelayKeys(d time.Duration) { w.SetKnobs(fakeopenrouter.Knobs{DataPlaneDelay: d}) }

func (w *world) Age(string, time.Time, time.Time) bool { return false }

func (w *world) AddScope() string { return w.AddWorkspace("") }

func (w *world) CloseScope(id string) { w.DeleteWorkspace(id) }

var ops = map[providertest.Move]fake.Op{
	providertest.Mint:        fakeopenrouter.OpCreateKey,
	providertest.Delete:      fakeopenrouter.OpDeleteKey,
	providertest.Find:        fakeopenrouter.OpListKeys,
	providertest.VerifyKey:   fakeopenrouter.OpReadOwnKey,
	providertest.ReadKey:     fakeopenrouter.OpGetKey,
	providertest.VerifyAdmin: fakeopenrouter.OpListWorkspaces,
	providertest.CheckRole:   fakeopenrouter.OpGetWorkspace,
	providertest.FindScopes:  fakeopenrouter.OpListWorkspaces,
}

func (w *world) Count(m providertest.Move) int {
	op, ok := ops[m]
	if !ok {
		return 0
	}
	return w.Server.Count(op)
}

func (w *world) Mend() { w.ClearFaults() }

func (w *world) Break(m providertest.Move, f providertest.Fault) bool {
	op, ok := ops[m]
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

// connect returns a client of a connection to a simulated account.
func connect(t *testing.T, s provider.Settings, base http.RoundTripper) provider.Client {
	t.Helper()
	transport, err := provider.NewTransport(provider.TransportConfig{Timeout: 30 * time.Second, MaxConcurrency: 16, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openrouter.New().Connect(s, transport)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAbilities(t *testing.T) {
	client, err := openrouter.New().Connect(provider.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"budget", "budget_period", "check_role", "list_scopes", "mint", "models", "revoke", "verify_admin", "verify_key",
	}
	if got := provider.Capabilities(openrouter.New(), client); !slices.Equal(got, want) {
		t.Errorf("got abilities %q, want %q", got, want)
	}
}
