package openrouter_test

import (
	"context"
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
	fakeopenrouter "vault-plugin-secrets-llm/backend/provider/fake/openrouter"
)

// newWorld returns an account and a client of it.
func newWorld(t *testing.T) (*world, provider.Client) {
	t.Helper()
	w := &world{fakeopenrouter.New(), bounded()}
	return w, connect(t, w.Settings(), w.RoundTripper())
}

// mint asks for a key that lives for an hour.
func mint(t *testing.T, c provider.Client, role provider.Values, name string) (provider.Key, error) {
	t.Helper()
	return c.Mint(t.Context(), provider.Spec{Name: name, ExpiresAt: time.Now().Add(time.Hour), Role: role})
}

// bodies are the bodies of the requests of an operation.
func (w *world) bodies(op fake.Op) (bodies []string) {
	for _, r := range w.Requests() {
		if r.Op == op {
			bodies = append(bodies, r.Body)
		}
	}
	return bodies
}

func TestMintAsksForWhatTheRoleSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for period, reset := range map[string]string{"day": "daily", "week": "weekly", "month": "monthly", "": ""} {
			w, c := newWorld(t)
			role := bounded()
			role["budget_period"] = period
			time.Sleep(300 * time.Millisecond)
			zone := time.FixedZone("east", 7200)
			at := time.Now().Add(time.Hour).In(zone)
			if _, err := c.Mint(t.Context(), provider.Spec{Name: "vault-one", ExpiresAt: at, Role: role}); err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if err := json.Unmarshal([]byte(w.bodies(fakeopenrouter.OpCreateKey)[0]), &got); err != nil {
				t.Fatal(err)
			}
			want := map[string]any{
				"name": "vault-one", "workspace_id": workspace, "limit": 12.5, "include_byok_in_limit": true,
				"expires_at": at.UTC().Truncate(time.Second).Add(time.Second).Format(time.RFC3339),
			}
			if reset != "" {
				want["limit_reset"] = reset
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("got body %v, want %v", got, want)
			}
		}
		w, c := newWorld(t)
		if _, err := mint(t, c, plain(), "vault-plain"); err != nil {
			t.Fatal(err)
		}
		if body := w.bodies(fakeopenrouter.OpCreateKey)[0]; strings.Contains(body, "limit") {
			t.Errorf("a role without a budget asks for %s", body)
		}
		if n := len(w.Requests()); n != 1 {
			t.Errorf("a plain key took %d requests, want 1", n)
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		role := bounded()
		role["budget"] = 0.5
		key, err := mint(t, c, role, "vault-one")
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, m := range []string{"openai/gpt-5", model, model, model} {
			got = append(got, w.Complete(key.Secret.Reveal(), m))
		}
		if want := []int{403, 200, 200, 402}; !slices.Equal(got, want) {
			t.Errorf("got statuses %v, want %v", got, want)
		}
	})
}

func TestGuardrailIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		w.SetKnobs(fakeopenrouter.Knobs{PageSize: 2})
		for i := range 5 {
			role := bounded()
			models := role.Strings("models")
			if i%2 == 1 {
				slices.Reverse(models)
			}
			if i == 4 {
				models = []string{model}
			}
			role["models"] = models
			if _, err := mint(t, c, role, fmt.Sprintf("vault-%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.Guardrails()); n != 2 {
			t.Errorf("got %d guardrails, want one for each list of models", n)
		}
	})
}

// Somebody has opened the guardrail: no key, and a word about it.
func TestGuardrailWasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		if _, err := mint(t, c, bounded(), "vault-one"); err != nil {
			t.Fatal(err)
		}
		for _, models := range [][]string{nil, {model, "openai/gpt-5"}, {model}} {
			w.SetModels(w.Guardrails()[0].ID, models)
			_, err := mint(t, c, bounded(), "vault-two")
			if !provider.IsKind(err, provider.Invalid) || !strings.Contains(err.Error(), "changed") {
				t.Errorf("%v: got %v, want a refusal", models, err)
			}
		}
		if n := len(w.LiveKeys()); n != 1 {
			t.Errorf("got %d keys, want 1", n)
		}
	})
}

// A key is under its guardrail, or there is none; or the engine is told to look.
func TestBothOrNothing(t *testing.T) {
	faults := map[string]fake.Fault{
		"500":       {Status: http.StatusInternalServerError},
		"403":       {Status: http.StatusForbidden},
		"404":       {Status: http.StatusNotFound},
		"400":       {Status: http.StatusBadRequest},
		"drop":      {Drop: true},
		"refuse":    {Refuse: true},
		"hang":      {Hang: fake.HangBefore},
		"500 after": {Status: http.StatusInternalServerError, AfterEffect: true},
	}
	for _, how := range fake.Corruptions() {
		faults[string(how)] = fake.Fault{Corrupt: how}
	}
	ops := []fake.Op{fakeopenrouter.OpListGuardrails, fakeopenrouter.OpCreateGuardrail, fakeopenrouter.OpAssignKeys}
	for _, op := range ops {
		for how, f := range faults {
			for _, undoable := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					w, c := newWorld(t)
					f.Op = op
					w.Inject(f)
					if !undoable {
						w.Inject(fake.Answer(fakeopenrouter.OpDeleteKey, http.StatusForbidden, 0))
					}
					key, err := mint(t, c, bounded(), "vault-one")
					live := w.LiveKeys()
					switch {
					case err == nil:
						if len(live) != 1 || live[0].GuardrailID == "" || !w.Alive(key.Secret.Reveal()) {
							t.Errorf("%s, %s: got a key, and %+v", op, how, live)
						}
					case undoable, op != fakeopenrouter.OpAssignKeys:
						if kind := provider.KindOf(err); kind == provider.Ambiguous || kind == provider.NotFound || kind == "" || len(live) != 0 {
							t.Errorf("%s, %s: got error %v and %d keys, want none", op, how, err, len(live))
						}
					default:
						if !provider.IsKind(err, provider.Ambiguous) || len(live) != 1 {
							t.Errorf("%s, %s: got error %v and %d keys, want one to look for", op, how, err, len(live))
						}
					}
					for _, secret := range w.Secrets() {
						if err != nil && strings.Contains(err.Error(), secret) {
							t.Errorf("%s, %s: a secret is in %v", op, how, err)
						}
					}
				})
			}
		}
	}
}

// What OpenRouter made is not what was asked for.
func TestUnboundedKeyIsDeleted(t *testing.T) {
	for what, knobs := range map[string]fakeopenrouter.Knobs{
		"limit": {IgnoreLimit: true}, "reset": {IgnoreReset: true}, "assignment": {IgnoreAssignment: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t)
			w.SetKnobs(knobs)
			_, err := mint(t, c, bounded(), "vault-one")
			if !provider.IsKind(err, provider.Unavailable) || len(w.LiveKeys()) != 0 {
				t.Errorf("%s: got %v and %d keys, want none", what, err, len(w.LiveKeys()))
			}
		})
	}
}

// A key so young that OpenRouter does not find it cannot be bounded, nor be proven
// to be gone.
func TestYoungKeyIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		w.SetKnobs(fakeopenrouter.Knobs{YoungNotFoundFor: time.Minute})
		if _, err := mint(t, c, bounded(), "vault-one"); !provider.IsKind(err, provider.Ambiguous) {
			t.Errorf("got %v, want Ambiguous", err)
		}
	})
}

func TestAssignmentIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		w.Inject(fake.Fault{Op: fakeopenrouter.OpAssignKeys, Before: cancel})
		_, err := c.Mint(ctx, provider.Spec{Name: "vault-one", ExpiresAt: time.Now().Add(time.Hour), Role: bounded()})
		if !provider.IsKind(err, provider.Ambiguous) {
			t.Errorf("got %v, want Ambiguous", err)
		}
	})
}

// Keys that are deleted while a client reads move the rest to the front.
func TestFindMissesNothing(t *testing.T) {
	for _, knobs := range []fakeopenrouter.Knobs{{}, {PageSize: 10}, {NewestFirst: true}, {PageSize: 7, NewestFirst: true}} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t)
			w.SetKnobs(knobs)
			var planted []string
			for i := range 250 {
				planted = append(planted, w.PlantKey(workspace, fmt.Sprintf("k-%d", i)).Hash)
			}
			keep := planted[120]
			w.DisableKey(keep)
			got, n := map[string]int{}, 0
			for key, err := range c.Find(t.Context(), workspace) {
				if err != nil {
					t.Fatal(err)
				}
				got[key.ID]++
				if n++; n%9 == 0 {
					for range 4 { // of what was seen, and of what was not
						for _, id := range planted {
							if id != keep && got[id] > 0 && w.DeleteKey(id) {
								break
							}
						}
					}
				}
				if n%20 == 0 {
					w.PlantKey(workspace, "new")
				}
			}
			for _, key := range w.LiveKeys() {
				if got[key.Hash] == 0 && key.Name != "new" {
					t.Errorf("%+v: key %s is missed", knobs, key.Name)
				}
			}
			for id, times := range got {
				if times != 1 {
					t.Errorf("%+v: key %s came %d times", knobs, id, times)
				}
			}
		})
	}
}

func TestFindBelievesNoWrongList(t *testing.T) {
	for what, knobs := range map[string]fakeopenrouter.Knobs{
		"offset": {IgnoreOffset: true}, "workspace": {IgnoreWorkspace: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t)
			other := w.AddWorkspace("")
			for i := range 150 {
				w.PlantKey(workspace, fmt.Sprintf("k-%d", i))
			}
			w.PlantKey(other, "other")
			w.SetKnobs(knobs)
			var last error
			for _, err := range c.Find(t.Context(), workspace) {
				last = err
			}
			if !provider.IsKind(last, provider.Unavailable) {
				t.Errorf("%s: got %v, want Unavailable", what, last)
			}
		})
	}
}

func TestKeyIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		key, err := mint(t, c, plain(), "vault-one")
		if err != nil {
			t.Fatal(err)
		}
		ref := provider.Ref{ID: key.ID, Scope: workspace}

		other := &world{fakeopenrouter.NewAt(time.Now, fakeopenrouter.NewID()), plain()}
		stranger := connect(t, other.Settings(), other.RoundTripper())
		if err := stranger.Delete(t.Context(), ref); !provider.IsKind(err, provider.Unproven) {
			t.Errorf("another account: got %v, want Unproven", err)
		}
		w.DeleteWorkspace(workspace)
		if err := c.Delete(t.Context(), ref); !provider.IsKind(err, provider.Unproven) {
			t.Errorf("a deleted workspace: got %v, want Unproven", err)
		}
	})
}

func TestManagementKeyIsNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		err := c.(provider.KeyVerifier).VerifyKey(t.Context(), provider.Secret(w.AdminKey()))
		if !provider.IsKind(err, provider.Unauthorized) {
			t.Errorf("got %v, want Unauthorized", err)
		}
		key, err := mint(t, c, plain(), "vault-one")
		if err != nil {
			t.Fatal(err)
		}
		settings := w.Settings()
		settings.AdminKey = key.Secret
		weak := connect(t, settings, w.RoundTripper())
		if err := weak.(provider.AdminVerifier).VerifyAdmin(t.Context()); !provider.IsKind(err, provider.Forbidden) {
			t.Errorf("a key that manages nothing: got %v, want Forbidden", err)
		}
	})
}

// Another name of a workspace finds it, too, but its keys are not listed by that.
func TestWorkspaceIsKnownByItsIDAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newWorld(t)
		var last error
		for _, err := range c.Find(t.Context(), "w-"+workspace) {
			last = err
		}
		if !provider.IsKind(last, provider.Unavailable) {
			t.Errorf("got %v, want Unavailable", last)
		}
	})
}

// A rate limit of a key that was minted holds up nobody else.
func TestRateLimitOfAKeyPausesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c := newWorld(t)
		key, err := mint(t, c, plain(), "vault-one")
		if err != nil {
			t.Fatal(err)
		}
		w.Inject(fake.Limited(fakeopenrouter.OpReadOwnKey, time.Minute, 1))
		start := time.Now()
		if err := c.(provider.KeyVerifier).VerifyKey(t.Context(), key.Secret); !provider.IsKind(err, provider.RateLimited) {
			t.Errorf("got %v, want RateLimited", err)
		}
		if _, err := mint(t, c, plain(), "vault-two"); err != nil {
			t.Error(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %s", waited)
		}
	})
}

// A key that would not end by itself, or of which a budget leaves something out, is not
// handed out.
func TestKeyWithoutItsBounds(t *testing.T) {
	for what, knobs := range map[string]fakeopenrouter.Knobs{
		"expiry": {IgnoreExpiry: true}, "limit": {IgnoreLimit: true}, "reset": {IgnoreReset: true}, "models": {CanonicalModels: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, c := newWorld(t)
			w.SetKnobs(knobs)
			if _, err := mint(t, c, bounded(), "vault-one"); err == nil || len(w.LiveKeys()) > 0 {
				t.Errorf("%s: got %v, and %d keys", what, err, len(w.LiveKeys()))
			}
		})
	}
}

// dated adds the time at OpenRouter to its answers, as servers do.
type dated struct {
	http.RoundTripper
	clock func() time.Time
}

func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Header.Set("Date", d.clock().UTC().Format(http.TimeFormat))
	}
	return resp, err
}

// OpenRouter's clock is not ours, which shows with its first answer: the key of that is
// good all the same, and those that follow live by the other clock for as long as asked.
func TestExpiryByTheOtherClock(t *testing.T) {
	for _, off := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			clock := func() time.Time { return time.Now().Add(off) }
			w := &world{fakeopenrouter.NewAt(clock, workspace), plain()}
			c := connect(t, w.Settings(), dated{w.RoundTripper(), clock})
			for n, want := range []time.Duration{time.Hour - off, time.Hour} {
				key, err := mint(t, c, plain(), fmt.Sprintf("vault-%d", n))
				if err != nil {
					t.Fatalf("%s, key %d: %v", off, n, err)
				}
				if got := key.ExpiresAt.Sub(clock()); (got - want).Abs() > 2*time.Second {
					t.Errorf("%s, key %d: lives for %s, want %s", off, n, got, want)
				}
			}
		})
	}
}
