package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func environment(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestHalfOfTheRealOneIsSimulated(t *testing.T) {
	org, err := openOrganization(t.Context(), environment(map[string]string{"OPENAI_ADMIN_KEY": "sk-admin-x"}), nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer org.close()
	if !org.simulated() || org.adminKey == "sk-admin-x" {
		t.Errorf("got %+v, want a simulated organization with a key of its own", org)
	}
}

func TestRealOneNeedsConsent(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pairs := map[string]string{"OPENAI_ADMIN_KEY": "sk-admin-x", "OPENAI_PROJECT_ID": "proj_x"}

	var out strings.Builder
	_, err = openOrganization(t.Context(), environment(pairs), null, &out)
	if err == nil || !strings.Contains(err.Error(), "DEMO_REAL=yes") {
		t.Errorf("without a terminal: error %v, want one that names DEMO_REAL=yes", err)
	}
	if strings.Contains(out.String(), "sk-admin-x") {
		t.Errorf("the admin key is shown: %s", &out)
	}

	pairs["DEMO_REAL"] = "yes"
	org, err := openOrganization(t.Context(), environment(pairs), null, io.Discard)
	if err != nil || org.simulated() || org.baseURL != "" || org.projectID != "proj_x" {
		t.Errorf("with DEMO_REAL=yes: got %+v, %v, want the real organization", org, err)
	}
}

func TestDetail(t *testing.T) {
	tests := []struct{ body, want string }{
		{`{"object":"list","data":[{"id":"a"},{"id":"b"}]}`, "2 models"},
		{`{"error":{"message":"Incorrect API key provided: sk-…","type":"invalid_request_error","code":"invalid_api_key"}}`, "invalid_api_key"},
		{`{"error":{"message":"no","type":"invalid_request_error","code":null}}`, "invalid_request_error"},
		{`<html>`, "(an answer that is not OpenAI's)"},
	}
	for _, tt := range tests {
		if got := detail([]byte(tt.body)); got != tt.want {
			t.Errorf("detail(%s) = %q, want %q", tt.body, got, tt.want)
		}
	}
}

func TestModelsUntil(t *testing.T) {
	org, err := simulate()
	if err != nil {
		t.Fatal(err)
	}
	defer org.close()
	const key = "sk-svcacct-of-nobody"

	r, err := org.modelsUntil(t.Context(), key, 401, time.Now())
	if err != nil || r.detail != "invalid_api_key" {
		t.Errorf("wait for 401: got %v, %v, want invalid_api_key", r, err)
	}
	_, err = org.modelsUntil(t.Context(), key, 200, time.Now().Add(300*time.Millisecond))
	if err == nil || !strings.Contains(err.Error(), "answered 401 invalid_api_key, want 200") {
		t.Errorf("wait for 200: error %v, want one that tells of the 401", err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	time.AfterFunc(50*time.Millisecond, func() { cancel(stopped) })
	if _, err := org.modelsUntil(ctx, key, 200, time.Now().Add(time.Minute)); !errors.Is(err, stopped) {
		t.Errorf("wait for 200: error %v, want %v", err, stopped)
	}
}
