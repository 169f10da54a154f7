package openai_test

import (
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
)

// This file is what OpenAI does or may do, as the simulator's knobs have it.

// An organization is a simulated one and a client of it.
type organization struct {
	*testing.T
	*fakeopenai.Server
	provider.Client
	keeper provider.PrincipalKeeper
}

func inOrganization(t *testing.T, knobs fakeopenai.Knobs, run func(*organization)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := fakeopenai.New(fakeopenai.WithKnobs(knobs))
		client := connect(t, (&world{server}).Settings(), server.RoundTripper())
		run(&organization{t, server, client, client.(provider.PrincipalKeeper)})
	})
}

func (o *organization) ensure(name string) provider.Principal {
	o.Helper()
	p, err := o.keeper.EnsurePrincipal(o.Context(), name, (&world{o.Server}).Role())
	if err != nil {
		o.Fatal(err)
	}
	return p
}

func (o *organization) mint(p provider.Principal) provider.Key {
	o.Helper()
	key, err := o.Mint(o.Context(), provider.Spec{
		Name: "vault-test", ExpiresAt: time.Now().Add(time.Hour), Principal: p, Role: (&world{o.Server}).Role(),
	})
	if err != nil {
		o.Fatal(err)
	}
	return key
}

func (o *organization) extend(key provider.Key) (time.Time, error) {
	ref := provider.Ref{ID: key.ID, Scope: project}
	return o.Client.(provider.Extender).Extend(o.Context(), ref, time.Now().Add(2*time.Hour))
}

func (o *organization) wantKind(err error, want provider.Kind) {
	o.Helper()
	if !provider.IsKind(err, want) {
		o.Errorf("got %v, want kind %s", err, want)
	}
}

func TestKeysAreScoped(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		o.mint(o.ensure("bot"))
		for _, key := range o.Keys() {
			if len(key.Scopes) != 1 || key.Scopes[0] != "api.responses.write" {
				o.Errorf("got scopes %q", key.Scopes)
			}
		}
	})
}

func TestPagesWithoutLastID(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{LastIDNull: true, PageSizeCap: 7}, func(o *organization) {
		o.mint(o.ensure("bot"))
		for range 50 {
			o.PlantKey(project, "ada's laptop")
		}
		n := 0
		for _, err := range o.Find(o.Context(), project) {
			if err != nil {
				o.Fatal(err)
			}
			n++
		}
		if n != 51 {
			o.Errorf("found %d keys, want 51", n)
		}
		for range 20 {
			o.PlantServiceAccount(project, "other")
		}
		if first := o.ensure("bot"); len(o.ServiceAccounts(project)) != 21 {
			o.Errorf("made a second account beside %+v", first)
		}
	})
}

// Of several accounts of one name, all callers settle on the oldest.
func TestOldestAccountWins(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		o.PlantServiceAccount(project, "bot-2")
		time.Sleep(time.Minute)
		oldest := o.PlantServiceAccount(project, "bot")
		time.Sleep(time.Minute)
		o.PlantServiceAccount(project, "bot")
		o.PlantServiceAccount(project, "Bot")
		if got := o.ensure("bot"); got.ID != oldest.ID {
			o.Errorf("got %s, want %s", got.ID, oldest.ID)
		}
		o.DeleteServiceAccount(oldest.ID)
		if got := o.ensure("bot"); got.ID == oldest.ID || o.Count(fakeopenai.OpCreateServiceAccount) != 0 {
			o.Errorf("got %s, want the other one", got.ID)
		}
	})
}

// An account that lost its role gets it back; an owner stays an owner.
func TestAccountKeepsAccess(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		bot := o.ensure("bot")
		for role, want := range map[string]string{"none": "member", "member": "member", "owner": "owner"} {
			o.SetRole(bot.ID, role)
			if again := o.ensure("bot"); again != bot {
				o.Errorf("got %+v, want %+v", again, bot)
			}
			if got := o.ServiceAccounts(project)[0].Role; got != want {
				o.Errorf("role %s became %s, want %s", role, got, want)
			}
		}
	})
}

func TestExpiryThatIsNotAsAsked(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{MaxExpiry: 10 * time.Minute}, func(o *organization) {
		key := o.mint(o.ensure("bot"))
		if got := time.Until(key.ExpiresAt); got != 10*time.Minute {
			o.Errorf("got a life of %s, want what OpenAI answered, 10m", got)
		}
		if got, err := o.extend(key); err != nil || time.Until(got) != 10*time.Minute {
			o.Errorf("got expiry %s, %v, want what OpenAI answered", got, err)
		}
		o.SetKnobs(fakeopenai.Knobs{IgnoreExpiry: true})
		if key := o.mint(o.ensure("bot")); !key.ExpiresAt.IsZero() {
			o.Errorf("got expiry %s of a key that has none", key.ExpiresAt)
		}
		_, err := o.extend(key)
		o.wantKind(err, provider.Unavailable)
	})
}

func TestWhatOpenAIMayNotOffer(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{UpdateUnsupported: true, ExpiryPolicy: 90 * time.Minute}, func(o *organization) {
		key := o.mint(o.ensure("bot"))
		_, err := o.extend(key)
		o.wantKind(err, provider.Invalid)
		o.SetKnobs(fakeopenai.Knobs{ExpiryPolicy: 90 * time.Minute})
		_, err = o.extend(key) // to two hours
		o.wantKind(err, provider.Invalid)
	})
}

// A young key may be unknown: a NotFound then proves nothing, which is what
// Limits.Consistency is for.
func TestYoungKeyIsNotFound(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{YoungNotFoundFor: 30 * time.Second}, func(o *organization) {
		key := o.mint(o.ensure("bot"))
		ref := provider.Ref{ID: key.ID, Scope: project}
		o.wantKind(o.Delete(o.Context(), ref), provider.NotFound)
		if !o.Alive(key.Secret.Reveal()) {
			o.Error("the key does not live")
		}
		time.Sleep(30 * time.Second)
		if err := o.Delete(o.Context(), ref); err != nil {
			o.Error(err)
		}
	})
}

func TestArchivedProject(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{}, func(o *organization) {
		checker := o.Client.(provider.RoleChecker)
		role := (&world{o.Server}).Role()
		bot := o.ensure("bot")
		key := o.mint(bot)
		if err := checker.CheckRoleAt(o.Context(), role); err != nil {
			o.Error(err)
		}
		o.ArchiveProject(project)
		err := checker.CheckRoleAt(o.Context(), role)
		wantRefusal(o.T, "archived", err, "project_id", "is archived")
		// OpenAI refuses every change there, and nothing in it works any more.
		o.wantKind(o.Delete(o.Context(), provider.Ref{ID: key.ID, Scope: project}), provider.NotFound)
		o.wantKind(o.keeper.DeletePrincipal(o.Context(), bot), provider.NotFound)
		for found, err := range o.Find(o.Context(), project) {
			o.Errorf("find in an archived project: %v, %v", found, err)
		}

		err = checker.CheckRoleAt(o.Context(), provider.Values{"project_id": "proj_unknown"})
		wantRefusal(o.T, "unknown", err, "project_id", `no project "proj_unknown"`)
	})
}

func TestErrorsReadWell(t *testing.T) {
	inOrganization(t, fakeopenai.Knobs{NoGrease: true}, func(o *organization) {
		verify := o.Client.(provider.AdminVerifier).VerifyAdmin
		for _, test := range []struct {
			fault fakeopenai.Fault
			want  string
		}{
			{
				fakeopenai.Fault{Status: 403, Body: `{"error":{"code":"missing_scope","message":"You may not."}}`},
				"openai: list projects: forbidden: missing_scope: You may not. (request req_0000000000000001)",
			},
			{
				fakeopenai.Fault{Status: 403, Body: `{"error":{"code":null,"message":"You may not."}}`},
				"openai: list projects: forbidden: You may not. (request req_0000000000000002)",
			},
			{
				fakeopenai.Fault{Status: 403, Body: `{"error":{"code":"missing_scope","message":""}}`},
				"openai: list projects: forbidden: missing_scope (request req_0000000000000003)",
			},
			{
				fakeopenai.Fault{Status: 403, Body: `{"error":"no"}`},
				"openai: list projects: forbidden: Forbidden (request req_0000000000000004)",
			},
			{
				fakeopenai.Fault{Redirect: true},
				"openai: list projects: unavailable: the provider redirects; base_url must be its final address (request req_0000000000000005)",
			},
			{
				fakeopenai.Fault{Corrupt: fakeopenai.HTMLBody},
				"openai: list projects: unavailable: the answer cannot be understood (request req_0000000000000006)",
			},
			{
				fakeopenai.Fault{Refuse: true},
				"openai: list projects: unavailable: dial tcp: connection refused",
			},
		} {
			o.ClearFaults()
			o.Inject(test.fault)
			if err := verify(o.Context()); err == nil || err.Error() != test.want {
				o.Errorf("got  %v\nwant %s", err, test.want)
			}
		}
	})
}
