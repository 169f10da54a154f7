package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// start runs the simulator and returns the line that it prints. At the end of
// the test it must stop without an error.
func start(t *testing.T, args ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stdout, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, args, in, t.Output())
		in.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	var line map[string]string
	if err := json.NewDecoder(stdout).Decode(&line); err != nil {
		t.Fatalf("first line: %v", err)
	}
	return line
}

func get(t *testing.T, url, secret string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestLineTellsHowToReachIt(t *testing.T) {
	line := start(t, "-admin-key", "sk-admin-of-the-demonstration", "-project", "proj_shop")
	if got, want := line["admin_key"], "sk-admin-of-the-demonstration"; got != want {
		t.Errorf("admin_key = %q, want %q", got, want)
	}
	if got, want := line["project_id"], "proj_shop"; got != want {
		t.Errorf("project_id = %q, want %q", got, want)
	}
	url := line["base_url"] + "/organization/projects/" + line["project_id"]
	if got := get(t, url, line["admin_key"]); got != 200 {
		t.Errorf("GET project = %d, want 200", got)
	}
	if got := get(t, url, "sk-admin-of-somebody-else"); got != 401 {
		t.Errorf("GET project with another key = %d, want 401", got)
	}
}

func TestDefaults(t *testing.T) {
	line := start(t)
	if line["project_id"] != "proj_demo" || !strings.HasPrefix(line["admin_key"], "sk-admin-") {
		t.Errorf("line = %v, want proj_demo and a random admin key", line)
	}
}

func TestOpenRouter(t *testing.T) {
	line := start(t, "-provider", "openrouter")
	url := line["base_url"] + "/workspaces/" + line["workspace_id"]
	if got := get(t, url, line["admin_key"]); got != 200 {
		t.Errorf("GET workspace = %d, want 200", got)
	}
	if got := get(t, url, "sk-or-v1-of-somebody-else"); got != 401 {
		t.Errorf("GET workspace with another key = %d, want 401", got)
	}
}

func TestLiteLLM(t *testing.T) {
	line := start(t, "-provider", "litellm")
	url := line["base_url"] + "/team/info?team_id=" + line["team_id"]
	for _, admin := range []string{line["admin_key"], line["master_key"]} {
		if got := get(t, url, admin); got != 200 {
			t.Errorf("GET team = %d, want 200", got)
		}
	}
	if got := get(t, url, "sk-of-somebody-else"); got != 401 {
		t.Errorf("GET team with another key = %d, want 401", got)
	}
}

// What a read of a connection shows, with a public key, can be entered, and then a rule
// for it.
func TestConsoleOfAnthropic(t *testing.T) {
	line := start(t, "-provider", "anthropic")
	for _, name := range []string{"admin_key", "organization_id", "workspace_id", "service_account_id", "pool_key_id", "pool_key"} {
		if line[name] == "" {
			t.Errorf("the line has no %s", name)
		}
	}
	issuer := enter(t, line["base_url"]+line["console_path"]+"/issuers", `{"name":"vault","issuer_url":"https://vault.example.com","jwks":{"type":"inline","keys":[{
		"kty":"EC","crv":"P-256","kid":"one","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}}`)
	rule := enter(t, line["base_url"]+line["console_path"]+"/rules", fmt.Sprintf(`{"name":"bot","issuer_id":%q,"match":{"subject_prefix":"vault-llm:*"},
		"target":{"type":"service_account","service_account_id":%q},"workspace_id":%q,"oauth_scope":"workspace:inference"}`,
		issuer, line["service_account_id"], line["workspace_id"]))
	if !strings.HasPrefix(issuer, "fdis_") || !strings.HasPrefix(rule, "fdrl_") {
		t.Errorf("issuer %q, rule %q", issuer, rule)
	}
	if got := enter(t, line["base_url"]+line["console_path"]+"/rules", "{}"); !strings.Contains(got, "required") {
		t.Errorf("an empty rule: %q", got)
	}
}

// enter posts a body and returns the answer.
func enter(t *testing.T, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestRate(t *testing.T) {
	line := start(t, "-rate", "0.001")
	url := line["base_url"] + "/organization/projects"
	if got := get(t, url, line["admin_key"]); got != 200 {
		t.Errorf("first call = %d, want 200", got)
	}
	if got := get(t, url, line["admin_key"]); got != 429 {
		t.Errorf("second call = %d, want 429", got)
	}
}

func TestRefusedArguments(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-listen 0.0.0.0:0", "not a loopback address"},
		{"-listen :0", "not a loopback address"},
		{"-listen nowhere", "-listen: "},
		{"-rate -1", "-rate: "},
		{"-rate NaN", "-rate: "},
		{"-project=", "-project: "},
		{"-provider acme", `-provider: "acme" is not one of [anthropic litellm openai openrouter]`},
		{"-provider openrouter -project proj_shop", "-project: is not for openrouter"},
		{"-admin sk", "flag provided but not defined"},
		{"please", `unexpected argument "please"`},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			err := run(t.Context(), strings.Fields(tt.args), io.Discard, t.Output())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("run = %v, want an error with %q", err, tt.want)
			}
		})
	}
	if err := run(t.Context(), []string{"-h"}, io.Discard, t.Output()); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("run -h = %v, want flag.ErrHelp", err)
	}
}
