package fakeopenai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	projectsPath = "/v1/organization/projects"
	demo         = projectsPath + "/" + DefaultProject
	accountsPath = demo + "/service_accounts"
	keysPath     = demo + "/api_keys"
	adminsPath   = "/v1/organization/admin_api_keys"
)

// A world is a Server under test and how to call it.
type world struct {
	*Server
	t *testing.T
}

func newWorld(t *testing.T, opts ...Option) *world {
	t.Helper()
	return &world{Server: New(opts...), t: t}
}

// A result is an answer, or why there was none.
type result struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // nil if raw is not an object
	err    error
}

// at returns what is at a path of names and list places, or nil.
func (r result) at(path ...any) any {
	var v any = r.body
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

func (r result) text(path ...any) string {
	s, _ := r.at(path...).(string)
	return s
}

// do sends a request as given.
func (w *world) do(req *http.Request) result {
	client := http.Client{
		Transport:     w.RoundTripper(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return result{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	out := result{status: resp.StatusCode, header: resp.Header, raw: string(raw), err: err}
	_ = json.Unmarshal(raw, &out.body)
	return out
}

// request makes a request. A body is JSON; "" is none.
func (w *world) request(ctx context.Context, method, path, secret, body string) *http.Request {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://api.openai.test"+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	return req
}

// try calls as the first admin.
func (w *world) try(method, path, body string) result {
	w.t.Helper()
	return w.do(w.request(w.t.Context(), method, path, w.AdminKey(), body))
}

// tryFor is try for a client that waits no longer than d.
func (w *world) tryFor(d time.Duration, method, path, body string) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), d)
	defer cancel()
	return w.do(w.request(ctx, method, path, w.AdminKey(), body))
}

// ok is try, and wants 200 with an object.
func (w *world) ok(method, path, body string) result {
	w.t.Helper()
	r := w.try(method, path, body)
	if r.err != nil || r.status != 200 || r.body == nil {
		w.t.Fatalf("%s %s %s = %d %s, %v; want 200", method, path, body, r.status, r.raw, r.err)
	}
	return r
}

// refused is try, and wants a status with OpenAI's envelope.
func (w *world) refused(status int, method, path, body string) result {
	w.t.Helper()
	r := w.try(method, path, body)
	w.wantRefusal(r, status, fmt.Sprintf("%s %s %s", method, path, body))
	return r
}

func (w *world) wantRefusal(r result, status int, what string) {
	w.t.Helper()
	if r.err != nil || r.status != status {
		w.t.Fatalf("%s = %d %s, %v; want %d", what, r.status, r.raw, r.err, status)
	}
	envelope, _ := r.at("error").(map[string]any)
	for _, member := range []string{"message", "type", "param", "code"} {
		if _, ok := envelope[member]; !ok {
			w.t.Errorf("%s: error has no %s: %s", what, member, r.raw)
		}
	}
	if r.text("error", "message") == "" || r.text("error", "type") == "" {
		w.t.Errorf("%s: error says nothing: %s", what, r.raw)
	}
}

// models calls the data plane.
func (w *world) models(secret string) result {
	w.t.Helper()
	return w.do(w.request(w.t.Context(), "GET", "/v1/models", secret, ""))
}

// account makes an account of role member by the API, without a key.
func (w *world) account(name string) string {
	w.t.Helper()
	id := w.ok("POST", accountsPath, `{"name":"`+name+`","create_service_account_only":true}`).text("id")
	w.ok("POST", accountsPath+"/"+id, `{"role":"member"}`)
	return id
}

// mint makes a key of an account by the API.
func (w *world) mint(account, body string) (id, secret string) {
	w.t.Helper()
	r := w.ok("POST", accountsPath+"/"+account+"/api_keys", body)
	return r.text("id"), r.text("value")
}

// wantAlive wants a key to be alive, or not, and the data plane to agree.
func (w *world) wantAlive(secret string, want bool) {
	w.t.Helper()
	if got := w.Alive(secret); got != want {
		w.t.Errorf("Alive = %t, want %t", got, want)
	}
	status := w.models(secret).status
	if got := status != 401; got != want {
		w.t.Errorf("GET /v1/models = %d, want a key that is alive to be %t", status, want)
	}
}

func (w *world) wantLive(n int) {
	w.t.Helper()
	if got := len(w.LiveKeys()); got != n {
		w.t.Errorf("%d live keys, want %d", got, n)
	}
}

// list goes through all pages and returns the ids.
func (w *world) list(path, query string) []string {
	w.t.Helper()
	var ids []string
	after := ""
	for range 100 {
		r := w.ok("GET", path+"?"+query+after, "")
		data, _ := r.at("data").([]any)
		for i := range data {
			ids = append(ids, r.text("data", i, "id"))
		}
		if more, _ := r.at("has_more").(bool); !more {
			return ids
		}
		after = "&after=" + r.text("last_id")
	}
	w.t.Fatalf("GET %s does not end", path)
	return nil
}
