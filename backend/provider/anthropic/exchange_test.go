package anthropic_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
	"vault-plugin-secrets-llm/backend/provider/anthropic"
	"vault-plugin-secrets-llm/backend/provider/fake"
	fakeanthropic "vault-plugin-secrets-llm/backend/provider/fake/anthropic"
	"vault-plugin-secrets-llm/backend/provider/providertest"
)

// client connects to the federation as its settings say.
func (w *federation) client(t *testing.T) provider.Client {
	t.Helper()
	return connect(t, anthropic.New(), w.settings, w.RoundTripper())
}

// mint asks for a token.
func (w *federation) mint(t *testing.T, c provider.Client, id string, life time.Duration) (provider.Key, error) {
	t.Helper()
	key, err := c.Mint(t.Context(), provider.Spec{
		ID: id, Name: "vault-m7k2-bot-" + id, ExpiresAt: time.Now().Add(life), Role: w.role, Holder: providertest.Holder(),
	})
	w.wantNoSecret(t, err)
	return key, err
}

func (w *federation) wantNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, secret := range w.Secrets() {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("a secret is in %v", err)
		}
	}
}

func TestAssertionNamesTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		key, err := w.mint(t, w.client(t), "01", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if key.ID != "01" || key.Field != "auth_token" {
			t.Errorf("got key %s as %s, want 01 as auth_token", key.ID, key.Field)
		}
		want := map[string]string{"workspace_id": w.Workspace(), "service_account_id": w.account, "base_url": baseURL}
		if fmt.Sprint(key.Data) != fmt.Sprint(want) {
			t.Errorf("got data %v, want %v", key.Data, want)
		}
		holder, claims := providertest.Holder(), w.LiveTokens()[0].Claims
		for name, want := range map[string]string{
			"jti": "01", "sub": "vault-llm:m7k2:team-a/bot:" + holder.EntityID, "aud": "https://api.anthropic.com",
			"vault_mount": holder.Mount, "vault_role": holder.Role, "vault_entity_id": holder.EntityID, "vault_entity_name": holder.EntityName,
		} {
			if claims[name] != any(want) {
				t.Errorf("claim %s: got %v, want %s", name, claims[name], want)
			}
		}
	})
}

// Rules of one role fit no other, and a long name does not make an assertion that is
// refused.
func TestAssertionOfAnotherHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		c := w.client(t)
		for what, holder := range map[string]struct {
			holder provider.Holder
			kind   provider.Kind
		}{
			"no entity":     {provider.Holder{Mount: "m7k2", Role: "team-a/bot"}, ""},
			"long name":     {provider.Holder{Mount: "m7k2", Role: "team-a/bot", EntityName: strings.Repeat("é", 20_000)}, ""},
			"another role":  {provider.Holder{Mount: "m7k2", Role: "team-a/bot2"}, provider.Unauthorized},
			"another mount": {provider.Holder{Mount: "m7k3", Role: "team-a/bot"}, provider.Unauthorized},
			"a trick":       {provider.Holder{Mount: "m7k2:team-a/bot:", Role: "x"}, provider.Unauthorized},
		} {
			_, err := c.Mint(t.Context(), provider.Spec{ID: what, ExpiresAt: time.Now().Add(time.Hour), Role: w.role, Holder: holder.holder})
			if provider.KindOf(err) != holder.kind {
				t.Errorf("%s: got %v, want kind %q", what, err, holder.kind)
			}
		}
	})
}

func TestTokenCoversItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, life := range []time.Duration{time.Second, 59 * time.Second, time.Minute, 15*time.Minute + 1, 3599 * time.Second} {
			for _, latency := range []time.Duration{0, 700 * time.Millisecond, 4 * time.Second} {
				w := newFederation(t)
				w.Inject(fake.Fault{Op: fakeanthropic.OpExchange, Latency: latency, LatencyAfter: latency})
				asked := time.Now().Add(life)
				key, err := w.mint(t, w.client(t), "01", life)
				if err != nil {
					t.Fatal(err)
				}
				late := key.ExpiresAt.Sub(asked)
				if late < 0 || late > 15*time.Second && key.ExpiresAt.Sub(asked.Add(-life)) > 75*time.Second {
					t.Errorf("a token for %s by %s ends %s late", life, latency, late)
				}
				if really := w.LiveTokens()[0].ExpiresAt; key.ExpiresAt.After(really) {
					t.Errorf("the answer promises %s, the token ends at %s", key.ExpiresAt, really)
				}
			}
		}
	})
}

func TestRuleBoundsItsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		key, err := w.mint(t, w.client(t), "01", 10*time.Hour)
		if left := time.Until(key.ExpiresAt); err != nil || left != 62*time.Minute {
			t.Errorf("got a token of %s, error %v, want what the rule allows", left, err)
		}
	})
}

func TestNoRuleNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		delete(w.role, "federation_rule_id")
		_, err := w.mint(t, w.client(t), "01", time.Hour)
		if !provider.IsKind(err, provider.Invalid) || !strings.Contains(err.Error(), "federation_rule_id") || len(w.Requests()) != 0 {
			t.Errorf("got %v after %d requests", err, len(w.Requests()))
		}
	})
}

func TestDenialSaysWhatToCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		if err := w.ArchiveRule(w.rule); err != nil {
			t.Fatal(err)
		}
		_, err := w.mint(t, w.client(t), "01", time.Hour)
		if !provider.IsKind(err, provider.Unauthorized) {
			t.Fatalf("got %v, want Unauthorized", err)
		}
		for _, part := range []string{
			w.rule, w.account, w.Workspace(), "https://vault-llm.invalid/", workload(w.settings.AdminKey).Kid,
			"audience is https://api.anthropic.com", "(request req_", "Invalid authentication credentials",
		} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s is not in %v", part, err)
			}
		}
	})
}

// rotate replaces the signing key, and returns a client of the new one.
func (w *federation) rotate(t *testing.T, name string) provider.Client {
	t.Helper()
	key, err := w.client(t).(provider.AdminRotator).MintAdmin(t.Context(), name, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	w.settings.AdminKey = key.Secret
	return w.client(t)
}

// kids are those that signed for the tokens that live, and how many exchanges there
// were.
func (w *federation) kids() (kids []string, exchanges int) {
	for _, token := range w.LiveTokens() {
		kids = append(kids, token.Kid)
	}
	return kids, w.Server.Count(fakeanthropic.OpExchange)
}

func TestPreviousKeyServesUntilTheNewOneIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		w.SetKnobs(fakeanthropic.Knobs{JWKSCache: 5 * time.Minute})
		time.Sleep(time.Hour)
		first := workload(w.settings.AdminKey).Kid
		c := w.rotate(t, "vault-next")
		for i, want := range []struct {
			id, kid   string
			exchanges int
		}{{"01.2", first, 2}, {"02", "vault-next", 3}} {
			key, err := w.mint(t, c, fmt.Sprintf("0%d", i+1), time.Minute)
			kids, exchanges := w.kids()
			if err != nil || key.ID != want.id || len(kids) != 1 || kids[0] != want.kid || exchanges != want.exchanges {
				t.Errorf("got key %s of %v by %d exchanges, error %v, want %+v", key.ID, kids, exchanges, err, want)
			}
			if claims := w.LiveTokens()[0].Claims; claims["jti"] != any(key.ID) {
				t.Errorf("got jti %v, want the key's id %s", claims["jti"], key.ID)
			}
			time.Sleep(10 * time.Minute)
		}
	})
}

// The second attempt may make a token whose answer is lost.
func TestPreviousKeyMayBeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		w.SetKnobs(fakeanthropic.Knobs{JWKSCache: time.Hour})
		time.Sleep(time.Hour)
		c := w.rotate(t, "vault-next")
		w.Inject(fake.Fault{Op: fakeanthropic.OpExchange, Skip: 1, Times: 1, Drop: true, AfterEffect: true})
		if _, err := w.mint(t, c, "01", time.Minute); !provider.IsKind(err, provider.Ambiguous) {
			t.Errorf("got %v, want Ambiguous", err)
		}
		if err := w.ArchiveRule(w.rule); err != nil {
			t.Fatal(err)
		}
		_, err := w.mint(t, c, "02", time.Minute)
		if _, n := w.kids(); !provider.IsKind(err, provider.Unauthorized) || n != 4 {
			t.Errorf("got %v after %d exchanges, want a denial of both keys", err, n)
		}
	})
}

// dated adds the time at the provider to its answers, as servers do.
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

// An assertion is dated by Anthropic's clock once that is known to be another.
func TestClocksApart(t *testing.T) {
	for _, apart := range []time.Duration{-3 * time.Minute, 3 * time.Minute, 2 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			theirs := func() time.Time { return time.Now().Add(apart) }
			w := newFederationAt(t, theirs)
			c := connect(t, anthropic.New(), w.settings, dated{w.RoundTripper(), theirs})
			_, first := w.mint(t, c, "01", 2*time.Minute)
			if denied := provider.IsKind(first, provider.Unauthorized); denied != (apart.Abs() > 2*time.Minute) {
				t.Errorf("%s apart: got %v of the first assertion", apart, first)
			}
			key, err := w.mint(t, c, "02", 30*time.Minute)
			if left := time.Until(key.ExpiresAt); err != nil || left < 30*time.Minute-2*time.Second || left > 31*time.Minute {
				t.Errorf("%s apart: got a token of %s, error %v", apart, left, err)
			}
		})
	}
}

func TestAdminTokenIsUsedForAsLongAsItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		c := w.client(t).(provider.AdminRotator)
		verify := func(exchanges int) {
			t.Helper()
			if err := c.VerifyAdmin(t.Context()); err != nil {
				t.Error(err)
			}
			if got := w.Server.Count(fakeanthropic.OpAdminExchange); got != exchanges {
				t.Errorf("got %d exchanges, want %d", got, exchanges)
			}
		}
		verify(1)
		time.Sleep(8 * time.Minute)
		verify(1)
		time.Sleep(2 * time.Minute)
		verify(2)
		w.Inject(fake.Answer(fakeanthropic.OpGetIssuer, http.StatusUnauthorized, 1))
		if err := c.VerifyAdmin(t.Context()); !provider.IsKind(err, provider.Unauthorized) {
			t.Errorf("got %v, want Unauthorized", err)
		}
		verify(3) // the one that was refused is not used again
	})
}

// One that waits for another's exchange waits no longer than it has time.
func TestAdminTokenIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		c := w.client(t).(provider.AdminRotator)
		w.Inject(fake.Fault{Op: fakeanthropic.OpAdminExchange, Latency: 20 * time.Second, Times: 1})
		done := make(chan error)
		go func() { done <- c.VerifyAdmin(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := c.VerifyAdmin(ctx)
		if waited := time.Since(start); !provider.IsKind(err, provider.Unavailable) || waited != 5*time.Second {
			t.Errorf("got %v after %s", err, waited)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAdminExchangeFails(t *testing.T) {
	kinds := map[provider.Kind]fake.Fault{
		provider.Unauthorized: {Status: http.StatusUnauthorized},
		provider.Unavailable:  {Drop: true, AfterEffect: true},
		provider.Invalid:      {Status: http.StatusBadRequest},
	}
	for kind, f := range kinds {
		synctest.Test(t, func(t *testing.T) {
			w := newFederation(t)
			f.Op = fakeanthropic.OpAdminExchange
			w.Inject(f)
			c := w.client(t).(provider.AdminRotator)
			_, minted := c.MintAdmin(t.Context(), "vault-next", time.Time{})
			_, scoped := c.AdminScope(t.Context())
			for what, err := range map[string]error{
				"verify": c.VerifyAdmin(t.Context()), "mint": minted, "scope": scoped,
				"delete": c.DeleteAdmin(t.Context(), provider.Ref{ID: "x"}),
			} {
				if !provider.IsKind(err, kind) {
					t.Errorf("%s: got %v, want kind %q", what, err, kind)
				}
				w.wantNoSecret(t, err)
			}
			if n := len(w.IssuerKeys(w.issuer)); n != 1 {
				t.Errorf("got %d keys", n)
			}
		})
	}
}

// An echo answers what it was sent, in whole and in part.
type echo struct{ sent []string }

func (e *echo) RoundTrip(req *http.Request) (*http.Response, error) {
	var body struct{ Assertion string }
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		return nil, err
	}
	parts := strings.Split(body.Assertion, ".")
	e.sent = append(e.sent, body.Assertion, parts[2])
	text := fmt.Sprintf(`{"error":"invalid_grant","error_description":"%s is not %s, header x_%s_"}`, body.Assertion, parts[2], parts[2])
	return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
}

func TestAssertionIsInNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := newFederation(t), &echo{}
		c := connect(t, anthropic.New(), w.settings, e)
		_, err := w.mint(t, c, "01", time.Hour)
		for _, err := range []error{err, c.(provider.AdminRotator).VerifyAdmin(t.Context())} {
			if !provider.IsKind(err, provider.Invalid) || !strings.Contains(err.Error(), "invalid_grant: [redacted]") {
				t.Errorf("got %v, want a refusal", err)
			}
			for _, secret := range e.sent {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("an assertion is in %v", err)
				}
			}
		}
		if len(e.sent) != 4 {
			t.Errorf("got %d exchanges, want 2", len(e.sent)/2)
		}
	})
}

// Several rotations may be quicker than the exchange forgets the keys that it knew.
func TestKeysOfSeveralRotationsServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		w.SetKnobs(fakeanthropic.Knobs{JWKSCache: 30 * time.Minute})
		time.Sleep(time.Hour)
		for n := range 3 {
			c := w.rotate(t, fmt.Sprintf("vault-next-%d", n))
			if _, err := w.mint(t, c, fmt.Sprintf("0%d", n), time.Minute); err != nil {
				t.Errorf("after rotation %d: %v", n+1, err)
			}
			time.Sleep(time.Minute)
		}
	})
}

// A token that lives for longer than asked is given to nobody.
func TestTokenThatLivesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newFederation(t)
		w.Inject(fake.Fault{Op: fakeanthropic.OpExchange, Body: `{"access_token":"sk-ant-oat01-too-long","token_type":"Bearer","expires_in":86400}`})
		_, err := w.mint(t, w.client(t), "01", 15*time.Minute)
		if !provider.IsKind(err, provider.Ambiguous) || !strings.Contains(err.Error(), "24h0m0s") || strings.Contains(err.Error(), "sk-ant") {
			t.Errorf("got %v, want Ambiguous", err)
		}
	})
}
