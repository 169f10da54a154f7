package anthropic_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
)

func (w *pool) client(t *testing.T) provider.Client {
	t.Helper()
	return connect(t, anthropic.NewPool(), w.settings, w.RoundTripper())
}

// mint asks for a key of the pool.
func (w *pool) mint(t *testing.T, key provider.PooledKey, name string) (provider.Key, error) {
	t.Helper()
	out, err := w.client(t).Mint(t.Context(), provider.Spec{ID: "01", Name: name, ExpiresAt: time.Now().Add(time.Hour), Role: w.role, Pooled: &key})
	if err != nil {
		for _, secret := range w.Secrets() {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("a secret is in %v", err)
			}
		}
	}
	return out, err
}

func TestPooledKeyIsNamedAndWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		ends := time.Now().Add(24 * time.Hour)
		pooled := w.Pool()
		w.ChangeKey(pooled.ID, func(k *fakeanthropic.Key) { k.ExpiresAt = ends })
		key, err := w.mint(t, pooled, "vault-one")
		if err != nil || key.ID != pooled.ID || key.Secret != pooled.Secret || key.Field != "" || !key.ExpiresAt.Equal(ends) || key.Data["base_url"] != baseURL {
			t.Fatalf("got %+v, error %v", key, err)
		}
		var bodies []string
		for _, r := range w.Requests() {
			bodies = append(bodies, string(r.Op)+r.Body)
		}
		if got := strings.Join(bodies, " "); got != `get_key activate_key{"status":"active","name":"vault-one"} list_models` {
			t.Errorf("got requests %s", got)
		}
	})
}

// A key is handed out, or it is inactive again; or the engine is told to look.
func TestPooledKeyBothOrNothing(t *testing.T) {
	for what, c := range map[string]struct {
		knobs fakeanthropic.Knobs
		fault fake.Fault
		kind  provider.Kind
	}{
		"name":             {knobs: fakeanthropic.Knobs{IgnoreName: true}, kind: provider.Unavailable},
		"status":           {knobs: fakeanthropic.Knobs{IgnoreStatus: true}, kind: provider.Unavailable},
		"never known":      {knobs: fakeanthropic.Knobs{ActiveDelay: time.Hour}, kind: provider.Invalid},
		"data plane down":  {fault: fake.Fault{Op: fakeanthropic.OpListModels, Status: http.StatusBadGateway}, kind: provider.Unavailable},
		"data plane hangs": {fault: fake.Fault{Op: fakeanthropic.OpListModels, Hang: fake.HangBefore}, kind: provider.Unavailable},
		"forbidden":        {fault: fake.Fault{Op: fakeanthropic.OpListModels, Status: http.StatusForbidden}, kind: provider.Invalid},
		"nonsense":         {fault: fake.Fault{Op: fakeanthropic.OpListModels, Corrupt: fake.HTMLBody}, kind: provider.Unavailable},
	} {
		for _, undoable := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				w := newPool()
				pooled := w.Pool()
				w.SetKnobs(c.knobs)
				if c.fault.Op != fake.OpAny {
					w.Inject(c.fault)
				}
				kind := c.kind
				if !undoable {
					w.Inject(fake.Answer(fakeanthropic.OpDeactivateKey, http.StatusForbidden, 0))
					kind = provider.Ambiguous
				}
				start := time.Now()
				_, err := w.mint(t, pooled, "vault-one")
				if !provider.IsKind(err, kind) || time.Since(start) > 30*time.Second {
					t.Errorf("%s, %t: got %v after %s, want kind %q", what, undoable, err, time.Since(start), kind)
				}
				if n := len(w.LiveKeys()); undoable && n != 0 {
					t.Errorf("%s: %d keys are active", what, n)
				}
			})
		}
	}
}

func TestPooledKeyElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		key := w.PlantKey(w.AddWorkspace(""), "other")
		w.ChangeKey(key.ID, func(k *fakeanthropic.Key) { k.Status = "inactive" })
		_, err := w.mint(t, provider.PooledKey{ID: key.ID, Secret: provider.Secret(key.Secret)}, "vault-one")
		if !provider.IsKind(err, provider.Unavailable) || w.Alive(key.Secret) {
			t.Errorf("got %v, and the key is alive: %t", err, w.Alive(key.Secret))
		}
	})
}

// A rate limit says that the key is known.
func TestPooledKeyIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		w.Inject(fake.Limited(fakeanthropic.OpListModels, time.Minute, 1))
		start := time.Now()
		if _, err := w.mint(t, w.Pool(), "vault-one"); err != nil || time.Since(start) != 0 {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

func TestPooledKeyOfACallerWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		w.SetKnobs(fakeanthropic.Knobs{ActiveDelay: 5 * time.Second})
		pooled := w.Pool()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := w.client(t).Mint(ctx, provider.Spec{Name: "vault-one", Role: w.role, Pooled: &pooled})
		if !provider.IsKind(err, provider.Ambiguous) || len(w.LiveKeys()) != 1 {
			t.Errorf("got %v and %d keys, want one to look for", err, len(w.LiveKeys()))
		}
	})
}

func TestKeysThatNobodyCanUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		c := w.client(t)
		for _, status := range []string{"inactive", "archived", "expired"} {
			pooled := w.Pool()
			w.ChangeKey(pooled.ID, func(k *fakeanthropic.Key) {
				if k.Status = status; status == "expired" {
					k.Status, k.ExpiresAt = "active", time.Now()
				}
			})
			if err := c.Delete(t.Context(), provider.Ref{ID: pooled.ID, Scope: w.Workspace()}); err != nil {
				t.Errorf("%s: delete: got %v", status, err)
			}
			_, err := c.(provider.PoolKeeper).TakeIn(t.Context(), provider.Ref{ID: pooled.ID}, pooled.Secret)
			if status == "inactive" {
				wantField(t, err, "")
				continue
			}
			wantField(t, err, "key_id")
			if _, err := w.mint(t, pooled, "vault-one"); !provider.IsKind(err, provider.Invalid) || !strings.Contains(err.Error(), status) {
				t.Errorf("%s: mint: got %v, want a refusal that says why", status, err)
			}
		}
		key := w.PlantKey("", "organization")
		_, err := c.(provider.PoolKeeper).TakeIn(t.Context(), provider.Ref{ID: key.ID}, provider.Secret(key.Secret))
		wantField(t, err, "key_id")
	})
}

func TestPooledKeyIsNotGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		pooled := w.Pool()
		if _, err := w.mint(t, pooled, "vault-one"); err != nil {
			t.Fatal(err)
		}
		ref := provider.Ref{ID: pooled.ID, Scope: w.Workspace()}
		if err := newPool().client(t).Delete(t.Context(), ref); !provider.IsKind(err, provider.Unproven) {
			t.Errorf("another organization: got %v, want Unproven", err)
		}
		w.Inject(fake.Answer(fakeanthropic.OpDeactivateKey, http.StatusNotFound, 0))
		for _, op := range []fake.Op{"", fakeanthropic.OpGetKey} {
			if op != "" {
				w.Inject(fake.Answer(op, http.StatusForbidden, 0))
			}
			if err := w.client(t).Delete(t.Context(), ref); provider.IsKind(err, provider.NotFound) || err == nil {
				t.Errorf("a blip: got %v", err)
			}
		}
		w.ClearFaults()
		w.SetKnobs(fakeanthropic.Knobs{IgnoreStatus: true})
		if err := w.client(t).Delete(t.Context(), ref); !provider.IsKind(err, provider.Unavailable) {
			t.Errorf("still active: got %v, want Unavailable", err)
		}
	})
}

func TestFindBelievesNoWrongList(t *testing.T) {
	for what, knobs := range map[string]fakeanthropic.Knobs{
		"filters": {IgnoreFilters: true}, "cursor": {IgnoreCursor: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newPool()
			for range 150 {
				w.Plant("k")
			}
			w.Pool()
			w.SetKnobs(knobs)
			var last error
			for _, err := range w.client(t).Find(t.Context(), w.Workspace()) {
				last = err
			}
			if !provider.IsKind(last, provider.Unavailable) {
				t.Errorf("%s: got %v, want Unavailable", what, last)
			}
		})
	}
}

func TestFindYieldsActiveKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		w.SetKnobs(fakeanthropic.Knobs{PageSize: 7})
		for range 20 {
			w.Pool()
			w.Plant("active")
		}
		n := 0
		for key, err := range w.client(t).Find(t.Context(), w.Workspace()) {
			if n++; err != nil || key.Name != "active" {
				t.Errorf("got %+v, error %v", key, err)
			}
		}
		if n != 20 {
			t.Errorf("got %d keys, want 20", n)
		}
	})
}

func TestQuarantine(t *testing.T) {
	w := newPool()
	for value, want := range map[any]time.Duration{nil: 10 * time.Minute, 0: 0, 60: time.Minute, 86400.0: 24 * time.Hour} {
		if w.settings.Fields["quarantine"] = value; value == nil {
			delete(w.settings.Fields, "quarantine")
		}
		if got := w.client(t).(provider.PoolKeeper).Rest(); got != want {
			t.Errorf("%v: got %s, want %s", value, got, want)
		}
	}
}

func TestArchivedWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		w.ArchiveWorkspace(w.Workspace())
		wantField(t, w.client(t).(provider.RoleChecker).CheckRoleAt(t.Context(), w.role), "workspace_id")
	})
}

// A rate limit of a pooled key holds up nobody else.
func TestRateLimitOfAKeyPausesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		c, key := w.client(t), w.Plant("k")
		w.Inject(fake.Limited(fakeanthropic.OpListModels, time.Minute, 1))
		start := time.Now()
		if err := c.(provider.KeyVerifier).VerifyKey(t.Context(), key.Secret); !provider.IsKind(err, provider.RateLimited) {
			t.Errorf("got %v, want RateLimited", err)
		}
		if err := c.(provider.AdminVerifier).VerifyAdmin(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("got %v after %s", err, time.Since(start))
		}
	})
}

// Somebody switches the key on again at that moment.
func TestKeyIsTakenInOnlyIfItStaysInactive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		key := w.Plant("k")
		w.Inject(fake.Fault{Op: fakeanthropic.OpDeactivateKey, After: func() {
			w.ChangeKey(key.ID, func(k *fakeanthropic.Key) { k.Status = "active" })
		}})
		_, err := w.client(t).(provider.PoolKeeper).TakeIn(t.Context(), provider.Ref{ID: key.ID}, key.Secret)
		if !provider.IsKind(err, provider.Unavailable) {
			t.Errorf("got %v, want Unavailable", err)
		}
	})
}

// A key that is active is somebody's, and stays as it is.
func TestPooledKeyInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		key := w.PlantKey(w.Workspace(), "vault-abcd0123-bot")
		_, err := w.mint(t, provider.PooledKey{ID: key.ID, Secret: provider.Secret(key.Secret)}, "vault-one")
		if !provider.IsKind(err, provider.Invalid) || !w.Alive(key.Secret) || w.LiveKeys()[0].Name != key.Name {
			t.Errorf("got %v, and the keys %+v", err, w.LiveKeys())
		}
	})
}

// A key that somebody has archived stays archived, and is nobody's any more.
func TestArchivedKeyStaysArchived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPool()
		w.SetKnobs(fakeanthropic.Knobs{ArchivedIsReversible: true})
		pooled := w.Pool()
		key, err := w.mint(t, pooled, "vault-one")
		if err != nil {
			t.Fatal(err)
		}
		w.ChangeKey(pooled.ID, func(k *fakeanthropic.Key) { k.Status = "archived" })
		if err := w.client(t).Delete(t.Context(), provider.Ref{ID: key.ID, Scope: w.Workspace()}); err != nil {
			t.Errorf("got %v of a key that is archived", err)
		}
		if _, err := w.mint(t, pooled, "vault-two"); !provider.IsKind(err, provider.Invalid) {
			t.Errorf("got %v of a key that is archived, want a refusal", err)
		}
		for _, k := range w.Server.Keys() {
			if k.ID == pooled.ID && k.Status != "archived" {
				t.Errorf("the key is %s", k.Status)
			}
		}
	})
}
