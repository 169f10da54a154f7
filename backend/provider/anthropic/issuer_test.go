package anthropic_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

func (w *federation) rotator(t *testing.T) provider.AdminRotator {
	t.Helper()
	return w.client(t).(provider.AdminRotator)
}

// issuerKeys are the keys of the issuer as texts.
func (w *federation) issuerKeys() (texts []string) {
	for _, raw := range w.IssuerKeys(w.issuer) {
		texts = append(texts, string(raw))
	}
	return texts
}

func TestRotationKeepsWhatOthersRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		foreign := strings.Replace(w.issuerKeys()[0], `"kid":"`, `"x5t":"whatever","kid":"theirs-`, 1)
		if err := w.UpdateIssuer(w.issuer, `{"jwks":{"type":"inline","keys":[`+foreign+`,`+w.issuerKeys()[0]+`]}}`); err != nil {
			t.Fatal(err)
		}
		before := w.issuerKeys()
		own := workload(w.settings.AdminKey).Kid
		w.rotate(t, "vault-next")
		if now := w.issuerKeys(); len(now) != 3 || !slices.Equal(now[:2], before) {
			t.Errorf("got keys %v, want those before and another", now)
		}
		if err := w.rotator(t).DeleteAdmin(t.Context(), provider.Ref{ID: own, Scope: w.issuer}); err != nil {
			t.Fatal(err)
		}
		if now := w.issuerKeys(); len(now) != 2 || now[0] != foreign || publicOf([]byte(now[1])).Kid != "vault-next" {
			t.Errorf("got keys %v, want the foreign one and the new one", now)
		}
	})
}

// The private keys stay where they are made.
func TestRotationSendsPublicKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		old := privates(w.settings.AdminKey)
		w.rotate(t, "vault-next")
		all := append(old, privates(w.settings.AdminKey)...)
		if len(all) != 5 { // two, and three with the previous one
			t.Fatalf("got %d private keys", len(all))
		}
		for _, r := range w.Requests() {
			for _, d := range all {
				if strings.Contains(r.Body, d) {
					t.Errorf("a private key is in %s", r.Body)
				}
			}
		}
	})
}

func TestRotationIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		w.SetKnobs(fakeanthropic.Knobs{LoseIssuerUpdate: true})
		_, err := w.rotator(t).MintAdmin(t.Context(), "vault-next", time.Time{})
		if !provider.IsKind(err, provider.Ambiguous) {
			t.Errorf("got %v of an update that was lost, want Ambiguous", err)
		}
		w.SetKnobs(fakeanthropic.Knobs{})
		own := workload(w.settings.AdminKey).Kid
		w.rotate(t, "vault-next")
		w.SetKnobs(fakeanthropic.Knobs{LoseIssuerUpdate: true})
		err = w.rotator(t).DeleteAdmin(t.Context(), provider.Ref{ID: own})
		if !provider.IsKind(err, provider.Unavailable) {
			t.Errorf("got %v of a removal that was lost, want Unavailable", err)
		}
	})
}

// What was answered and cannot be read again is unknown.
func TestRotationIsNotConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		c := w.rotator(t)
		w.Inject(fake.Fault{Op: fakeanthropic.OpGetIssuer, Skip: 1, Times: 4, Status: 503})
		if _, err := c.MintAdmin(t.Context(), "vault-next", time.Time{}); !provider.IsKind(err, provider.Ambiguous) {
			t.Errorf("got %v, want Ambiguous", err)
		}
		w.ClearFaults()
		w.Inject(fake.Fault{Op: fakeanthropic.OpGetIssuer, Skip: 1, Times: 4, Status: 404})
		if err := c.DeleteAdmin(t.Context(), provider.Ref{ID: "vault-next"}); !provider.IsKind(err, provider.Unavailable) {
			t.Errorf("got %v, want Unavailable", err)
		}
		w.ClearFaults()
		if err := c.DeleteAdmin(t.Context(), provider.Ref{ID: "vault-next"}); !provider.IsKind(err, provider.NotFound) {
			t.Errorf("got %v of a key that was removed, want NotFound", err)
		}
	})
}

func TestNoAdminAccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, missing := range []string{"admin_rule_id", "issuer_id"} {
			w := newFederation(t)
			delete(w.settings.Fields, missing)
			c := w.rotator(t)
			_, minted := c.MintAdmin(t.Context(), "vault-next", time.Time{})
			_, scoped := c.AdminScope(t.Context())
			var found error
			for _, err := range c.FindAdmins(t.Context()) {
				found = err
			}
			for what, err := range map[string]error{
				"mint": minted, "scope": scoped, "find": found,
				"try": c.TryAdmin(t.Context(), "x"), "delete": c.DeleteAdmin(t.Context(), provider.Ref{ID: "x"}),
			} {
				if !provider.IsKind(err, provider.Invalid) || !strings.Contains(err.Error(), missing) {
					t.Errorf("%s: got %v, want it to name %s", what, err, missing)
				}
			}
			if err := c.VerifyAdmin(t.Context()); err != nil {
				t.Errorf("verify: got %v", err)
			}
			ids, err := c.IdentifyAdmin(t.Context(), w.settings.AdminKey)
			if err != nil || len(ids) != 1 || ids[0] != workload(w.settings.AdminKey).Kid {
				t.Errorf("identify: got %v, error %v", ids, err)
			}
			if _, err := w.mint(t, w.client(t), "01", time.Hour); err != nil {
				t.Errorf("mint: got %v", err)
			}
		}
		w := newFederation(t)
		delete(w.settings.Fields, "admin_rule_id")
		_, err := w.client(t).(provider.RoleCloser).CloseRole(t.Context(), providertest.Holder(), w.role)
		if !provider.IsKind(err, provider.Invalid) || !strings.Contains(err.Error(), "admin_rule_id") {
			t.Errorf("close: got %v", err)
		}
		if err := w.client(t).(provider.RoleChecker).CheckRoleAt(t.Context(), w.role); err != nil || len(w.Requests()) != 0 {
			t.Errorf("check: got %v after %d requests", err, len(w.Requests()))
		}
	})
}

func TestVerifyFindsWhatDoesNotFit(t *testing.T) {
	for what, c := range map[string]struct {
		kind  provider.Kind
		spoil func(*testing.T, *federation)
	}{
		"issuer_url": {provider.Invalid, func(_ *testing.T, w *federation) {
			// The admin rule still works: its issuer is below the connection's.
			other, _ := w.CreateIssuer(`{"name":"other","issuer_url":"https://other.test","jwks":{"type":"inline","keys":[` + w.issuerKeys()[0] + `]}}`)
			w.settings.Fields["issuer_id"] = other
		}},
		"key": {provider.Unauthorized, func(_ *testing.T, w *federation) {
			w.PlantAdmin("other", false)
			keys := w.IssuerKeys(w.issuer)
			raw, _ := json.Marshal(keys[1:])
			_ = w.UpdateIssuer(w.issuer, `{"jwks":{"type":"inline","keys":`+string(raw)+`}}`)
		}},
		"archived": {provider.Invalid, func(_ *testing.T, w *federation) {
			_ = w.ArchiveRule(w.rule)
			_ = w.ArchiveIssuer(w.issuer)
		}},
		"admin rule": {provider.Unauthorized, func(_ *testing.T, w *federation) { _ = w.ArchiveRule(w.adminRule) }},
		"admin key":  {provider.Unauthorized, func(_ *testing.T, w *federation) { w.settings.AdminKey = "nonsense" }},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newFederation(t)
			c.spoil(t, w)
			err := w.rotator(t).VerifyAdmin(t.Context())
			if !provider.IsKind(err, c.kind) {
				t.Errorf("%s: got %v, want kind %q", what, err, c.kind)
			}
			w.wantNoSecret(t, err)
		})
	}
}
