package litellm_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakelitellm "vault-plugin-secrets-llm/backend/provider/fake/litellm"
)

// newWorld returns a proxy and a client of it, as a role wants it.
func newWorld(t *testing.T, role provider.Values) (*world, provider.Client) {
	t.Helper()
	w := worldOf(fakelitellm.New(), role)
	return w, connect(t, w.Settings(), w.RoundTripper())
}

// mint asks for a key that lives for an hour.
func mint(t *testing.T, w *world, c provider.Client, name string) (provider.Key, error) {
	t.Helper()
	return c.Mint(t.Context(), provider.Spec{Name: name, ExpiresAt: time.Now().Add(time.Hour), Role: w.role})
}

// mustMint asks for a key that must be made.
func mustMint(t *testing.T, w *world, c provider.Client) provider.Key {
	t.Helper()
	key, err := mint(t, w, c, "vault-one")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// wantKind checks a failure, and that no secret is in it nor in an address.
func wantKind(t *testing.T, w *world, what string, err error, kind provider.Kind) {
	t.Helper()
	if got := provider.KindOf(err); got != kind {
		t.Errorf("%s: got %v, want kind %q", what, err, kind)
	}
	for _, secret := range w.Secrets() {
		if err != nil && strings.Contains(err.Error(), secret) || strings.Contains(strings.Join(w.URLs(), "\n"), secret) {
			t.Errorf("%s: a secret is in %v, or in an address", what, err)
		}
	}
}

// last is the body of the last request of an operation.
func (w *world) last(t *testing.T, op fake.Op) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, r := range slices.Backward(w.Requests()) {
		if r.Op == op {
			if err := json.Unmarshal([]byte(r.Body), &out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	t.Fatalf("no request of %s", op)
	return nil
}

func TestMintAsksForWhatTheRoleSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for period, want := range map[string]any{"day": "1d", "week": "7d", "month": "30d", "": nil} {
			w, c := newWorld(t, bounded())
			w.role["budget_period"] = period
			key, err := c.Mint(t.Context(), provider.Spec{
				ID: "01abc", Name: "vault-one", ExpiresAt: time.Now().Add(time.Hour), Role: w.role,
				Holder: provider.Holder{
					Mount: "m1", Role: "bot", EntityID: "e1", EntityName: "ada", DisplayName: "token-ada",
					Metadata: map[string]string{"cost_center": "42"},
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			got := w.last(t, fakelitellm.OpCreateKey)
			if got["key"] != key.Secret.Reveal() || !strings.HasPrefix(key.Secret.Reveal(), "sk-") || len(key.Secret) != 46 {
				t.Errorf("got a key of %d characters", len(key.Secret))
			}
			if key.ID != fakelitellm.Hash(key.Secret.Reveal()) || key.Data["base_url"] != baseURL {
				t.Errorf("got id %s, data %v", key.ID, key.Data)
			}
			delete(got, "key")
			all := map[string]any{
				"key_alias": "vault-one", "duration": "3600s", "team_id": team, "user_id": user, "models": []any{model, "claude-sonnet"},
				"allowed_routes": []any{"llm_api_routes"}, "max_budget": 12.5, "rpm_limit": 60.0, "tpm_limit": 100000.0,
				"metadata": map[string]any{
					"vault_id": "01abc", "vault_mount": "m1", "vault_role": "bot", "vault_entity_id": "e1", "vault_entity_name": "ada",
					"vault_display_name": "token-ada", "vault_scope": team, "vault_metadata_cost_center": "42",
				},
			}
			if want != nil {
				all["budget_duration"] = want
			}
			if fmt.Sprint(got) != fmt.Sprint(all) {
				t.Errorf("got body %v, want %v", got, all)
			}
		}
		w, c := newWorld(t, plain())
		mustMint(t, w, c)
		if body := fmt.Sprint(w.last(t, fakelitellm.OpCreateKey)); strings.Contains(body, "limit") || strings.Contains(body, "budget") ||
			strings.Contains(body, "team_id") {
			t.Errorf("a plain role asks for %s", body)
		}
		if n := len(w.Requests()); n != 1 {
			t.Errorf("a key took %d requests, want 1", n)
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for bound, statuses := range map[string][]int{
			"models": {403, 200, 200, 200}, "budget": {200, 200, 400, 400}, "requests_per_minute": {200, 200, 200, 429}, "tokens_per_minute": {200, 429, 429, 429},
		} {
			value := map[string]any{"models": []string{model}, "budget": 0.5, "requests_per_minute": 3, "tokens_per_minute": 100}[bound]
			w, c := newWorld(t, provider.Values{bound: value})
			key := mustMint(t, w, c)
			var got []int
			for _, m := range []string{"gpt-4.1", model, model, model} {
				got = append(got, w.Complete(key.Secret.Reveal(), m))
			}
			if !slices.Equal(got, statuses) {
				t.Errorf("%s: got statuses %v, want %v", bound, got, statuses)
			}
		}
	})
}

// A key calls models. It makes no other key, which nobody would know of.
func TestKeysManageNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		settings := w.Settings()
		settings.AdminKey = mustMint(t, w, c).Secret
		own := connect(t, settings, w.RoundTripper())
		_, err := mint(t, w, own, "vault-two")
		wantKind(t, w, "mint", err, provider.Forbidden)
		wantKind(t, w, "verify", own.(provider.AdminVerifier).VerifyAdmin(t.Context()), provider.Forbidden)
		if n := len(w.LiveKeys()); n != 1 {
			t.Errorf("got %d keys, want 1", n)
		}
	})
}

// What LiteLLM made is not what was asked for.
func TestOtherKeyIsDeleted(t *testing.T) {
	for what, knobs := range map[string]fakelitellm.Knobs{
		"models": {IgnoreModels: true}, "budget": {IgnoreBudget: true}, "period": {IgnorePeriod: true}, "rates": {IgnoreRates: true},
		"routes": {IgnoreRoutes: true}, "expiry": {IgnoreExpiry: true},
	} {
		wantUndone(t, what, bounded(), knobs)
	}
	wantUndone(t, "default team", plain(), fakelitellm.Knobs{DefaultTeam: team})
	wantUndone(t, "default user", plain(), fakelitellm.Knobs{DefaultUser: user})
}

func wantUndone(t *testing.T, what string, role provider.Values, knobs fakelitellm.Knobs) {
	t.Helper()
	for _, undoable := range []bool{true, false} {
		for _, lost := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w, c := newWorld(t, role)
				w.SetKnobs(knobs)
				if lost {
					w.Inject(fake.DropAfter(fakelitellm.OpCreateKey, 1))
				}
				want, left := provider.Unavailable, 0
				if !undoable {
					w.Inject(fake.Answer(fakelitellm.OpDeleteKey, http.StatusForbidden, 0))
					want, left = provider.Ambiguous, 1
				}
				_, err := mint(t, w, c, "vault-one")
				wantKind(t, w, what, err, want)
				if n := len(w.LiveKeys()); n != left {
					t.Errorf("%s: got %d keys, want %d", what, n, left)
				}
			})
		}
	}
}

// A bound that the proxy sets where a role sets none is no reason to refuse a key.
func TestBoundsOfTheProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, role := range []provider.Values{plain(), bounded()} {
			w, c := newWorld(t, role)
			w.SetKnobs(fakelitellm.Knobs{DefaultBudget: 5})
			mustMint(t, w, c)
			want := 5.0
			if role.Float("budget") != 0 {
				want = 12.5
			}
			if got := w.LiveKeys()[0].MaxBudget; got == nil || *got != want {
				t.Errorf("got a budget of %v, want %v", got, want)
			}
		}
	})
}

// An answer that got lost is asked for. One key, and it is handed out.
func TestLostAnswerLosesNoKey(t *testing.T) {
	faults := map[string]fake.Fault{
		"drop": {Drop: true, AfterEffect: true},
		"500":  {Status: http.StatusInternalServerError, AfterEffect: true},
		"hang": {Hang: fake.HangAfter},
		// A gateway has sent the request twice, and LiteLLM has refused the second one.
		"twice": {Status: http.StatusBadRequest, AfterEffect: true, Body: `{"error":{"message":"Key with alias 'vault-one' already exists."}}`},
		"404":   {Status: http.StatusNotFound, AfterEffect: true},
	}
	for _, how := range fake.Corruptions() {
		faults[string(how)] = fake.Fault{Corrupt: how}
	}
	for how, f := range faults {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t, bounded())
			f.Op, f.Times = fakelitellm.OpCreateKey, 1
			w.Inject(f)
			key, err := mint(t, w, c, "vault-one")
			wantKind(t, w, how, err, "")
			live := w.LiveKeys()
			if len(live) != 1 || live[0].Hash != key.ID || !w.Alive(key.Secret.Reveal()) || !live[0].ExpiresAt.Equal(key.ExpiresAt) {
				t.Errorf("%s: got key %s that expires at %s, and %+v", how, key.ID, key.ExpiresAt, live)
			}
			if n := w.Server.Count(fakelitellm.OpCreateKey); n != 1 {
				t.Errorf("%s: sent %d times, want once", how, n)
			}
		})
	}
}

// What cannot be asked for stays unknown: the engine looks for its name.
func TestLostAnswerThatCannotBeAskedFor(t *testing.T) {
	for what, f := range map[string]fake.Fault{
		"down":     {Status: http.StatusInternalServerError},
		"404":      {Status: http.StatusNotFound},
		"no route": {Status: http.StatusNotFound, Body: "<html>no route</html>", ContentType: new("text/html")},
		"hang":     {Hang: fake.HangBefore},
		"nonsense": {Corrupt: fake.EmptyObject},
	} {
		for _, create := range []fake.Fault{
			{Drop: true, AfterEffect: true},
			{Drop: true},
			{Status: http.StatusBadRequest, AfterEffect: true},
			{Status: http.StatusNotFound, AfterEffect: true}, // an ingress has sent it twice
		} {
			synctest.Test(t, func(t *testing.T) {
				w, c := newWorld(t, bounded())
				f.Op, create.Op = fakelitellm.OpReadKey, fakelitellm.OpCreateKey
				w.Inject(f)
				w.Inject(create)
				start := time.Now()
				_, err := mint(t, w, c, "vault-one")
				wantKind(t, w, what, err, provider.Ambiguous)
				if took := time.Since(start); took > 15*time.Second {
					t.Errorf("%s: took %s", what, took)
				}
			})
		}
	}
}

// What was refused is not there, and may be refused for good.
func TestRefusedKeyIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t, plain())
		mustMint(t, w, c)
		_, err := mint(t, w, c, "vault-one")
		wantKind(t, w, "alias", err, provider.Invalid)
		w.SetKnobs(fakelitellm.Knobs{UnknownTeamRefused: true})
		w.role["team_id"] = "team-gone"
		_, err = mint(t, w, c, "vault-two")
		wantKind(t, w, "team", err, provider.Invalid)
		w.Inject(fake.Answer(fakelitellm.OpCreateKey, http.StatusNotFound, 0))
		_, err = mint(t, w, c, "vault-three")
		wantKind(t, w, "no route", err, provider.NotFound)
		if n := len(w.LiveKeys()); n != 1 {
			t.Errorf("got %d keys, want 1", n)
		}
	})
}
