package openai_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-llm/backend/provider"
)

// This file is what goes over the wire, and what cannot be had from the
// simulator.

// A wire answers every request alike and keeps the last one.
type wire struct {
	answer func(*http.Request) string // JSON
	status int                        // 200 if zero
	last   *http.Request
	body   string
	n      int
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	w.last, w.n = req, w.n+1
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		w.body = string(body)
	}
	return &http.Response{
		StatusCode: cmp.Or(w.status, 200), Request: req, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(w.answer(req))),
	}, nil
}

func answering(body string) *wire { return &wire{answer: func(*http.Request) string { return body }} }

var role = provider.Values{"project_id": "proj_x"}

func spec(expires time.Time) provider.Spec {
	return provider.Spec{Name: "vault-test", ExpiresAt: expires, Principal: provider.Principal{ID: "svc_1", Scope: "proj_x"}, Role: role}
}

// Nothing of the environment reaches a request: it belongs to whoever started
// Vault.
func TestEnvironmentIsIgnored(t *testing.T) {
	for _, name := range []string{
		"BASE_URL", "API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID", "WEBHOOK_SECRET", "CUSTOM_HEADERS", "LOG",
	} {
		t.Setenv("OPENAI_"+name, "https://stray.test/"+strings.ToLower(name))
	}
	t.Setenv("OPENAI_CUSTOM_HEADERS", "X-Stray: stray")
	w := answering(`{"object":"list","data":[],"has_more":false}`)
	client := connect(t, provider.Settings{AdminKey: goodKey}, w)
	if err := client.(provider.AdminVerifier).VerifyAdmin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.last.URL.String(); got != "https://api.openai.com/v1/organization/projects?limit=1" {
		t.Errorf("sent to %s", got)
	}
	if got := w.last.Header.Get("Authorization"); got != "Bearer "+goodKey {
		t.Errorf("sent Authorization %q", got)
	}
	if text := strings.ToLower(fmt.Sprint(w.last.Header)); strings.Contains(text, "stray") || strings.Contains(text, "openai-") {
		t.Errorf("sent headers %v", slices.Sorted(maps.Keys(w.last.Header)))
	}
}

// An id cannot lead to another resource. The engine refuses such ids long before.
func TestIDsAreEscaped(t *testing.T) {
	const evil = "../admin_api_keys?x="
	const escaped = "..%2Fadmin_api_keys%3Fx="
	const projects = "/v1/organization/projects/"
	w := answering(`{"object":"list","data":[],"has_more":false}`)
	client := connect(t, provider.Settings{AdminKey: goodKey}, w)
	ref := provider.Ref{ID: evil, Scope: evil}
	bad := spec(time.Now().Add(time.Hour))
	bad.Principal, bad.Role = provider.Principal{ID: evil, Scope: evil}, provider.Values{"project_id": evil}
	for want, call := range map[string]func(){
		projects + escaped + "/api_keys/" + escaped:                         func() { _ = client.Delete(t.Context(), ref) },
		projects + escaped + "/service_accounts/" + escaped + "/api_keys":   func() { _, _ = client.Mint(t.Context(), bad) },
		projects + escaped + "/api_keys?limit=100&owner_project_access=any": func() { client.Find(t.Context(), evil)(func(provider.Found, error) bool { return true }) },
		projects + escaped + "/service_accounts/" + escaped:                 func() { _ = client.(provider.PrincipalKeeper).DeletePrincipal(t.Context(), bad.Principal) },
		projects + escaped + "/service_accounts?limit=100": func() {
			client.(provider.PrincipalKeeper).FindPrincipals(t.Context(), evil)(func(provider.FoundPrincipal, error) bool { return true })
		},
		projects + escaped:                  func() { _ = client.(provider.RoleChecker).CheckRoleAt(t.Context(), bad.Role) },
		projects + "%2E%2E/api_keys/%2E%2E": func() { _ = client.Delete(t.Context(), provider.Ref{ID: "..", Scope: ".."}) },
		projects + "a%2F..%2F..%2Fadmin_api_keys/api_keys/%20%00%0A%23%3Bx%25b": func() {
			_ = client.Delete(t.Context(), provider.Ref{ID: " \x00\n#;x%b", Scope: "a/../../admin_api_keys"})
		},
	} {
		w.last = nil
		if call(); w.last == nil || w.last.URL.RequestURI() != want {
			t.Errorf("sent %v, want %s", w.last, want)
		}
	}
	n := w.n
	for _, ref := range []provider.Ref{{}, {ID: "key_1"}, {Scope: "proj_x"}} {
		if err := client.Delete(t.Context(), ref); !provider.IsKind(err, provider.Unavailable) || w.n != n {
			t.Errorf("%+v: got %v and %d requests, want no request", ref, err, w.n-n)
		}
	}
}

func TestMintRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := answering(`{"id":"key_1","value":"sk-svcacct-0123456789","expires_at":null}`)
		client := connect(t, provider.Settings{AdminKey: goodKey}, w)
		time.Sleep(300 * time.Millisecond)
		for _, test := range []struct {
			in   time.Duration
			want float64
		}{
			{time.Hour, 3601},
			{time.Hour - 300*time.Millisecond, 3600},
			{time.Hour + 700*time.Millisecond, 3601},
			{time.Millisecond, 1},
			{0, 1},
			{-time.Hour, 1},
			{365 * 24 * time.Hour, 31_536_000},
			{100 * 365 * 24 * time.Hour, 31_536_000},
		} {
			key, err := client.Mint(t.Context(), spec(time.Now().Add(test.in)))
			if err != nil || !key.ExpiresAt.IsZero() {
				t.Fatalf("got expiry %s, error %v, want neither", key.ExpiresAt, err)
			}
			var sent map[string]any
			if err := json.Unmarshal([]byte(w.body), &sent); err != nil {
				t.Fatal(err)
			}
			if want := map[string]any{"name": "vault-test", "expires_in_seconds": test.want}; !maps.Equal(sent, want) {
				t.Errorf("%s: sent %v, want %v", test.in, sent, want)
			}
		}
		_, _ = client.Mint(t.Context(), spec(time.Time{}))
		if !strings.Contains(w.body, `"expires_in_seconds":1}`) && !strings.Contains(w.body, `"expires_in_seconds":1,`) {
			t.Errorf("sent %s for no expiry at all, want the shortest life", w.body)
		}
	})
}

func TestMintScopes(t *testing.T) {
	w := answering(`{"id":"key_1","value":"sk-svcacct-0123456789"}`)
	client := connect(t, provider.Settings{AdminKey: goodKey}, w)
	for _, test := range []struct {
		scopes any
		want   string
	}{
		{[]any{"a.b", "c.d"}, `"scopes":["a.b","c.d"]`}, {[]string{}, ""}, {[]any{}, ""}, {nil, ""},
	} {
		s := spec(time.Now().Add(time.Hour))
		s.Role = provider.Values{"project_id": "proj_x", "scopes": test.scopes}
		if _, err := client.Mint(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(w.body, "scopes") != (test.want != "") || !strings.Contains(w.body, test.want) {
			t.Errorf("%v: sent %s", test.scopes, w.body)
		}
	}
}

func TestMintData(t *testing.T) {
	const answer = `{"id":"key_1","value":"sk-svcacct-0123456789","expires_at":1711475433}`
	for _, test := range []struct {
		settings provider.Settings
		want     map[string]string
	}{
		{provider.Settings{}, map[string]string{"project_id": "proj_x"}},
		{
			provider.Settings{BaseURL: "https://eu.api.openai.com/v1", Fields: provider.Values{"organization_id": "org-1"}},
			map[string]string{"project_id": "proj_x", "organization_id": "org-1", "base_url": "https://eu.api.openai.com/v1"},
		},
	} {
		test.settings.AdminKey = goodKey
		key, err := connect(t, test.settings, answering(answer)).Mint(t.Context(), spec(time.Now().Add(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(key.Data, test.want) || key.ExpiresAt.Unix() != 1711475433 || key.ID != "key_1" || key.Secret != "sk-svcacct-0123456789" {
			t.Errorf("got %+v, want data %v", key, test.want)
		}
	}
}

func TestMintNeedsAnAccountOfTheProject(t *testing.T) {
	w := answering("{}")
	client := connect(t, provider.Settings{AdminKey: goodKey}, w)
	for _, p := range []provider.Principal{{}, {ID: "svc_1", Scope: "proj_y"}} {
		s := spec(time.Now().Add(time.Hour))
		s.Principal = p
		if _, err := client.Mint(t.Context(), s); !provider.IsKind(err, provider.Invalid) || w.n != 0 {
			t.Errorf("%+v: got %v and %d requests", p, err, w.n)
		}
	}
}

func TestFindFollowsPages(t *testing.T) {
	page := func(id, last, more string) string {
		return fmt.Sprintf(`{"object":"list","data":[{"id":%q,"name":"n"}],"last_id":%s%s}`, id, last, more)
	}
	for _, test := range []struct {
		name  string
		pages map[string]string // by after
		want  []string
		fails bool
	}{
		{"by last_id", map[string]string{"": page("a", `"x"`, `,"has_more":true`), "x": page("b", `"b"`, `,"has_more":false`)}, []string{"a", "b"}, false},
		{"by the last item", map[string]string{"": page("a", `null`, `,"has_more":true`), "a": page("b", `""`, `,"has_more":false`)}, []string{"a", "b"}, false},
		{"last_id of another type", map[string]string{"": page("a", `{"id":1}`, `,"has_more":true`), "a": page("b", `7`, `,"has_more":false`)}, []string{"a", "b"}, false},
		{"has_more missing", map[string]string{"": page("a", `"a"`, ``), "a": page("b", `"b"`, ``), "b": `{"data":[]}`}, []string{"a", "b"}, false},
		{"has_more null", map[string]string{"": page("a", `"a"`, `,"has_more":null`), "a": `{"data":[]}`}, []string{"a"}, false},
		{"no progress", map[string]string{"": page("a", `"a"`, `,"has_more":true`), "a": page("a", `"a"`, `,"has_more":true`)}, []string{"a", "a"}, true},
		{"in a circle", map[string]string{"": page("a", `"a"`, `,"has_more":true`), "a": page("b", `"b"`, `,"has_more":true`), "b": page("c", `"a"`, `,"has_more":true`)}, []string{"a", "b", "c"}, true},
		{"empty page with more", map[string]string{"": page("a", `"a"`, `,"has_more":true`), "a": `{"data":[],"has_more":true,"last_id":null}`}, []string{"a"}, true},
	} {
		w := &wire{answer: func(r *http.Request) string { return test.pages[r.URL.Query().Get("after")] }}
		client := connect(t, provider.Settings{AdminKey: goodKey}, w)
		var ids []string
		var last error
		for key, err := range client.Find(t.Context(), "proj_x") {
			if last = err; err == nil {
				ids = append(ids, key.ID)
			}
		}
		if !slices.Equal(ids, test.want) || provider.IsKind(last, provider.Unavailable) != test.fails {
			t.Errorf("%s: got keys %q, error %v", test.name, ids, last)
		}
	}
}

func TestFindOwners(t *testing.T) {
	const list = `{"data":[
		{"id":"key_1","name":"a","created_at":1711471533,"last_used_at":1711471600,"expires_at":1711475433,
		 "owner":{"type":"service_account","service_account":{"id":"svc_1","name":"bot","role":"member"}}},
		{"id":"key_2","name":null,"created_at":1711471533,"last_used_at":null,"expires_at":null,
		 "owner":{"type":"user","user":{"id":"user_1"}}}],"has_more":false}`
	client := connect(t, provider.Settings{AdminKey: goodKey}, answering(list))
	var got []provider.Found
	for key, err := range client.Find(t.Context(), "proj_x") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, key)
	}
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	want := []provider.Found{
		{ID: "key_1", Name: "a", PrincipalID: "svc_1", Owner: "service account bot", CreatedAt: at(1711471533), LastUsedAt: at(1711471600), UseKnown: true, ExpiresAt: at(1711475433)},
		{ID: "key_2", Owner: "user user_1", CreatedAt: at(1711471533), UseKnown: true},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The SDK takes a redirect with a JSON body for a success.
func TestRedirectWithBodyIsNoSuccess(t *testing.T) {
	w := answering(`{"id":"key_1","value":"sk-svcacct-0123456789","deleted":true}`)
	w.status = http.StatusFound
	client := connect(t, provider.Settings{AdminKey: goodKey}, w)
	if key, err := client.Mint(t.Context(), spec(time.Now().Add(time.Hour))); !provider.IsKind(err, provider.Unavailable) {
		t.Errorf("mint: got key %+v, error %v", key, err)
	}
	if err := client.Delete(t.Context(), provider.Ref{ID: "key_1", Scope: "proj_x"}); !provider.IsKind(err, provider.Unavailable) {
		t.Errorf("delete: got error %v", err)
	}
}

// A call that the SDK refuses to make was not made, whatever it creates.
func TestUnsentCreateIsNotAmbiguous(t *testing.T) {
	client := connect(t, provider.Settings{AdminKey: goodKey}, answering("{}"))
	s := spec(time.Now().Add(time.Hour))
	s.Role, s.Principal.Scope = provider.Values{}, ""
	_, err := client.Mint(context.Background(), s)
	if !provider.IsKind(err, provider.Unavailable) {
		t.Errorf("got %v, want kind %s", err, provider.Unavailable)
	}
}
