package fakeopenai

import (
	"net/http"
	"strings"
	"testing"
)

func TestWhoMayCallWhat(t *testing.T) {
	w := newWorld(t)
	_, secret := w.mint(w.account("bot"), `{}`)
	revoked, gone := w.AddAdminKey()
	w.RevokeAdminKey(revoked)
	tests := []struct {
		name, path, secret string
		want               int
	}{
		{"admin path, admin key", keysPath, w.AdminKey(), 200},
		{"admin path, no key", keysPath, "", 401},
		{"admin path, unknown key", keysPath, "sk-admin-nobody-has-this-key", 401},
		{"admin path, revoked key", keysPath, gone, 401},
		{"admin path, project key", keysPath, secret, 401},
		{"data plane, project key", "/v1/models", secret, 200},
		{"data plane, admin key", "/v1/models", w.AdminKey(), 401},
		{"data plane, no key", "/v1/models", "", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{Server: w.Server, t: t}
			r := w.do(w.request(t.Context(), "GET", tt.path, tt.secret, ""))
			if r.status != tt.want {
				t.Errorf("status = %d, want %d", r.status, tt.want)
			}
			if tt.want == 401 {
				w.wantRefusal(r, 401, tt.name)
			}
		})
	}
}

func TestWrongKeyIsMasked(t *testing.T) {
	w := newWorld(t)
	secret := "sk-admin-0123456789abcdefghij"
	r := w.do(w.request(t.Context(), "GET", keysPath, secret, ""))
	message := r.text("error", "message")
	if !strings.HasPrefix(message, "Incorrect API key provided: sk-admi***ghij.") || strings.Contains(r.raw, secret) {
		t.Errorf("message = %q", message)
	}
	short := w.do(w.request(t.Context(), "GET", keysPath, "sk-short", ""))
	if strings.Contains(short.raw, "sk-short") {
		t.Errorf("a short key is shown: %s", short.raw)
	}
}

func TestOtherSchemesAreNoCredential(t *testing.T) {
	w := newWorld(t)
	for _, header := range []string{"Basic " + w.AdminKey(), "bearer" + w.AdminKey(), w.AdminKey(), "Bearer "} {
		req := w.request(t.Context(), "GET", keysPath, "", "")
		req.Header.Set("Authorization", header)
		w.wantRefusal(w.do(req), 401, header)
	}
}

func TestPathsAndMethodsAreExact(t *testing.T) {
	w := newWorld(t)
	key := w.PlantKey(DefaultProject, "k").ID
	unknown := []string{
		"/", "/v1", "/v1/", "/organization/projects", "/v1/organization", "/v1/models/", "/V1/models",
		keysPath + "/", keysPath + "/" + key + "/", "/v1//organization/projects", projectsPath + "//api_keys",
		"/v1/organization/projects/../projects", demo + "%2Fapi_keys",
	}
	for _, path := range unknown {
		r := w.try("GET", path, "")
		if path == demo+"%2Fapi_keys" { // one segment: the id of a project
			w.wantRefusal(r, 404, path)
			continue
		}
		w.wantRefusal(r, 404, path)
		if got := r.text("error", "message"); !strings.HasPrefix(got, "Invalid URL") {
			t.Errorf("GET %s: %q", path, got)
		}
	}
	wrong := []struct{ method, path string }{
		{"PUT", keysPath + "/" + key},
		{"PATCH", keysPath + "/" + key},
		{"POST", keysPath},
		{"DELETE", keysPath},
		{"POST", "/v1/models"},
		{"GET", "/v1/responses"},
		{"POST", demo},
		{"PUT", adminsPath},
	}
	for _, tt := range wrong {
		w.refused(405, tt.method, tt.path, "")
	}
	if r := w.try("HEAD", projectsPath, ""); r.status != 405 {
		t.Errorf("HEAD = %d, want 405", r.status)
	}
	w.wantLive(1)
}

func TestBodiesAreJSONAndSaySo(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		contentType string
		want        int
	}{
		{"application/json", 200},
		{"application/json; charset=utf-8", 200},
		{"", 400},
		{"text/plain", 400},
		{"application/x-www-form-urlencoded", 400},
		{"application/json-patch", 400},
	}
	for _, tt := range tests {
		req := w.request(t.Context(), "POST", accountsPath, w.AdminKey(), `{"name":"bot"}`)
		req.Header["Content-Type"] = []string{tt.contentType}
		if r := w.do(req); r.status != tt.want {
			t.Errorf("Content-Type %q = %d, want %d", tt.contentType, r.status, tt.want)
		}
	}
	w.refused(400, "POST", accountsPath, `{"name":"`+strings.Repeat("x", maxBody)+`"}`)
	w.refused(400, "DELETE", accountsPath+"/x", `{}`)
}

func TestErrorsNameTheParameter(t *testing.T) {
	w := newWorld(t)
	tests := []struct{ body, param, code string }{
		{`{"nam":"x"}`, "name", "missing_required_parameter"},
		{`{"name":"x","colour":"red"}`, "colour", "unknown_parameter"},
		{`{"name":7}`, "name", "invalid_type"},
	}
	for _, tt := range tests {
		r := w.refused(400, "POST", accountsPath, tt.body)
		if r.text("error", "param") != tt.param || r.text("error", "code") != tt.code {
			t.Errorf("%s: %s; want param %s, code %s", tt.body, r.raw, tt.param, tt.code)
		}
	}
}

func TestEveryRequestIsLogged(t *testing.T) {
	w := newWorld(t)
	w.ok("GET", keysPath+"?limit=3", "")
	w.try("GET", "/v1/nothing", "")
	w.do(w.request(t.Context(), "DELETE", keysPath+"/key_x", "sk-wrong", ""))
	w.Inject(Answer(OpCreateServiceAccount, http.StatusTeapot, 1))
	w.try("POST", accountsPath, `{"name":"x"}`)
	want := []Request{
		{Op: OpListKeys, Method: "GET", Path: keysPath, RawQuery: "limit=3", Status: 200},
		{Op: OpAny, Method: "GET", Path: "/v1/nothing", Status: 404},
		{Op: OpDeleteKey, Method: "DELETE", Path: keysPath + "/key_x", Status: 401},
		{Op: OpCreateServiceAccount, Method: "POST", Path: accountsPath, Status: 418, Fault: "status 418"},
	}
	got := w.Requests()
	if len(got) != len(want) {
		t.Fatalf("%d requests, want %d", len(got), len(want))
	}
	ids := map[string]bool{}
	for i, r := range got {
		if r.At.IsZero() || r.ID == "" || ids[r.ID] {
			t.Errorf("request %d = %v; want a time and an id of its own", i, r)
		}
		ids[r.ID] = true
		r.At, r.ID = want[i].At, want[i].ID
		if r != want[i] {
			t.Errorf("request %d = %+v, want %+v", i, r, want[i])
		}
	}
	if w.Count(OpAny) != 4 || w.Count(OpDeleteKey) != 1 || w.Count(OpGetKey) != 0 {
		t.Errorf("counts = %d, %d, %d; want 4, 1, 0", w.Count(OpAny), w.Count(OpDeleteKey), w.Count(OpGetKey))
	}
	w.ResetRequests()
	if got := w.Count(OpAny); got != 0 {
		t.Errorf("%d requests after a reset", got)
	}
}

func TestOpsAreAllDifferent(t *testing.T) {
	seen := map[Op]bool{OpAny: true}
	for _, op := range Ops() {
		if seen[op] {
			t.Errorf("%q is there twice", op)
		}
		seen[op] = true
	}
	if len(seen) != 19 {
		t.Errorf("%d operations, want 18", len(seen)-1)
	}
}
