package openai_test

import (
	"crypto/rand"
	"net/http"
	"slices"
	"testing"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	"vault-plugin-secrets-llm/backend/provider/openai"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

func TestProvider(t *testing.T) {
	providertest.Run(t, providertest.Harness{
		Provider: openai.New(),
		New:      func(*testing.T) providertest.World { return &world{Server: fakeopenai.New()} },
	})
}

// A world is a simulated organization as the suite wants it.
type world struct{ *fakeopenai.Server }

const (
	project = fakeopenai.DefaultProject
	baseURL = "https://api.openai.test/v1"
)

func (w *world) Settings() provider.Settings {
	return provider.Settings{
		AdminKey: provider.Secret(w.AdminKey()),
		BaseURL:  baseURL,
		Fields:   provider.Values{"organization_id": "org-demo", "allowed_projects": []string{project}},
	}
}

func (w *world) Role() provider.Values {
	return provider.Values{"project_id": project, "scopes": []string{"api.responses.write"}}
}

func (w *world) Keys() []provider.Found {
	var keys []provider.Found
	for _, key := range w.LiveKeys() {
		if key.ProjectID == project {
			keys = append(keys, provider.Found{
				ID: key.ID, Name: key.Name, PrincipalID: key.ServiceAccountID, Owner: w.owner(key),
				CreatedAt: key.CreatedAt, ExpiresAt: key.ExpiresAt, LastUsedAt: key.LastUsedAt, UseKnown: true,
			})
		}
	}
	return keys
}

func (w *world) owner(key fakeopenai.Key) string {
	for _, account := range w.ServiceAccounts(key.ProjectID) {
		if account.ID == key.ServiceAccountID {
			return "service account " + account.Name
		}
	}
	return "user ada@example.com"
}

func (w *world) URLs() []string {
	var urls []string
	for _, r := range w.Requests() {
		urls = append(urls, r.Path+"?"+r.RawQuery)
	}
	return urls
}

func (w *world) Plant(name string) provider.Key {
	key := w.PlantKey(project, name)
	return provider.Key{ID: key.ID, Secret: provider.Secret(key.Secret)}
}

func (w *world) DelayKeys(d time.Duration) { w.SetKnobs(fakeopenai.Knobs{DataPlaneDelay: d}) }

func (w *world) AdminKeys() []provider.Found {
	var keys []provider.Found
	for _, key := range w.Server.AdminKeys() {
		if !key.Deleted && (key.ExpiresAt.IsZero() || time.Now().Before(key.ExpiresAt)) {
			keys = append(keys, provider.Found{
				ID: key.ID, Name: key.Name, PrincipalID: key.ServiceAccountID, Owner: "user Ada",
				CreatedAt: key.CreatedAt, ExpiresAt: key.ExpiresAt, LastUsedAt: key.LastUsedAt, UseKnown: true,
			})
		}
	}
	return keys
}

func (w *world) AddScope() string {
	id := "proj_" + rand.Text()
	w.AddProject(id)
	return id
}

func (w *world) CloseScope(id string) { w.ArchiveProject(id) }

func (w *world) Principals() int { return len(w.ServiceAccounts(project)) }

// PlantAdmin makes a key that ends as no random one does, or as the first.
func (w *world) PlantAdmin(name string, twin bool) {
	end := "_-_"
	if first := w.AdminKey(); twin {
		end = first[len(first)-3:]
	}
	w.PlantAdminKey(name, "sk-admin-"+rand.Text()+end)
}

func (w *world) TreatAdmins(t providertest.Treatment) {
	w.SetKnobs(fakeopenai.Knobs{
		WeakerAdminKeys: t.Weaker, AdminKeyDelay: t.Delay, AdminKeyHideFor: t.HideFor, AdminKeyMaxExpiry: t.Lifetime,
	})
}

func (w *world) Stranger() (provider.Settings, http.RoundTripper) {
	other := fakeopenai.New(fakeopenai.WithProject("proj_other"))
	return (&world{other}).Settings(), other.RoundTripper()
}

var ops = map[providertest.Move]fakeopenai.Op{
	providertest.Mint:            fakeopenai.OpCreateKey,
	providertest.Delete:          fakeopenai.OpDeleteKey,
	providertest.Find:            fakeopenai.OpListKeys,
	providertest.Extend:          fakeopenai.OpUpdateKey,
	providertest.VerifyKey:       fakeopenai.OpListModels,
	providertest.ReadKey:         fakeopenai.OpGetKey,
	providertest.FindPrincipal:   fakeopenai.OpListServiceAccounts,
	providertest.CreatePrincipal: fakeopenai.OpCreateServiceAccount,
	providertest.EnablePrincipal: fakeopenai.OpUpdateServiceAccount,
	providertest.DeletePrincipal: fakeopenai.OpDeleteServiceAccount,
	providertest.VerifyAdmin:     fakeopenai.OpListProjects,
	providertest.CheckRole:       fakeopenai.OpGetProject,
	providertest.MintAdmin:       fakeopenai.OpCreateAdminKey,
	providertest.FindAdmins:      fakeopenai.OpListAdminKeys,
	providertest.ReadAdmin:       fakeopenai.OpGetAdminKey,
	providertest.DeleteAdmin:     fakeopenai.OpDeleteAdminKey,
	providertest.FindScopes:      fakeopenai.OpListProjects,
}

func (w *world) Count(m providertest.Move) int { return w.Server.Count(ops[m]) }

func (w *world) Mend() { w.ClearFaults() }

func (w *world) Break(m providertest.Move, f providertest.Fault) bool {
	out := fakeopenai.Fault{
		Op: ops[m], Skip: f.Skip, Times: f.Times, Latency: f.Latency,
		Refuse: f.Refuse, Drop: f.Drop, Redirect: f.Redirect,
		Status: f.Status, AfterEffect: f.AfterEffect, RetryAfter: f.RetryAfter, Body: f.Body,
		Corrupt: fakeopenai.Corruption(f.Spoil),
	}
	if f.HTML {
		out.ContentType = new("text/html")
	}
	switch {
	case f.AfterEffect && f.Hang:
		out.Hang = fakeopenai.HangAfter
	case f.Hang:
		out.Hang = fakeopenai.HangBefore
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
	for _, how := range fakeopenai.Corruptions() {
		spoils = append(spoils, string(how))
	}
	return spoils
}

// connect returns a client of a connection to a simulated organization.
func connect(t *testing.T, s provider.Settings, base http.RoundTripper) provider.Client {
	t.Helper()
	transport, err := provider.NewTransport(provider.TransportConfig{Timeout: 30 * time.Second, MaxConcurrency: 16, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	client, err := openai.New().Connect(s, transport)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestAbilities(t *testing.T) {
	client, err := openai.New().Connect(provider.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"check_role", "extend", "list_scopes", "mint", "principal", "read_key", "revoke", "rotate_admin", "verify_admin", "verify_key",
	}
	if got := provider.Capabilities(openai.New(), client); !slices.Equal(got, want) {
		t.Errorf("got abilities %q, want %q", got, want)
	}
}
