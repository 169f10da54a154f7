package fakelitellm

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

// try sends a request. A body is JSON; "" is none.
func try(t *testing.T, s *Server, method, path, secret, body string) (int, map[string]any) {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://litellm.test"+path, content)
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
		s.AddTeam("blue")
		s.AddUser("ada", RoleUser)
		admin, key, other := s.AdminKey(), s.PlantKey("blue", "ada", "planted"), s.PlantKey("", "", "other")
		const chosen = "sk-chosen-by-the-caller"
		for _, c := range []struct {
			want                       int
			method, path, secret, body string
		}{
			{200, "POST", "/key/generate", admin, `{"key":"` + chosen + `","key_alias":"x","duration":"90s","models":["gpt-4.1"],"max_budget":1.5,"budget_duration":"7d","rpm_limit":2,"tpm_limit":null,"metadata":{"a":"b"}}`},
			{200, "POST", "/key/generate", s.MasterKey(), `{}`},
			{400, "POST", "/key/generate", admin, `{"key_alias":"x"}`},
			{400, "POST", "/key/generate", admin, `{"key":"` + chosen + `"}`},
			{400, "POST", "/key/generate", admin, `{"key":"no-prefix"}`},
			{400, "POST", "/key/generate", admin, `{"duration":"1 hour"}`},
			{400, "POST", "/key/generate", admin, `{"duration":60}`},
			{400, "POST", "/key/generate", admin, `{"budget_duration":"month"}`},
			{400, "POST", "/key/generate", admin, `{"max_budget":-1}`},
			{400, "POST", "/key/generate", admin, `{"max_budget":"1"}`},
			{400, "POST", "/key/generate", admin, `{"models":"gpt-4.1"}`},
			{400, "POST", "/key/generate", admin, `{"scopes":[]}`},
			{400, "POST", "/key/generate", admin, `[]`},
			{400, "POST", "/key/generate", admin, `{} {}`},
			{401, "POST", "/key/generate", "", `{}`},
			{401, "POST", "/key/generate", admin + "x", `{}`},
			{401, "POST", "/key/generate", "no-prefix", `{}`},
			{401, "POST", "/key/generate", key.Secret, `{}`},
			{405, "GET", "/key/generate", admin, ""},
			{404, "POST", "/key/generate/", admin, `{}`},
			{200, "GET", "/key/info?key=" + key.Hash, admin, ""},
			{200, "GET", "/key/info", key.Secret, ""},
			{200, "GET", "/key/info", admin, ""},
			{404, "GET", "/key/info", s.MasterKey(), ""},
			{404, "GET", "/key/info?key=nothing", admin, ""},
			{401, "GET", "/key/info?key=" + key.Hash, key.Secret, ""},
			{400, "GET", "/key/info?hash=x", admin, ""},
			{400, "GET", "/key/list?size=101", admin, ""},
			{400, "GET", "/key/list?page=0", admin, ""},
			{400, "GET", "/key/list?sort_by=luck", admin, ""},
			{200, "GET", "/team/info?team_id=blue", admin, ""},
			{404, "GET", "/team/info?team_id=red", admin, ""},
			{200, "GET", "/user/info?user_id=ada", admin, ""},
			{200, "POST", "/key/update", admin, `{"key":"` + key.Hash + `","duration":"1h"}`},
			{400, "POST", "/key/update", admin, `{"key":"` + key.Hash + `","duration":"soon"}`},
			{400, "POST", "/key/update", admin, `{"duration":"1h"}`},
			{401, "POST", "/key/update", admin, `{"key":"nothing","duration":"1h"}`},
			{200, "POST", "/v1/chat/completions", key.Secret, `{"model":"gpt-4.1","messages":[]}`},
			{403, "POST", "/chat/completions", chosen, `{"model":"claude-sonnet","messages":[]}`},
			{400, "POST", "/chat/completions", key.Secret, `{"model":"gpt-4.1"}`},
			{200, "GET", "/v1/models", key.Secret, ""},
			{400, "POST", "/key/delete", admin, `{}`},
			{200, "POST", "/key/delete", admin, `{"keys":["` + key.Hash + `","nothing"]}`},
			{404, "POST", "/key/delete", admin, `{"keys":["` + key.Hash + `"]}`},
			{200, "POST", "/key/delete", admin, `{"key_aliases":["other"]}`},
			{200, "POST", "/key/delete", admin, `{"keys":["` + chosen + `"]}`},
			{401, "GET", "/v1/models", other.Secret, ""},
		} {
			got, out := try(t, s, c.method, c.path, c.secret, c.body)
			if got != c.want {
				t.Errorf("%s %s %s = %d %v, want %d", c.method, c.path, c.body, got, out, c.want)
			}
			if envelope, _ := out["error"].(map[string]any); got >= 400 && envelope["code"] != fmt.Sprint(got) {
				t.Errorf("%s %s: got envelope %v", c.method, c.path, out)
			}
		}
		if live := s.LiveKeys(); len(live) != 1 {
			t.Errorf("got keys %+v, want the one without a name", live)
		}
	})
}

func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.PlantKey("blue", "ada", "one")
		for i := range 120 {
			s.PlantKey("", "", fmt.Sprint(i))
		}
		hash := s.LiveKeys()[0].Hash
		for query, want := range map[string]int{
			"": 10, "size=100": 100, "size=100&page=2": 22, "size=100&page=3": 0, "team_id=blue": 1, "user_id=ada": 1, "team_id=red": 0,
			"key_hash=" + hash: 1, "key_alias=one": 1, "user_id=" + s.AdminUser(): 1,
		} {
			_, out := try(t, s, "GET", "/key/list?"+query, s.AdminKey(), "")
			if got := len(out["keys"].([]any)); got != want {
				t.Errorf("%s: got %d keys, want %d", query, got, want)
			}
		}
		_, out := try(t, s, "GET", "/key/list?key_alias=one&return_full_object=true", s.AdminKey(), "")
		if got := out["keys"].([]any)[0].(map[string]any)["token"]; got != hash || out["total_count"] != 1.0 {
			t.Errorf("got token %v of %v, want %s", got, out["total_count"], hash)
		}
	})
}

func TestKeysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		_, out := try(t, s, "POST", "/key/generate", s.AdminKey(), `{"duration":"2m"}`)
		secret := out["key"].(string)
		for _, status := range []int{400, 401} {
			s.SetKnobs(Knobs{ExpiredStatus: status})
			if got, _ := try(t, s, "GET", "/v1/models", secret, ""); got != 200 {
				t.Errorf("a live key: got %d", got)
			}
			time.Sleep(2 * time.Minute)
			got, out := try(t, s, "GET", "/v1/models", secret, "")
			if got != status || out["error"].(map[string]any)["type"] != "expired_key" || s.Alive(secret) {
				t.Errorf("an expired key: got %d %v, want %d", got, out, status)
			}
			// An update brings it back.
			try(t, s, "POST", "/key/update", s.AdminKey(), `{"key":"`+Hash(secret)+`","duration":"2m"}`)
		}
		try(t, s, "POST", "/key/update", s.AdminKey(), `{"key":"`+Hash(secret)+`","duration":"-1"}`)
		time.Sleep(1000 * time.Hour)
		if !s.Alive(secret) {
			t.Error("a key that never expires has")
		}
	})
}

func TestBudgetStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		_, out := try(t, s, "POST", "/key/generate", s.AdminKey(), `{"max_budget":0.25,"budget_duration":"1d"}`)
		var got []int
		for range 2 {
			got = append(got, s.Complete(out["key"].(string), "gpt-4.1"), s.Complete(out["key"].(string), "gpt-4.1"))
			time.Sleep(24 * time.Hour)
		}
		if want := []int{200, 400, 200, 400}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		s.Inject(fake.AnswerAfter(OpCreateAdminKey, 500, 1))
		if got, _ := try(t, s, "POST", "/key/generate", s.AdminKey(), `{}`); got != 200 || len(s.LiveKeys()) != 1 {
			t.Errorf("got %d and %d keys, want 200 and one", got, len(s.LiveKeys()))
		}
		body := `{"user_id":"` + s.AdminUser() + `"}`
		if got, _ := try(t, s, "POST", "/key/generate", s.AdminKey(), body); got != 500 || len(s.AdminKeys()) != 2 {
			t.Errorf("got %d and %d admin keys, want 500 and two", got, len(s.AdminKeys()))
		}
		s.SetKnobs(Knobs{DeletedAcceptedFor: time.Minute})
		key := s.LiveKeys()[0]
		try(t, s, "POST", "/key/delete", s.AdminKey(), `{"keys":["`+key.Hash+`"]}`)
		if !s.Alive(key.Secret) || len(s.LiveKeys()) != 0 {
			t.Error("a deleted key is in no cache")
		}
		time.Sleep(time.Minute)
		if s.Alive(key.Secret) {
			t.Error("a deleted key lives on")
		}
	})
}

func TestOverASocket(t *testing.T) {
	s := New()
	srv := httptest.NewServer(s)
	defer srv.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/v1/models", nil)
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
