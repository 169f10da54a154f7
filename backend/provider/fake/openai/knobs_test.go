package fakeopenai

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestHideFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithKnobs(Knobs{HideFor: time.Minute}))
		account := w.account("bot")
		id, _ := w.mint(account, `{}`)
		time.Sleep(59 * time.Second)
		if got := w.list(keysPath, "owner_project_access=any"); len(got) != 0 {
			t.Errorf("keys = %v, want none yet", got)
		}
		if got := w.list(accountsPath, ""); len(got) != 0 {
			t.Errorf("accounts = %v, want none yet", got)
		}
		w.ok("GET", keysPath+"/"+id, "")
		time.Sleep(time.Second)
		if got := w.list(keysPath, "owner_project_access=any"); len(got) != 1 {
			t.Errorf("keys = %v, want one", got)
		}
		if got := w.list(accountsPath, ""); len(got) != 1 {
			t.Errorf("accounts = %v, want one", got)
		}
	})
}

func TestYoungNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		account := w.account("bot")
		w.SetKnobs(Knobs{YoungNotFoundFor: time.Minute})
		id, secret := w.mint(account, `{"expires_in_seconds":3600}`)
		before := w.Keys()[0].ExpiresAt
		w.refused(404, "GET", keysPath+"/"+id, "")
		w.refused(404, "DELETE", keysPath+"/"+id, "")
		w.refused(404, "POST", keysPath+"/"+id, `{"expires_in_seconds":1}`)
		w.wantAlive(secret, true)
		if got := w.Keys()[0].ExpiresAt; !got.Equal(before) {
			t.Errorf("expiry = %s, want %s", got, before)
		}
		time.Sleep(time.Minute)
		w.ok("DELETE", keysPath+"/"+id, "")

		w.SetKnobs(Knobs{YoungAccountNotFoundFor: time.Minute})
		young := accountsPath + "/" + w.PlantServiceAccount(DefaultProject, "young").ID
		w.refused(404, "GET", young, "")
		w.refused(404, "POST", young, `{"role":"owner"}`)
		w.refused(404, "POST", young+"/api_keys", `{}`)
		w.refused(404, "DELETE", young, "")
		time.Sleep(time.Minute)
		w.ok("POST", young+"/api_keys", `{}`)
	})
}

func TestDataPlaneIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, WithKnobs(Knobs{DataPlaneDelay: 10 * time.Second, DeletedAcceptedFor: 20 * time.Second}))
		id, secret := w.mint(w.account("bot"), `{}`)
		w.wantAlive(secret, false)
		w.wantLive(1)
		time.Sleep(10 * time.Second)
		w.wantAlive(secret, true)
		w.ok("DELETE", keysPath+"/"+id, "")
		w.wantLive(0)
		time.Sleep(19 * time.Second)
		w.wantAlive(secret, true)
		time.Sleep(time.Second)
		w.wantAlive(secret, false)
	})
}

func TestExpiryPolicy(t *testing.T) {
	w := newWorld(t, WithKnobs(Knobs{ExpiryPolicy: time.Hour}))
	account := w.account("bot") // no key, no expiry
	path := accountsPath + "/" + account + "/api_keys"
	w.refused(400, "POST", path, `{}`)
	w.refused(400, "POST", path, `{"expires_in_seconds":3601}`)
	w.refused(400, "POST", accountsPath, `{"name":"x"}`)
	w.refused(400, "POST", accountsPath, `{"name":"x","expires_in_seconds":null}`)
	id, _ := w.mint(account, `{"expires_in_seconds":3600}`)
	w.refused(400, "POST", keysPath+"/"+id, `{"expires_in_seconds":3601}`)
	w.ok("POST", keysPath+"/"+id, `{"scopes":[]}`)
	w.wantLive(1)
}

func TestExpiryThatIsNotWhatWasAsked(t *testing.T) {
	w := newWorld(t, WithKnobs(Knobs{MaxExpiry: time.Minute}))
	account := w.account("bot")
	path := accountsPath + "/" + account + "/api_keys"
	for body, want := range map[string]float64{`{"expires_in_seconds":3600}`: 60, `{"expires_in_seconds":30}`: 30, `{}`: 60} {
		r := w.ok("POST", path, body)
		if got := r.at("expires_at").(float64) - r.at("created_at").(float64); got != want {
			t.Errorf("%s: lives for %v s, want %v", body, got, want)
		}
	}
	w.SetKnobs(Knobs{IgnoreExpiry: true})
	r := w.ok("POST", path, `{"expires_in_seconds":3600}`)
	if r.at("expires_at") != nil {
		t.Errorf("expires_at = %v, want null", r.at("expires_at"))
	}
	if got := w.Keys()[3].ExpiresAt; !got.IsZero() {
		t.Errorf("expires at %s, want never", got)
	}
}

func TestUpdateUnsupported(t *testing.T) {
	w := newWorld(t, WithKnobs(Knobs{UpdateUnsupported: true}))
	id, _ := w.mint(w.account("bot"), `{"expires_in_seconds":60}`)
	before := w.Keys()[0]
	w.refused(405, "POST", keysPath+"/"+id, `{"expires_in_seconds":600}`)
	if got := w.Keys()[0].ExpiresAt; !got.Equal(before.ExpiresAt) {
		t.Errorf("expiry moved to %s", got)
	}
}

func TestExpiredKeysStayListedUnlessTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		id, _ := w.mint(w.account("bot"), `{"expires_in_seconds":1}`)
		time.Sleep(time.Second)
		if got := w.list(keysPath, "owner_project_access=any"); !slices.Equal(got, []string{id}) {
			t.Errorf("keys = %v, want the expired one", got)
		}
		w.SetKnobs(Knobs{ExpiredKeysUnlisted: true})
		if got := w.list(keysPath, "owner_project_access=any"); len(got) != 0 {
			t.Errorf("keys = %v, want none", got)
		}
		w.ok("DELETE", keysPath+"/"+id, "")
	})
}

func TestNameLimit(t *testing.T) {
	w := newWorld(t, WithKnobs(Knobs{NameLimit: 4}))
	account := w.account("four")
	w.refused(400, "POST", accountsPath, `{"name":"fiver"}`)
	w.refused(400, "POST", accountsPath+"/"+account, `{"name":"fiver"}`)
	w.refused(400, "POST", accountsPath+"/"+account+"/api_keys", `{"name":"fiver"}`)
	w.refused(400, "POST", adminsPath, `{"name":"fiver"}`)
	w.mint(account, `{"name":"four"}`)
	w.mint(account, `{}`) // OpenAI's own name is not ours to shorten
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetRate(2, 3)
		for range 3 {
			w.ok("GET", projectsPath, "")
		}
		r := w.refused(429, "POST", accountsPath, `{"name":"x"}`)
		if got := r.header.Get("Retry-After"); got != "1" {
			t.Errorf("Retry-After = %q, want 1", got)
		}
		if got := w.ServiceAccounts(DefaultProject); len(got) != 0 {
			t.Errorf("a call beyond the rate took effect: %v", got)
		}
		if got := w.models(w.PlantKey(DefaultProject, "k").Secret).status; got != 200 {
			t.Errorf("data plane = %d, want 200: the rate is for admin calls", got)
		}
		time.Sleep(time.Second) // two tokens
		w.ok("GET", projectsPath, "")
		w.ok("GET", projectsPath, "")
		w.refused(429, "GET", projectsPath, "")
		w.SetRate(0, 0)
		for range 10 {
			w.ok("GET", projectsPath, "")
		}
		limited := 0
		for _, r := range w.Requests() {
			if r.Status == 429 {
				limited++
			}
		}
		if limited != 2 {
			t.Errorf("%d requests logged as 429, want 2", limited)
		}
	})
}

func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 0, 0, 500, time.UTC)
	w := newWorld(t, WithClock(func() time.Time { return now }))
	_, secret := w.mint(w.account("bot"), `{"expires_in_seconds":60}`)
	now = now.Add(59 * time.Second)
	w.wantAlive(secret, true)
	now = now.Add(time.Second)
	w.wantAlive(secret, false)
}

func TestGrease(t *testing.T) {
	w := newWorld(t)
	strange := map[string]bool{}
	orders := map[string]bool{}
	for range 50 {
		r := w.ok("GET", demo, "")
		for name := range r.body {
			strange[name] = strange[name] || strings.HasPrefix(name, "x_grease_")
		}
		orders[r.raw] = true
		if r.text("id") != DefaultProject || r.header.Get("X-Request-Id") == "" {
			t.Fatalf("answer = %s %v", r.raw, r.header)
		}
	}
	if len(orders) < 40 || len(strange) < 20 {
		t.Errorf("%d different answers with %d members of 50, want more", len(orders), len(strange))
	}
	w.SetKnobs(Knobs{NoGrease: true})
	if a, b := w.ok("GET", demo, "").raw, w.ok("GET", demo, "").raw; a != b || !strings.HasPrefix(a, `{"id":`) {
		t.Errorf("without grease: %s, then %s", a, b)
	}
}
