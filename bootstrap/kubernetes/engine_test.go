package kubernetes_test

import (
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-secure-stdlib/parseutil"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-llm/backend"
	"vault-plugin-secrets-llm/backend/provider"
	fakeopenai "vault-plugin-secrets-llm/backend/provider/fake/openai"
	"vault-plugin-secrets-llm/backend/provider/openai"
)

// This file holds manifests against the engine: it reads what they read.

// commands are those that docs/kubernetes.md has for a path of Vault, as path and fields.
func commands(t *testing.T, prefix string) map[string]map[string]any {
	t.Helper()
	page, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`\\\n *`).ReplaceAllString(string(page), "")
	all := map[string]map[string]any{}
	for line := range strings.Lines(text) {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "$ "))
		if len(words) < 4 || words[0] != "vault" || words[1] != "write" || !strings.HasPrefix(words[2], prefix) {
			continue
		}
		fields := map[string]any{}
		for _, word := range words[3:] {
			name, value, _ := strings.Cut(word, "=")
			fields[name] = value
		}
		all[strings.TrimPrefix(words[2], prefix)] = fields
	}
	return all
}

// An engine has the roles that docs/kubernetes.md writes.
type engine struct {
	t       *testing.T
	backend logical.Backend
	storage logical.Storage
	roles   map[string]map[string]any
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	registry, err := provider.NewRegistry(openai.New())
	if err != nil {
		t.Fatal(err)
	}
	conf := logical.TestBackendConfig()
	conf.StorageView = new(logical.InmemStorage)
	conf.Logger = hclog.NewNullLogger()
	b, err := backend.Factory(registry)(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Cleanup(t.Context()) })
	e := &engine{t, b, conf.StorageView, commands(t, "llm/")}
	if err := b.Initialize(t.Context(), &logical.InitializationRequest{Storage: e.storage}); err != nil {
		t.Fatal(err)
	}
	sim := fakeopenai.New()
	srv := httptest.NewServer(sim)
	t.Cleanup(srv.Close)
	e.must(logical.UpdateOperation, "config/openai", map[string]any{
		"provider": "openai", "base_url": srv.URL + "/v1", "admin_key": sim.AdminKey(),
	})
	if len(e.roles) != 2 {
		t.Fatalf("docs/kubernetes.md writes %v, want a role and a static role", e.roles)
	}
	for path, fields := range e.roles {
		e.must(logical.UpdateOperation, path, fields)
	}
	return e
}

func (e *engine) must(op logical.Operation, path string, data map[string]any) *logical.Response {
	e.t.Helper()
	resp, err := e.backend.HandleRequest(e.t.Context(), &logical.Request{
		Operation: op, Path: path, Data: data, Storage: e.storage, DisplayName: "kubernetes-support-classifier", MountPoint: "llm/",
	})
	if err != nil || resp.IsError() {
		e.t.Fatalf("%s %s: %v %v", op, path, err, resp)
	}
	return resp
}

// What the manifests read is there, may be read, and holds the fields that they take.
func TestReads(t *testing.T) {
	e := newEngine(t)
	policy, err := os.ReadFile("policy.hcl")
	if err != nil {
		t.Fatal(err)
	}
	read := func(path string) map[string]any {
		t.Helper()
		if !strings.Contains(string(policy), `path "`+path+`" { capabilities = ["read"] }`) {
			t.Errorf("policy.hcl does not let read %s", path)
		}
		mounted, ok := strings.CutPrefix(path, "llm/")
		if !ok {
			t.Fatalf("%s is not a path of the engine", path)
		}
		return e.must(logical.ReadOperation, mounted, nil).Data
	}
	count := 0
	for file, manifests := range files(t) {
		for _, m := range manifests {
			switch {
			case m.kind == "VaultDynamicSecret" && m.apiVersion == "secrets.hashicorp.com/v1beta1":
				count++
				path := m.text("spec", "mount") + "/" + m.text("spec", "path")
				static := strings.HasPrefix(path, "llm/static-creds/")
				if allowed, _ := m.at("spec", "allowStaticCreds").(bool); allowed != static {
					t.Errorf("%s: %s: allowStaticCreds is %t", file, m.name, allowed)
				}
				if revoked, _ := m.at("spec", "revoke").(bool); revoked == static {
					t.Errorf("%s: %s: revoke is %t", file, m.name, revoked)
				}
				text := m.text("spec", "destination", "transformation", "templates", "OPENAI_API_KEY", "text")
				rendersKey(t, text, map[string]any{"Secrets": read(path)}, nil)
			case m.kind == "VaultDynamicSecret":
				count++
				data := read(m.text("spec", "path"))
				for _, other := range manifests {
					if other.kind == "ExternalSecret" && other.name == m.name {
						rendersKey(t, other.text("spec", "target", "template", "data", "openai-key"), data, nil)
					}
				}
			case file == "injector.yaml" && m.kind == "Deployment":
				count++
				const prefix = "vault.hashicorp.com/agent-inject-"
				at := func(name string) string {
					return m.text("spec", "template", "metadata", "annotations", prefix+name)
				}
				var paths []string
				rendersKey(t, at("template-openai-key"), nil, func(path string) any {
					paths = append(paths, path)
					return map[string]any{"Data": read(path)}
				})
				if want := []string{at("secret-openai-key")}; !slices.Equal(paths, want) {
					t.Errorf("%s: the template reads %q, the annotation says %q", file, paths, want)
				}
			}
		}
	}
	if count != 5 {
		t.Errorf("there are %d reads, want 5", count)
	}
}

// rendersKey wants a template to give the key, and nothing else.
func rendersKey(t *testing.T, text string, data any, secret func(path string) any) {
	t.Helper()
	parsed, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{
		"get":    func(from map[string]any, name string) any { return from[name] },
		"secret": secret,
	}).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data); err != nil || !regexp.MustCompile(`^sk-svcacct-\w+$`).MatchString(out.String()) {
		t.Errorf("%s: it does not give a key (%v)", text, err)
	}
}

// A lease and a token outlive what waits for a refresh, and an overlap too.
func TestTimes(t *testing.T) {
	e := newEngine(t)
	logins := commands(t, "auth/kubernetes/role/")
	duration := func(fields map[string]any, name string) time.Duration {
		t.Helper()
		d, err := parseutil.ParseDurationSecond(fields[name])
		if err != nil || d <= 0 {
			t.Fatalf("%s: %v (%v)", name, d, err)
		}
		return d
	}
	period := duration(logins["classifier"], "token_period")
	ttl := duration(e.roles["roles/support/classifier"], "ttl")
	if period < ttl {
		t.Errorf("the token lives for %s, the key for %s", period, ttl)
	}
	seen := 0
	for _, m := range files(t)["external-secrets.yaml"] {
		if m.kind != "ExternalSecret" {
			continue
		}
		seen++
		refresh, err := time.ParseDuration(m.text("spec", "refreshInterval"))
		if err != nil {
			t.Fatal(err)
		}
		limit := min(ttl, period) / 2
		if m.name == "app-openai" {
			limit = duration(e.roles["static-roles/support/app"], "overlap") - 1
		}
		if refresh > limit {
			t.Errorf("%s is refreshed after %s, which is more than %s", m.name, refresh, limit)
		}
	}
	if seen != 2 {
		t.Errorf("there are %d refreshes, want 2", seen)
	}
	for file, manifests := range files(t) {
		for _, m := range manifests {
			role := m.text("spec", "kubernetes", "role") + m.text("spec", "provider", "auth", "kubernetes", "role") +
				m.text("spec", "template", "metadata", "annotations", "vault.hashicorp.com/role")
			if role != "" && logins[role] == nil {
				t.Errorf("%s: %s %s logs in as %q, which docs/kubernetes.md does not write", file, m.kind, m.name, role)
			}
		}
	}
}
