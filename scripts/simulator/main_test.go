package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
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
		{"-provider acme", `-provider: "acme" is not one of [openai openrouter]`},
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
