package fakeanthropic

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

func TestStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFederation(t)
		key, api, oauth := f.PlantKey(f.Workspace(), "planted"), caller{key: f.AdminKey()}, f.admin()
		data, token := caller{key: key.Secret}, caller{token: f.token(nil)}
		const org = "/v1/organizations"
		one, account := org+"/api_keys/"+key.ID, f.CreateServiceAccount("other")
		members := org + "/workspaces/" + f.Workspace() + "/service_accounts"
		newRule := func(name, scope string) string {
			return fmt.Sprintf(`{"name":%q,"issuer_id":%q,"match":{"subject_prefix":"x:*"},"target":{"type":"service_account","service_account_id":%q},
				"workspace_id":%q,"oauth_scope":%q}`, name, f.issuer, account, f.Workspace(), scope)
		}
		for _, c := range []struct {
			want         int
			method, path string
			as           caller
			body         string
		}{
			{405, "POST", org + "/api_keys", api, `{"name":"x"}`},
			{200, "GET", one, api, ""},
			{200, "GET", one, oauth, ""},
			{404, "GET", org + "/api_keys/nothing", api, ""},
			{401, "GET", one, caller{}, ""},
			{401, "GET", one, caller{key: "x"}, ""},
			{403, "GET", one, data, ""},
			{403, "GET", one, token, ""},
			{200, "POST", one, api, `{"name":"y"}`},
			{200, "POST", one, api, `{"status":"active"}`},
			{400, "POST", one, api, `{"status":"expired"}`},
			{400, "POST", one, api, `{"status":null}`},
			{400, "POST", one, api, `{"name":""}`},
			{400, "POST", one, api, `{"state":"active"}`},
			{400, "POST", one, api, `[]`},
			{405, "DELETE", one, api, ""},
			{400, "GET", org + "/api_keys?limit=0", api, ""},
			{400, "GET", org + "/api_keys?limit=1001", api, ""},
			{400, "GET", org + "/api_keys?page=2", api, ""},
			{400, "GET", org + "/api_keys?status=alive", api, ""},
			{200, "GET", org + "/api_keys?workspace_id=nowhere", api, ""},
			{200, "GET", org + "/workspaces/" + f.Workspace(), api, ""},
			{404, "GET", org + "/workspaces/nothing", api, ""},
			{403, "GET", org + "/federation_issuers/" + f.issuer, api, ""},
			{200, "GET", org + "/federation_issuers/" + f.issuer, oauth, ""},
			{403, "GET", org + "/federation_rules/" + f.rule, api, ""},
			{200, "GET", org + "/federation_rules/" + f.rule, oauth, ""},
			{403, "POST", org + "/service_accounts", api, `{"name":"bot-2"}`},
			{200, "POST", org + "/service_accounts", oauth, `{"name":"bot-2"}`},
			{409, "POST", org + "/service_accounts", oauth, `{"name":"bot-2"}`},
			{400, "POST", org + "/service_accounts", oauth, `{"name":"Bot 3"}`},
			{400, "POST", org + "/service_accounts", oauth, `{"name":"bot-3","organization_role":"admin"}`},
			{200, "POST", org + "/federation_rules", oauth, newRule("r", scopeInference)},
			{409, "POST", org + "/federation_rules", oauth, newRule("r", scopeInference)},
			{403, "POST", org + "/federation_rules", oauth, newRule("q", scopeAdmin)},
			{400, "POST", org + "/federation_rules", oauth, strings.Replace(newRule("q", scopeInference), "x:*", "*", 1)},
			{400, "POST", org + "/federation_issuers", oauth, `{"name":"x","issuer_url":"https://x.test","jwks":{"type":"inline","keys":[{"kid":"a"}]}}`},
			{400, "POST", org + "/federation_issuers", oauth, `{"name":"x","issuer_url":"http://x.test","jwks":{"type":"inline","keys":[` + f.signer.jwk() + `]}}`},
			{400, "POST", org + "/federation_issuers/" + f.issuer, oauth, `{"jwks":{"type":"inline","keys":[]}}`},
			{400, "POST", org + "/federation_issuers/" + f.issuer, oauth, `{"jwks":{"type":"inline","keys":[` + strings.Replace(f.signer.jwk(), "{", `{"d":"x",`, 1) + `]}}`},
			{403, "POST", org + "/federation_issuers/" + f.issuers[1].id, oauth, `{"jwks":{"type":"inline","keys":[` + f.signer.jwk() + `]}}`},
			{400, "POST", org + "/federation_issuers/" + f.issuer + "/archive", oauth, ""},
			{400, "POST", org + "/service_accounts/" + f.member + "/archive", oauth, ""},
			{400, "POST", members, oauth, `{"service_account_id":"` + account + `"}`},
			{200, "POST", members, oauth, `{"service_account_id":"` + account + `","workspace_role":"workspace_user"}`},
			{200, "DELETE", members + "/" + account, oauth, ""},
			{200, "DELETE", members + "/" + account, oauth, ""},
			{403, "DELETE", members + "/" + account, api, ""},
			{400, "DELETE", org + "/workspaces/default/service_accounts/" + account, oauth, ""},
			{200, "GET", "/v1/models", data, ""},
			{200, "GET", "/v1/models", token, ""},
			{200, "GET", "/v1/models", caller{token: data.key}, ""},
			{403, "GET", one, caller{token: data.key}, ""},
			{401, "GET", "/v1/models", api, ""},
			{401, "GET", "/v1/models", oauth, ""},
			{200, "POST", "/v1/messages", data, `{"model":"claude","max_tokens":5,"messages":[]}`},
			{400, "POST", "/v1/messages", data, `{"model":"claude"}`},
			{200, "POST", one, api, `{"status":"inactive"}`},
			{401, "GET", "/v1/models", data, ""},
			{401, "GET", "/v1/models", caller{token: data.key}, ""},
			{200, "POST", one, api, `{"status":"archived"}`},
			{400, "POST", one, api, `{"status":"inactive"}`},
			{400, "POST", one, api, `{"status":"active"}`},
			{404, "GET", "/v1/organizations/", api, ""},
		} {
			got, out := try(t, f.Server, c.method, c.path, c.as, c.body)
			if got != c.want {
				t.Errorf("%s %s %s = %d %v, want %d", c.method, c.path, c.body, got, out, c.want)
			}
			if envelope, _ := out["error"].(map[string]any); got >= 400 && (out["type"] != "error" || envelope["type"] == "") {
				t.Errorf("%s %s: got envelope %v", c.method, c.path, out)
			}
			for _, secret := range f.Secrets() {
				if strings.Contains(fmt.Sprint(out), secret) {
					t.Errorf("%s %s shows a secret", c.method, c.path)
				}
			}
		}
	})
}

func TestExchangeDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFederation(t)
		now := time.Now().Unix()
		good := func(changes map[string]any) string { return f.signer.sign(t, f.header(), f.claims(changes)) }
		header := func(name string, value any) string {
			h := f.header()
			h[name] = value
			return f.signer.sign(t, h, f.claims(nil))
		}
		stranger := signer{"one", newSigner(t, "one").key}
		archived := f.newRule("old", scopeInference, 3600)
		if err := f.ArchiveRule(archived); err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			assertion string
			body      map[string]any
		}{
			"another key":       {stranger.sign(t, f.header(), f.claims(nil)), nil},
			"kid":               {header("kid", "two"), nil},
			"no kid":            {header("kid", ""), nil},
			"alg":               {header("alg", "none"), nil},
			"no JWT":            {"x.y", nil},
			"cut off":           {good(nil)[:100], nil},
			"too long":          {good(map[string]any{"more": strings.Repeat("x", 16<<10)}), nil},
			"iss":               {good(map[string]any{"iss": issuerURL + "/"}), nil},
			"sub":               {good(map[string]any{"sub": "vault:other:ada"}), nil},
			"no sub":            {good(map[string]any{"sub": nil}), nil},
			"aud":               {good(map[string]any{"aud": "https://other.test"}), nil},
			"no aud":            {good(map[string]any{"aud": nil}), nil},
			"no iat":            {good(map[string]any{"iat": nil}), nil},
			"no exp":            {good(map[string]any{"exp": nil}), nil},
			"exp is past":       {good(map[string]any{"iat": now - 600, "exp": now - 31}), nil},
			"iat is to come":    {good(map[string]any{"iat": now + 31}), nil},
			"too long a life":   {good(map[string]any{"exp": now + 3601}), nil},
			"organization":      {good(nil), map[string]any{"organization_id": "other"}},
			"rule":              {good(nil), map[string]any{"federation_rule_id": "fdrl_none"}},
			"archived rule":     {good(nil), map[string]any{"federation_rule_id": archived}},
			"name of a field":   {good(nil), map[string]any{"federation_rule_id": nil, "federation_rule": f.rule}},
			"service account":   {good(nil), map[string]any{"service_account_id": "svac_other"}},
			"workspace":         {good(nil), map[string]any{"workspace_id": f.AddWorkspace("")}},
			"default workspace": {good(nil), map[string]any{"workspace_id": "default"}},
		} {
			status, out := f.exchange(c.assertion, c.body)
			if status != 401 || out["error"].(map[string]any)["message"] != "Invalid authentication credentials" {
				t.Errorf("%s: got %d %v, want the one denial", what, status, out)
			}
			if all := f.Requests(); all[len(all)-1].Denied == "" {
				t.Errorf("%s: nothing says why", what)
			}
		}
		once := good(nil)
		if status, _ := f.exchange(once, nil); status != 200 {
			t.Errorf("got %d of a good assertion", status)
		}
		if status, _ := f.exchange(once, nil); status != 401 {
			t.Errorf("got %d of a jti that was used", status)
		}
		if status, _ := f.exchange(good(map[string]any{"jti": nil, "aud": []string{"x", Audience}}), map[string]any{"unknown": 7}); status != 200 {
			t.Errorf("got %d of an assertion without jti", status)
		}
		if status, _ := f.exchange(good(nil), map[string]any{"grant_type": "password"}); status != 400 {
			t.Errorf("got %d of another grant", status)
		}
	})
}

func TestLifetimeOfTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFederation(t)
		for _, c := range []struct{ rest, rule, want int }{
			{600, 3600, 1200}, {1800, 3600, 3600}, {3600, 3600, 3600}, {10, 3600, 60}, {-20, 3600, 60}, {3600, 60, 60}, {3600, 86400, 7200},
		} {
			rule := f.newRule(fmt.Sprintf("r-%d-%d", c.rest+100, c.rule), scopeInference, c.rule)
			now := time.Now().Unix()
			assertion := f.signer.sign(t, f.header(), f.claims(map[string]any{"iat": now - 25, "exp": now + int64(min(c.rest, 3575))}))
			status, out := f.exchange(assertion, map[string]any{"federation_rule_id": rule})
			want := float64(c.want)
			if c.rest == 3600 && c.rule == 86400 {
				want = 2 * 3575
			}
			if status != 200 || out["expires_in"] != want {
				t.Errorf("%+v: got %d %v", c, status, out)
			}
		}
	})
}

func TestWhatEndsTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFederation(t)
		oauth, token := f.admin(), f.token(nil)
		leave := "/v1/organizations/workspaces/" + f.Workspace() + "/service_accounts/" + f.member
		for _, kills := range []bool{false, true} {
			f.SetKnobs(Knobs{RemovalKillsTokens: kills})
			if status, out := try(t, f.Server, "DELETE", leave, oauth, ""); status != 200 {
				t.Fatalf("got %d %v", status, out)
			}
			if f.Alive(token) == kills {
				t.Errorf("the token is alive: %t", !kills)
			}
			if status, _ := f.exchange(f.signer.sign(t, f.header(), f.claims(nil)), nil); status != 401 {
				t.Errorf("got %d for no member", status)
			}
		}
		f.AddMember(f.Workspace(), f.member)
		token = f.token(nil)
		if status, _ := try(t, f.Server, "POST", "/v1/organizations/federation_rules/"+f.rule+"/archive", oauth, ""); status != 200 {
			t.Errorf("got %d", status)
		}
		if !f.Alive(token) || len(f.LiveTokens()) != 1 {
			t.Error("a token has ended with its rule")
		}
		if time.Sleep(20 * time.Minute); f.Alive(token) || len(f.LiveTokens()) != 0 {
			t.Error("a token outlives its expiry")
		}
	})
}

func TestKeysOfAnIssuerAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFederation(t)
		old, next := f.signer, newSigner(t, "two")
		f.SetKnobs(Knobs{JWKSCache: time.Minute})
		time.Sleep(time.Hour)
		if err := f.UpdateIssuer(f.issuer, `{"jwks":{"type":"inline","keys":[`+next.jwk()+`]}}`); err != nil {
			t.Fatal(err)
		}
		wants := func(g signer, want int) {
			t.Helper()
			f.signer = g
			if status, _ := f.exchange(g.sign(t, f.header(), f.claims(nil)), nil); status != want {
				t.Errorf("key %s: got %d, want %d", g.kid, status, want)
			}
		}
		wants(old, 200)
		wants(next, 401)
		time.Sleep(time.Minute)
		wants(old, 401)
		wants(next, 200)
	})
}

func TestSwitchingTakesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.SetKnobs(Knobs{ActiveDelay: 5 * time.Second, InactiveDelay: 10 * time.Second})
		k := s.PlantPoolKey("pooled")
		time.Sleep(time.Minute)
		wants := func(status string, after time.Duration, alive bool) {
			t.Helper()
			if got, _ := try(t, s, "POST", "/v1/organizations/api_keys/"+k.ID, caller{key: s.AdminKey()}, `{"status":"`+status+`"}`); got != 200 {
				t.Errorf("got %d", got)
			}
			for range 2 {
				if s.Alive(k.Secret) == alive {
					t.Errorf("%s: the key is alive: %t", status, alive)
				}
				time.Sleep(after)
				alive = !alive
			}
			time.Sleep(time.Minute)
		}
		wants("active", 5*time.Second, true)
		wants("inactive", 10*time.Second, false)
	})
}

func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		other := s.AddWorkspace("")
		s.PlantKey(other, "other")
		for i := range 45 {
			s.PlantKey(s.Workspace(), fmt.Sprintf("k-%d", i))
		}
		s.PlantPoolKey("inactive")
		seen, after := map[string]bool{}, ""
		for range 5 {
			_, out := try(t, s, "GET", "/v1/organizations/api_keys?status=active&workspace_id="+s.Workspace()+after, caller{key: s.AdminKey()}, "")
			for _, item := range out["data"].([]any) {
				seen[item.(map[string]any)["name"].(string)] = true
			}
			if out["has_more"] == false {
				break
			}
			after = "&after_id=" + out["last_id"].(string)
		}
		if len(seen) != 45 || seen["other"] || seen["inactive"] {
			t.Errorf("got %d keys, want 45", len(seen))
		}
	})
}

func TestFaultsMeetTheirOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFederation(t)
		oauth, admin := f.admin(), caller{key: f.AdminKey()}
		k := f.PlantKey(f.Workspace(), "k")
		one, two := f.signer.jwk(), newSigner(t, "two").jwk()
		keys := func(list ...string) string {
			return `{"jwks":{"type":"inline","keys":[` + strings.Join(list, ",") + `]}}`
		}
		issuer := "/v1/organizations/federation_issuers/" + f.issuer
		for _, c := range []struct {
			op         fake.Op
			path, body string
			as         caller
		}{
			{OpActivateKey, "/v1/organizations/api_keys/" + k.ID, `{"status":"active"}`, admin},
			{OpDeactivateKey, "/v1/organizations/api_keys/" + k.ID, `{"status":"inactive"}`, admin},
			{OpUpdateKey, "/v1/organizations/api_keys/" + k.ID, `{"name":"x"}`, admin},
			{OpAddIssuerKeys, issuer, keys(one, two), oauth},
			{OpDropIssuerKeys, issuer, keys(one), oauth},
		} {
			f.Inject(fake.Answer(c.op, http.StatusTeapot, 1))
			if got, _ := try(t, f.Server, "POST", c.path, c.as, c.body); got != http.StatusTeapot {
				t.Errorf("%s: got %d, want the fault", c.op, got)
			}
			if got, out := try(t, f.Server, "POST", c.path, c.as, c.body); got != 200 || f.Count(c.op) != 2 {
				t.Errorf("%s: got %d %v, counted %d", c.op, got, out, f.Count(c.op))
			}
		}
		f.RevokeAdminKey()
		if got, _ := try(t, f.Server, "GET", "/v1/organizations/workspaces", admin, ""); got != 401 {
			t.Errorf("got %d with a revoked admin key", got)
		}
	})
}
