package fakeopenrouter

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider/fake"
)

// try sends a request below /api/v1. A body is JSON; "" is none.
func try(t *testing.T, s *Server, method, path, secret, body string) (int, map[string]any) {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://openrouter.test/api/v1"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	resp, err := s.RoundTripper().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, out
}

func TestStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		admin, key := s.AdminKey(), s.PlantKey(DefaultWorkspace, "planted")
		rail := func() string {
			_, out := try(t, s, "POST", "/guardrails", admin, `{"name":"r","allowed_models":["a/b"]}`)
			return out["data"].(map[string]any)["id"].(string)
		}()
		for _, c := range []struct {
			want                       int
			method, path, secret, body string
		}{
			{201, "POST", "/keys", admin, `{"name":"x","limit":1.5,"limit_reset":"daily","expires_at":"2027-01-01T00:00:00Z"}`},
			{201, "POST", "/keys", admin, `{"name":"x","limit":null,"limit_reset":null,"expires_at":null}`},
			{400, "POST", "/keys", admin, `{}`},
			{400, "POST", "/keys", admin, `{"name":""}`},
			{400, "POST", "/keys", admin, `{"name":null}`},
			{400, "POST", "/keys", admin, `{"name":7}`},
			{400, "POST", "/keys", admin, `{"name":"x","limit":"1.5"}`},
			{400, "POST", "/keys", admin, `{"name":"x","limit":-1}`},
			{400, "POST", "/keys", admin, `{"name":"x","limit_reset":"day"}`},
			{400, "POST", "/keys", admin, `{"name":"x","expires_at":"2027-01-01T00:00:00+02:00"}`},
			{400, "POST", "/keys", admin, `{"name":"x","expires_at":1}`},
			{400, "POST", "/keys", admin, `{"name":"x","workspace_id":"nowhere"}`},
			{400, "POST", "/keys", admin, `{"name":"x","scopes":[]}`},
			{400, "POST", "/keys", admin, `{"name":"x"} {}`},
			{400, "POST", "/keys", admin, `[]`},
			{401, "POST", "/keys", "", `{"name":"x"}`},
			{401, "POST", "/keys", admin + "x", `{"name":"x"}`},
			{403, "POST", "/keys", key.Secret, `{"name":"x"}`},
			{405, "PUT", "/keys", admin, `{}`},
			{404, "GET", "/keys/", admin, ""},
			{404, "GET", "/keys/nothing", admin, ""},
			{200, "GET", "/keys/" + key.Hash, admin, ""},
			{400, "GET", "/keys?page=2", admin, ""},
			{400, "GET", "/keys?offset=-1", admin, ""},
			{400, "GET", "/keys?include_disabled=yes", admin, ""},
			{400, "GET", "/workspaces?limit=101", admin, ""},
			{200, "PATCH", "/keys/" + key.Hash, admin, `{"name":"y"}`},
			{400, "PATCH", "/keys/" + key.Hash, admin, `{"expires_at":"2027-01-01T00:00:00Z"}`},
			{400, "POST", "/guardrails", admin, `{"name":"x","allowed_models":[]}`},
			{400, "POST", "/guardrails/" + rail + "/assignments/keys", admin, `{"key_hash":"x"}`},
			{404, "POST", "/guardrails/" + rail + "/assignments/keys", admin, `{"key_hashes":["x"]}`},
			{404, "POST", "/guardrails/none/assignments/keys", admin, `{"key_hashes":["` + key.Hash + `"]}`},
			{200, "POST", "/guardrails/" + rail + "/assignments/keys", admin, `{"key_hashes":["` + key.Hash + `"]}`},
			{403, "POST", "/chat/completions", key.Secret, `{"model":"c/d","messages":[]}`},
			{200, "POST", "/chat/completions", key.Secret, `{"model":"a/b","messages":[]}`},
			{403, "POST", "/chat/completions", admin, `{"model":"a/b","messages":[]}`},
			{200, "GET", "/key", admin, ""},
			{200, "DELETE", "/keys/" + key.Hash, admin, ""},
			{404, "DELETE", "/keys/" + key.Hash, admin, ""},
			{401, "GET", "/key", key.Secret, ""},
		} {
			got, out := try(t, s, c.method, c.path, c.secret, c.body)
			if got != c.want {
				t.Errorf("%s %s %s = %d %v, want %d", c.method, c.path, c.body, got, out, c.want)
			}
			if envelope, _ := out["error"].(map[string]any); got >= 400 && envelope["code"] != float64(got) {
				t.Errorf("%s %s: got envelope %v", c.method, c.path, out)
			}
			for _, secret := range s.Secrets() {
				if got != 201 && strings.Contains(fmt.Sprint(out), secret) {
					t.Errorf("%s %s shows a secret", c.method, c.path)
				}
			}
		}
	})
}

func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		other := s.AddWorkspace("")
		s.PlantKey(other, "other")
		for i := range 120 {
			s.PlantKey(DefaultWorkspace, fmt.Sprint(i))
		}
		s.DisableKey(s.LiveKeys()[1].Hash)
		for path, want := range map[string]int{
			"/keys": 100, "/keys?offset=100": 19, "/keys?offset=100&include_disabled=true": 20, "/keys?offset=500": 0,
			"/keys?workspace_id=" + other: 1, "/keys?workspace_id=nowhere": 0, "/workspaces": 2, "/workspaces?limit=1": 1,
		} {
			_, out := try(t, s, "GET", path, s.AdminKey(), "")
			if got := len(out["data"].([]any)); got != want {
				t.Errorf("%s: got %d items, want %d", path, got, want)
			}
		}
	})
}

func TestLimitStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // 2000-01-01 was a Saturday
		s := New()
		for reset, wait := range map[string]time.Duration{"daily": 24 * time.Hour, "weekly": 48 * time.Hour, "monthly": 31 * 24 * time.Hour} {
			at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			now := at
			s.clock = func() time.Time { return now }
			_, out := try(t, s, "POST", "/keys", s.AdminKey(), `{"name":"x","limit":0.25,"limit_reset":"`+reset+`"}`)
			secret := out["key"].(string)
			var got []int
			for _, now = range []time.Time{at, at.Add(wait - time.Second), at.Add(wait)} {
				got = append(got, s.Complete(secret, "a/b"))
			}
			if want := []int{200, 402, 200}; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, want %v", reset, got, want)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.Inject(fake.Limited(OpCreateKey, 40*time.Second, 1))
		if got, _ := try(t, s, "POST", "/keys", s.AdminKey(), `{"name":"x"}`); got != 429 || len(s.LiveKeys()) != 0 {
			t.Errorf("got %d and %d keys, want 429 and none", got, len(s.LiveKeys()))
		}
		s.Inject(fake.AnswerAfter(OpCreateKey, 500, 1))
		if got, _ := try(t, s, "POST", "/keys", s.AdminKey(), `{"name":"x"}`); got != 500 || len(s.LiveKeys()) != 1 {
			t.Errorf("got %d and %d keys, want 500 and one", got, len(s.LiveKeys()))
		}
		s.SetKnobs(Knobs{HideFor: time.Minute})
		if _, out := try(t, s, "GET", "/keys", s.AdminKey(), ""); len(out["data"].([]any)) != 0 {
			t.Error("a young key is listed")
		}
		s.RevokeAdminKey()
		if got, _ := try(t, s, "GET", "/keys", s.AdminKey(), ""); got != 401 {
			t.Errorf("a revoked management key: got %d, want 401", got)
		}
	})
}

func TestOverASocket(t *testing.T) {
	s := New()
	srv := httptest.NewServer(s)
	defer srv.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/key", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminKey())
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d, want 200", resp.StatusCode)
	}
}
